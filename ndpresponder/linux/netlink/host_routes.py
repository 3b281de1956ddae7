"""Routes to single hosts, marked as ours by their protocol number, so that nobody else's is ever changed or removed."""

import contextlib
import errno
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from pyroute2.netlink.exceptions import NetlinkError

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink import changes
from ndpresponder.linux.netlink.admin import PROTOCOL, needing_net_admin
from ndpresponder.linux.netlink.forwarding import Forwarding
from ndpresponder.linux.netlink.requests import asking, is_error, packed

GROUPS: Final = changes.LINK | changes.IPV6_ROUTE | changes.IPV6_RULE

# linux/rtnetlink.h
_NEW_ROUTE: Final = 24
_MAIN_TABLE: Final = 254
_METRIC: Final = 1 << 20  # a route that somebody else has to the same host goes before ours
_LINK_REFUSES: Final = (errno.ENODEV, errno.ENETDOWN, errno.EINVAL)
_FEATURE: Final = "install_routes"
_WITHIN_S: Final = 60.0  # ten thousand routes take seconds


class HostRoute(NamedTuple):
    """A route to one address."""

    target: bytes
    link: int  # index


class HostRoutes:
    """The kernel's routes for the time of one `opened` block."""

    def __init__(self, netlink: Any, forwarding: Forwarding) -> None:
        self._netlink = netlink
        self._forwarding = forwarding

    async def installed(self) -> set[HostRoute]:
        """Return the routes that are ours."""
        # dump_filter=None: the kernel alone selects
        routes = await self._netlink.route("dump", family=socket.AF_INET6, proto=PROTOCOL, dump_filter=None)
        return {
            HostRoute(packed(route.get("dst")), route.get("oif"))
            async for route in routes
            if route["proto"] == PROTOCOL and route["dst_len"] == 128
        }

    def leads_to(self, target: bytes, uplink: int) -> int | None:
        """Return the index of the link by which packets for `target` leave that come in by `uplink`; None: no route.

        It is 0 if they do not leave: the address is this host's own, or somebody made it unreachable on purpose.

        Raises:
            SourceUnavailable: the kernel does not say now.
        """
        way = self._forwarding.way(target, uplink)
        if way.unknown:
            raise SourceUnavailable("netlink: the kernel does not answer")
        return None if way.missing else way.link

    async def add(self, route: HostRoute) -> bool:
        """Add a route of ours; return whether its link takes it now.

        Raises:
            PermissionMissing: CAP_NET_ADMIN is missing.
        """
        try:
            with needing_net_admin(_FEATURE):
                await self._netlink.route("add", **_fields(route), priority=_METRIC)
        except NetlinkError as error:
            if is_error(error, errno.EEXIST):
                return True
            if is_error(error, *_LINK_REFUSES):
                return False
            raise
        return True

    async def remove(self, route: HostRoute) -> None:
        """Remove a route of ours; fine if it has gone already.

        Raises:
            PermissionMissing: CAP_NET_ADMIN is missing.
        """
        try:
            with needing_net_admin(_FEATURE):
                await self._netlink.route("del", **_fields(route))
        except NetlinkError as error:
            if not is_error(error, errno.ESRCH, errno.ENODEV):
                raise


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[HostRoutes]:
    """Yield the kernel's routes.

    Raises:
        Interrupted: they changed while they were read; open them again.
        SourceUnavailable: the kernel cannot be asked now.
    """
    with contextlib.closing(Forwarding()) as forwarding:
        async with asking(_WITHIN_S) as netlink:
            yield HostRoutes(netlink, forwarding)


def matters(event: bytes) -> bool:
    """Tell whether `event` can make a route of ours necessary or wrong: all but the news of our own additions."""
    if len(event) < 24:
        return True
    (kind,) = struct.unpack_from("=H", event, 4)
    return kind != _NEW_ROUTE or event[21] != PROTOCOL  # struct rtmsg: rtm_protocol


def _fields(route: HostRoute) -> dict[str, Any]:
    return {
        "family": socket.AF_INET6,
        "dst": _text(route.target),
        "dst_len": 128,
        "oif": route.link,
        "proto": PROTOCOL,
        "table": _MAIN_TABLE,
    }


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET6, address)
