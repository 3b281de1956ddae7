"""What the kernel's routing tables say, as far as somebody wants to know it.

A table may hold a million routes: what is not wanted is dropped at its fixed header, before it is decoded. What a route
means for targets is the source's.
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.interface import index_of
from ndpresponder.linux.netlink import changes
from ndpresponder.linux.netlink.dump import HEADER_LENGTH, Refused, attribute, attributes, decoding, dump, kind_of

GROUPS: Final = changes.LINK | changes.IPV6_ROUTE | changes.IPV6_RULE
MAX_ROUTES: Final = 20_000  # wanted ones, of which each costs some microseconds whenever any of them changes

# linux/rtnetlink.h
_GETROUTE: Final = 26
_ROUTE_EVENTS, _LINK_EVENTS, _RULE_EVENTS = (24, 25), (16, 17), (32, 33)
_RTMSG: Final = struct.Struct("=BBBBBBBBI")  # family, lengths of destination and source, tos, table, protocol, ...
_NEXT_HOP: Final = struct.Struct("=HBBi")  # length, flags, hops, index
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 6, 9, 15
_UNICAST: Final = 1
_DECIDING: Final = (_UNICAST, 6, 7, 8, 9)  # RTN_BLACKHOLE, UNREACHABLE, PROHIBIT, THROW; not LOCAL, ANYCAST, MULTICAST
_HEAD: Final = HEADER_LENGTH + _RTMSG.size
_DEAD: Final = 0x01  # RTNH_F_DEAD
_COMPAT_TABLE: Final = 256  # the first number that does not fit into the header


class Route(NamedTuple):
    """One route."""

    value: int
    length: int
    table: int
    metric: int
    protocol: int
    unicast: bool  # else the packet ends here
    devices: tuple[int, ...]  # indexes of the links of those of its next hops that are alive


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which routes are of interest: never a default route, nor one for some source addresses only."""

    tables: frozenset[int]
    shortest: int  # prefix length
    within: tuple[tuple[int, int], ...]  # value and length of prefixes that a route must overlap; none: all do

    def header(self, message: bytes | memoryview) -> bool:
        """Tell by the fixed header alone whether the route can be of interest."""
        _, length, source_length, _, table, _, _, kind, _ = _RTMSG.unpack_from(message, HEADER_LENGTH)
        known = table in self.tables or table not in (253, 254, 255)  # others may be written in full in an attribute
        return self.shortest <= length <= 128 and length > 0 and not source_length and kind in _DECIDING and known

    def overlaps(self, value: int, length: int) -> bool:
        """Tell whether a prefix has addresses of interest."""
        for its_value, its_length in self.within:
            shift = 128 - min(length, its_length)
            if value >> shift == its_value >> shift:
                return True
        return not self.within

    def route(self, message: bytes | memoryview) -> Route | None:
        """Return the route of a message if it is of interest; an event may end before its next hops."""
        if not self.header(message):
            return None
        _, length, _, _, table, protocol, _, kind, flags = _RTMSG.unpack_from(message, HEADER_LENGTH)
        values = dict(attributes(message, _HEAD))
        value = int.from_bytes(struct.unpack("16s", values.get(_RTA_DST, bytes(16)))[0], "big")
        (table,) = struct.unpack("=I", values.get(_RTA_TABLE, struct.pack("=I", table)))
        if table not in self.tables or not self.overlaps(value, length):
            return None
        (metric,) = struct.unpack("=I", values.get(_RTA_PRIORITY, bytes(4)))
        return Route(value, length, table, metric, protocol, kind == _UNICAST, tuple(_devices(values, flags)))


async def ask_routes(wanted: Wanted) -> list[Route]:
    """Return the wanted routes.

    Raises:
        SourceUnavailable: there are too many, or the kernel cannot be asked now.
    """
    table = next(iter(wanted.tables)) if len(wanted.tables) == 1 else 0  # the kernel can select one, or all
    body = _RTMSG.pack(socket.AF_INET6, 0, 0, 0, table if table < _COMPAT_TABLE else 0, 0, 0, 0, 0)
    filters = (attribute(_RTA_TABLE, struct.pack("=I", table)),) if table else ()
    routes: list[Route] = []
    try:
        async with contextlib.aclosing(dump(_GETROUTE, body, *filters)) as slices:
            async for messages in slices:
                with decoding():
                    for message in messages:
                        if wanted.header(message) and (route := wanted.route(message)) is not None:
                            routes.append(route)
                if len(routes) > MAX_ROUTES:
                    raise SourceUnavailable(f"more than {MAX_ROUTES:,} routes; name the prefixes that matter")
    except Refused as error:
        if error.number != errno.ENOENT:  # a table without routes does not exist
            raise
    return routes


def concerns(event: bytes, wanted: Wanted) -> bool:
    """Tell whether `event` can have changed a wanted route, a rule, or which link has which name; an odd one may."""
    if len(event) < HEADER_LENGTH or (kind := kind_of(event)) in (*_LINK_EVENTS, *_RULE_EVENTS):
        return True
    try:
        return kind in _ROUTE_EVENTS and wanted.route(event) is not None
    except struct.error:
        return True


def named(event: bytes, wanted: Wanted) -> Route | None:
    """Return the wanted route that `event` tells of; None where it tells of something else, or is odd."""
    if len(event) < HEADER_LENGTH or kind_of(event) not in _ROUTE_EVENTS:
        return None
    try:
        return wanted.route(event)
    except struct.error:
        return None


def device_indexes(names: Iterable[str]) -> frozenset[int]:
    """Return the indexes of those links that exist.

    Raises:
        SourceUnavailable: the system cannot tell now.
    """
    return frozenset(map(index_of, names)) - {0}


def _devices(values: dict[int, bytes], flags: int) -> Iterator[int]:
    if _RTA_MULTIPATH not in values:
        if _RTA_OIF in values and not flags & _DEAD:
            yield struct.unpack("=i", values[_RTA_OIF])[0]
        return
    hops, offset = values[_RTA_MULTIPATH], 0
    while offset + _NEXT_HOP.size <= len(hops):
        length, hop_flags, _, index = _NEXT_HOP.unpack_from(hops, offset)
        if not hop_flags & _DEAD:
            yield index
        offset += max(length, _NEXT_HOP.size) + 3 & ~3
