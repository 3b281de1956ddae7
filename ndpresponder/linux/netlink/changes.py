"""A bell that rings when the kernel changed something: netlink events, heard and thrown away.

Whatever rang it, the listener asks the kernel again for all it needs. So a lost event, an overrun buffer (ENOBUFS),
a reconnect and the start are one and the same path, and it cannot end in a wrong state. Events are not decoded
beyond the question whether they matter, and come on a plain socket, because a pyroute2 object that has overrun its
buffer is dead.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncGenerator, Callable
from typing import Final

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.loop import watch

# linux/rtnetlink.h: RTNLGRP_* as bits
LINK: Final = 1 << 0
NEIGHBOR: Final = 1 << 2
IPV6_ADDRESS: Final = 1 << 8
IPV6_ROUTE: Final = 1 << 10
IPV6_RULE: Final = 1 << 18
IPV6_NETCONF: Final = 1 << 24  # forwarding switched

RECEIVE_BUFFER: Final = 4 << 20
_EVENTS_PER_TURN: Final = 256  # then the event loop gets its turn: solicitations wait on the same loop
_EVENT_HEAD: Final = 256  # octets of an event that `matters` is shown
_SETTLE_S: Final = 0.005  # one change is several events
_PAUSE_S: Final = 0.02  # at least between two rings, so that a storm of events costs a bounded share


class Bell:
    """Rings for the events of some netlink groups."""

    def __init__(
        self, groups: int, matters: Callable[[bytes], bool] = lambda _: True, buffer: int = RECEIVE_BUFFER
    ) -> None:
        """Listen to `groups` for events that `matter`; `buffer` is the receive buffer asked for, in octets."""
        self._groups = groups
        self._matters = matters
        self._buffer = buffer
        self.overruns = 0

    async def rings(self, every_s: float | None = None) -> AsyncGenerator[None, None]:
        """Yield once at the start and then after each change, or many changes in a row; at least `every_s` seconds.

        Close it (`contextlib.aclosing`), or its socket stays until it is collected.

        Raises:
            SourceUnavailable: netlink failed in a way that only a new socket heals; start again.
        """
        rung = asyncio.Event()
        broken: list[OSError] = []
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            try:
                events = stack.enter_context(_open(self._groups, self._buffer))
            except OSError as error:
                raise SourceUnavailable(f"netlink: {error.strerror}") from error
            watch(events, self._drain, events, rung, broken)
            stack.callback(loop.remove_reader, events)
            while not broken:
                yield
                await asyncio.sleep(_PAUSE_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(every_s):
                        await rung.wait()
                await asyncio.sleep(_SETTLE_S)
                rung.clear()
        raise SourceUnavailable(f"netlink: {broken[0].strerror}") from broken[0]

    def _drain(self, events: socket.socket, rung: asyncio.Event, broken: list[OSError]) -> None:
        for _ in range(_EVENTS_PER_TURN):
            try:
                event = events.recv(_EVENT_HEAD)
            except BlockingIOError:
                return
            except OSError as error:
                rung.set()
                if error.errno == errno.ENOBUFS:  # events were lost, which is one more reason to ask
                    self.overruns += 1
                    continue
                broken.append(error)
                return
            if self._matters(event):
                rung.set()


def _open(groups: int, buffer: int) -> socket.socket:
    events = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    try:
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)  # the kernel lowers it to net.core.rmem_max
        events.bind((0, groups))
    except OSError:
        events.close()
        raise
    return events
