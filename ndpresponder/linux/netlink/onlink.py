"""Which prefixes are on-link at an uplink, as the kernel's addresses and routes show.

A connected route says it outright: a router advertised the prefix as on-link, or a person wrote it. An address of the
uplink says it as well. One that is longer than /64 stands for its /64, which a provider gives to one link (RFC 4291
2.5.4): a host whose uplink has a /128 and a link-local gateway has no connected route. An uplink without any address
is known outside by the address that the kernel would send from there, so that one counts for it. While the kernel waits
for a router advertisement, nothing is on-link yet.
"""

import socket
import struct
from collections.abc import Collection, Iterator
from typing import Any, Final

from pyroute2.netlink.exceptions import NetlinkError

from ndpresponder.linux.netlink.dump import HEADER_LENGTH, attributes
from ndpresponder.linux.netlink.requests import packed
from ndpresponder.wire.addresses import is_global, is_unique_local

Onlink = frozenset[tuple[int, int]]  # value and length

WIDEST: Final = 32  # no link has a wider prefix: such a route, say 2000::/3, is a default route by another name
_LINK: Final = 64
_RTMSG_LENGTH: Final = 12
_RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH = 4, 5, 9
_GLOBAL: Final = (1 << 125, 3)  # 2000::/3, RFC 3587 3
_ELSEWHERE: Final = "2000::"  # where nobody lives: it stands for any host beyond the default route


def of_address(address: bytes, length: int) -> Iterator[tuple[int, int]]:
    """Yield the prefix that an address of the uplink shows to be on-link."""
    if is_global(address) and length >= WIDEST:
        yield _prefix(address, min(length, _LINK))


def of_route(route: Any, index: int) -> Iterator[tuple[int, int]]:
    """Yield the prefix of a route that leads to neighbors on the link `index` without a router between."""
    length = route["dst_len"]
    if length < WIDEST or not any(
        hop.get("oif") == index and not hop.get("gateway") and not hop.get("via")
        for hop in route.get("multipath") or (route,)
    ):
        return
    destination = packed(route.get("dst"))
    if is_global(destination):
        yield _prefix(destination, length)


async def of_unnumbered(netlink: Any, index: int) -> list[tuple[int, int]]:
    """Return what may belong to the link `index`, which has neither an address nor a connected route.

    That is the /64 of the global address that the kernel would send from to hosts beyond. A host without any shows
    nothing at all: then every global address may, and no private one.
    """
    try:
        (route,) = await netlink.route("get", family=socket.AF_INET6, dst=_ELSEWHERE, oif=index)
    except NetlinkError:  # no such route now
        return [_GLOBAL]
    source = route.get("prefsrc")
    if source is None or not is_global(packed(source)) or is_unique_local(packed(source)):
        return [_GLOBAL]  # a private address is nobody's name outside
    return list(of_address(packed(source), 128))


def leads_away(event: bytes, uplinks: Collection[int]) -> bool:
    """Tell whether a route of an event leads through other links than `uplinks`, or through a router on one."""
    found = dict(attributes(event, HEADER_LENGTH + _RTMSG_LENGTH))
    if _RTA_MULTIPATH in found:
        return False
    (index,) = struct.unpack("=i", found.get(_RTA_OIF, bytes(4)))
    return index not in uplinks or _RTA_GATEWAY in found


def _prefix(address: bytes, length: int) -> tuple[int, int]:
    shift = 128 - length
    return int.from_bytes(address, "big") >> shift << shift, length
