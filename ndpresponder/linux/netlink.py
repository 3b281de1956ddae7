"""What the kernel says of the uplinks, followed by netlink. The only file that imports pyroute2.

An event is no more than a bell: whatever rang it, the uplinks are asked for again and the whole answer is
published. So a lost event, an overrun buffer (ENOBUFS), a reconnect and the start are one and the same path, and
it cannot end in a wrong state. Events are never decoded beyond the question whether they matter; they arrive
on a plain socket, because a pyroute2 object that has overrun its buffer is dead. Questions are asked on a
short-lived pyroute2 object each time, because a long-lived one whose events nobody reads grows.
"""

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.sysctl import forwarding

# linux/rtnetlink.h
_GROUPS: Final = (
    1 << 0  # RTNLGRP_LINK
    | 1 << 8  # RTNLGRP_IPV6_IFADDR
    | 1 << 10  # RTNLGRP_IPV6_ROUTE
    | 1 << 24  # RTNLGRP_IPV6_NETCONF: forwarding switched
)
_ROUTE_EVENTS: Final = (24, 25)  # RTM_NEWROUTE, RTM_DELROUTE
_UNICAST: Final = 1  # RTN_UNICAST
_UP_AND_RUNNING: Final = 0x1 | 0x40  # IFF_UP | IFF_RUNNING
_ARPHRD_ETHER: Final = 1

_RECEIVE_BUFFER: Final = 4 << 20
_EVENTS_PER_TURN: Final = 256  # then the event loop gets its turn: solicitations wait on the same loop
_SETTLE_S: Final = 0.005  # one change is several events
_PAUSE_S: Final = 0.02  # at least between two questions, so that a storm of events costs a bounded share


@dataclass(frozen=True, slots=True)
class Link:
    """One uplink as the kernel shows it."""

    name: str  # as configured; the kernel accepts an alternative name too
    device: str  # its present main name
    index: int
    lladdr: bytes
    hardware_type: int  # ARPHRD_*
    up: bool
    forwarding: bool
    addresses: frozenset[bytes]
    gateways: frozenset[bytes]

    @property
    def ethernet(self) -> bool:
        """Whether neighbor discovery by Ethernet addresses takes place here at all."""
        return self.hardware_type == _ARPHRD_ETHER


Links = Mapping[str, Link | None]


class LinkWatcher:
    """Publishes the state of the named uplinks, None for one that does not exist, whenever it changes."""

    def __init__(self, names: Iterable[str], publish: Callable[[Links], None], buffer: int = _RECEIVE_BUFFER) -> None:
        """Watch `names`; `buffer` is the receive buffer asked for, in octets."""
        self._names = tuple(names)
        self._publish = publish
        self._buffer = buffer
        self._links: Links | None = None
        self.overruns = 0

    async def run(self) -> None:
        """Follow the uplinks until cancelled.

        Raises:
            SourceUnavailable: netlink failed in a way that only a new socket heals; run again.
        """
        bell = asyncio.Event()
        broken: list[OSError] = []
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            try:
                events = stack.enter_context(_open_events(self._buffer))
            except OSError as error:
                raise SourceUnavailable(f"netlink: {error.strerror}") from error
            loop.add_reader(events, self._drain, events, bell, broken)
            stack.callback(loop.remove_reader, events)
            while not broken:
                await self._ask()
                await asyncio.sleep(_PAUSE_S)
                await bell.wait()
                await asyncio.sleep(_SETTLE_S)
                bell.clear()
        raise SourceUnavailable(f"netlink: {broken[0].strerror}") from broken[0]

    def _drain(self, events: socket.socket, bell: asyncio.Event, broken: list[OSError]) -> None:
        for _ in range(_EVENTS_PER_TURN):
            try:
                event = events.recv(256)
            except BlockingIOError:
                return
            except OSError as error:
                bell.set()
                if error.errno == errno.ENOBUFS:  # events were lost, which is one more reason to ask
                    self.overruns += 1
                    continue
                broken.append(error)
                return
            if _matters(event):
                bell.set()

    async def _ask(self) -> None:
        try:
            async with AsyncIPRoute(strict_check=True) as netlink:
                links = {name: await _ask_link(netlink, name) for name in self._names}
        except NetlinkDumpInterrupted:
            return  # something changed while the kernel answered, and has rung the bell
        except (NetlinkError, OSError) as error:
            raise SourceUnavailable(f"netlink: {error}") from error
        if links != self._links:
            self._links = links
            self._publish(links)


def _open_events(buffer: int) -> socket.socket:
    events = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    try:
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)  # the kernel lowers it to net.core.rmem_max
        events.bind((0, _GROUPS))
    except OSError:
        events.close()
        raise
    return events


def _matters(event: bytes) -> bool:
    """Tell whether `event` can concern an uplink: of routes only default ones do, and a router has many others."""
    if len(event) < 18:
        return True
    (kind,) = struct.unpack_from("=H", event, 4)
    destination_length = event[17]
    return kind not in _ROUTE_EVENTS or destination_length == 0


async def _ask_link(netlink: Any, name: str) -> Link | None:
    try:
        (link,) = await netlink.link("get", ifname=name)
        index = link["index"]
        addresses = await netlink.addr("dump", family=socket.AF_INET6, index=index)
        own = frozenset([_packed(address.get("address")) async for address in addresses])
        routes = await netlink.route("dump", family=socket.AF_INET6, oif=index, type=_UNICAST)
        gateways = [gateway async for route in routes for gateway in _gateways(route, index)]
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise
    device = link.get("ifname")
    lladdr = link.get("address") or ""
    return Link(
        name=name,
        device=device,
        index=index,
        lladdr=bytes.fromhex(lladdr.replace(":", "")),
        hardware_type=link["ifi_type"],
        up=link["flags"] & _UP_AND_RUNNING == _UP_AND_RUNNING,
        forwarding=forwarding(device),
        addresses=own,
        gateways=frozenset(gateways),
    )


def _gateways(route: Any, index: int) -> Iterable[bytes]:
    """Yield the next hops of a default route by way of the link `index`."""
    if route["dst_len"]:
        return
    hops = route.get("multipath") or ()
    for hop in (*(hop for hop in hops if hop["oif"] == index), *(() if hops else (route,))):
        if gateway := hop.get("gateway"):
            yield _packed(gateway)


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, address)
