"""Change the kernel's tables: permanent neighbor entries, and routes to single hosts.

Every change is marked as ours, so that nobody else's entry is ever changed or removed. Whatever makes one raises
`PermissionMissing` without CAP_NET_ADMIN. Never used unless a person asked for one of the features that make changes.
"""

import asyncio
import errno
from collections.abc import Collection
from typing import Final, NamedTuple

from ndpresponder.errors import PermissionMissing
from ndpresponder.linux.netlink import changes
from ndpresponder.linux.netlink import layout as nl
from ndpresponder.linux.netlink.asking import Refused, command, dump
from ndpresponder.linux.netlink.neighbors import Entry, find_entry

ROUTE_GROUPS: Final = changes.LINK | changes.IPV6_ROUTE | changes.IPV6_RULE
_GONE: Final = (errno.ENOENT, errno.ENODEV, errno.ENETDOWN)
_METRIC: Final = 1 << 20  # a route that somebody else has to the same host goes before ours
_LINK_REFUSES: Final = (errno.ENODEV, errno.ENETDOWN, errno.EINVAL)


def _change(feature: str, accepted: Collection[int], kind: int, flags: int, body: bytes, *arguments: bytes) -> int:
    """Change something for `feature`; return 0, or the errno of a refusal if it is `accepted`."""
    try:
        command(kind, flags, body, *arguments)
    except Refused as error:
        if error.number in accepted:
            return error.number
        if error.number == errno.EPERM:
            raise PermissionMissing(
                f"{feature} needs CAP_NET_ADMIN: run as root, or install the drop-in "
                "systemd/ndpresponder-net-admin.conf of the systemd unit"
            ) from error
        raise
    return 0


async def require_net_admin(feature: str) -> None:
    """Make sure that we may do what `feature` will need, before anything depends on it."""
    # No link is named: with the capability the kernel objects to that
    _change(feature, (errno.EINVAL,), nl.RTM_DELNEIGH, 0, nl.ndmsg(), nl.attribute(nl.NDA_DST, bytes(16)))


async def find_pin(index: int, address: bytes) -> Entry | None:
    """Return the entry for `address` on the link `index` if it is permanent."""
    return find_entry(index, address, nl.NUD_PERMANENT)


async def pin(index: int, address: bytes, lladdr: bytes) -> bool:
    """Make the entry for `address` permanent; return whether the link still takes it."""
    ours = nl.attribute(nl.NDA_PROTOCOL, bytes([nl.OUR_PROTOCOL]))
    return not _change_neighbor(index, address, nl.NUD_PERMANENT, nl.attribute(nl.NDA_LLADDR, lladdr), ours)


async def unpin(index: int, address: bytes) -> None:
    """Turn a permanent entry of ours into an ordinary one that the kernel will confirm before long."""
    found = await find_pin(index, address)
    if found is not None and found.ours and not _change_neighbor(index, address, 0):  # else our mark would stay
        _change_neighbor(index, address, nl.NUD_STALE, nl.attribute(nl.NDA_LLADDR, found.lladdr))


def _change_neighbor(index: int, address: bytes, state: int, *values: bytes) -> int:
    """Give an entry a state, or remove it where that is 0; return what `_change` does."""
    kind, flags = (nl.RTM_NEWNEIGH, nl.NLM_F_CREATE | nl.NLM_F_REPLACE) if state else (nl.RTM_DELNEIGH, 0)
    body = nl.ndmsg(index=index, state=state)
    return _change("pin_gateway", _GONE, kind, flags, body, nl.attribute(nl.NDA_DST, address), *values)


class HostRoute(NamedTuple):
    """A route to one address."""

    target: bytes
    link: int  # index


async def installed_routes() -> set[HostRoute]:
    """Return the routes that are ours; raise `Interrupted` if they changed while they were read."""

    def read(message: memoryview) -> HostRoute | None:
        _, length, _, _, _, protocol, *_ = nl.head(message, nl.RTMSG)
        values = nl.values_of(message, nl.RTMSG)
        ours = protocol == nl.OUR_PROTOCOL and length == 128
        return HostRoute(values[nl.RTA_DST], nl.number(values, nl.RTA_OIF)) if ours else None

    return set(await dump(read, nl.RTM_GETROUTE, nl.rtmsg(protocol=nl.OUR_PROTOCOL), whole=True))


async def add_route(route: HostRoute) -> bool:
    """Add a route of ours; return whether its link takes it now."""
    flags, metric = nl.NLM_F_CREATE | nl.NLM_F_EXCL, nl.attribute(nl.RTA_PRIORITY, _METRIC)
    refusal = await _change_route(route, (errno.EEXIST, *_LINK_REFUSES), nl.RTM_NEWROUTE, flags, metric)
    return refusal in (0, errno.EEXIST)


async def remove_route(route: HostRoute) -> None:
    """Remove a route of ours; fine if it has gone already."""
    await _change_route(route, (errno.ESRCH, errno.ENODEV), nl.RTM_DELROUTE, 0)


async def _change_route(route: HostRoute, accepted: Collection[int], kind: int, flags: int, *values: bytes) -> int:
    await asyncio.sleep(0)  # there may be thousands of routes
    body = nl.rtmsg(128, table=nl.RT_TABLE_MAIN, protocol=nl.OUR_PROTOCOL, kind=nl.RTN_UNICAST)
    destination = nl.attribute(nl.RTA_DST, route.target), nl.attribute(nl.RTA_OIF, route.link)
    return _change("install_routes", accepted, kind, flags, body, *destination, *values)


def route_matters(event: bytes) -> bool:
    """Tell whether `event` can make a route of ours necessary or wrong: all but the news of our own additions."""
    if len(event) < nl.HEADER_LENGTH + nl.RTMSG.size:
        return True
    return nl.kind_of(event) != nl.RTM_NEWROUTE or nl.head(event, nl.RTMSG)[5] != nl.OUR_PROTOCOL
