"""Wait for the kernel to change something: netlink events are received, counted as a change and thrown away.

After each change the caller asks the kernel again for all it needs. So a lost event, an overrun buffer (ENOBUFS),
a reconnect and the start are one and the same path, and it cannot end in a wrong state. Events are not decoded
beyond the question whether they matter. They come on a plain socket: a pyroute2 object that has overrun its buffer
is dead.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.loop import wait, watch
from ndpresponder.linux.netlink.asking import open_socket, translated

# linux/rtnetlink.h: RTNLGRP_* as bits
LINK: Final = 1 << 0
NEIGHBOR: Final = 1 << 2
IPV6_ADDRESS: Final = 1 << 8
IPV6_ROUTE: Final = 1 << 10
IPV6_RULE: Final = 1 << 18
IPV6_NETCONF: Final = 1 << 24  # forwarding switched

RECEIVE_BUFFER: Final = 4 << 20
_EVENTS_PER_TURN: Final = 256  # then the event loop gets its turn: solicitations wait on the same loop
_EVENT_HEAD: Final = 256  # octets of an event that `matters` gets
_SETTLE_S: Final = 0.005  # one change is several events
_PAUSE_S: Final = 0.02  # at least between two calls, so that a storm of events costs a bounded share


class Changes:
    """The changes that some netlink groups tell of, and those that the daemon notifies of itself."""

    def __init__(self, groups: int, matters: Callable[[bytes], bool] = lambda _: True) -> None:
        """Receive the events of `groups` that `matter`; an empty one stands for those that the kernel dropped."""
        self._groups = groups
        self._matters = matters
        self._changed = asyncio.Event()
        self.notify = self._changed.set  # something changed that the kernel does not tell of

    async def follow(self, look: Callable[[], Awaitable[float | None]], every_s: float | None = None) -> NoReturn:
        """Call `look` at the start, after each change or many in a row, and every `every_s` seconds, until cancelled.

        Between two calls pass at least as many seconds as `look` returns, and as long as it took: half of the event
        loop is left to others. A change during a call leads to the next call.

        Raises:
            SourceUnavailable: netlink failed in a way that only a new socket heals; call it again.
        """
        broken: list[OSError] = []
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            with translated():
                events = stack.enter_context(open_events(self._groups, RECEIVE_BUFFER))
            watch(events, self._receive, events, broken)
            stack.callback(loop.remove_reader, events)
            while not broken:
                self._changed.clear()
                began_s = loop.time()
                pause_s = await look() or _PAUSE_S
                await asyncio.sleep(max(pause_s, loop.time() - began_s))
                await wait(self._changed, every_s)
                if self._changed.is_set():
                    await asyncio.sleep(_SETTLE_S)
        raise SourceUnavailable(f"netlink: {broken[0].strerror}") from broken[0]

    def _receive(self, events: socket.socket, broken: list[OSError]) -> None:
        for _ in range(_EVENTS_PER_TURN):
            try:
                event = events.recv(_EVENT_HEAD)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    self._changed.set()
                    broken.append(error)
                    return
                event = b""  # events were lost, which is one more reason to ask
            if self._matters(event) or not event:
                self._changed.set()


def open_events(groups: int, buffer: int) -> socket.socket:
    """Return a socket that receives the events of `groups` into a `buffer` of so many octets; raise OSError."""
    with contextlib.ExitStack() as stack:
        events = stack.enter_context(open_socket())
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)  # the kernel lowers it to net.core.rmem_max
        events.bind((0, groups))
        stack.pop_all()
        return events
