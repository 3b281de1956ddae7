"""Read the kernel's routing tables and the policy rules that lead to them, as far as a source of targets needs them.

A table may hold a million routes: a route that is not wanted is dropped at its fixed header, before it is decoded. What
a route means for targets is up to the source.
"""

import errno
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink import changes
from ndpresponder.linux.netlink import layout as nl
from ndpresponder.linux.netlink.asking import Refused, dump, index_of, name_of

GROUPS: Final = changes.LINK | changes.IPV6_ROUTE | changes.IPV6_RULE
MAX_ROUTES: Final = 20_000  # wanted ones, of which each costs some microseconds whenever any of them changes

_IN_HEADER: Final = (nl.RT_TABLE_DEFAULT, nl.RT_TABLE_MAIN, nl.RT_TABLE_LOCAL)
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

    def overlaps(self, value: int, length: int) -> bool:
        """Tell whether a prefix has addresses of interest."""
        for its_value, its_length in self.within:
            shift = 128 - min(length, its_length)
            if value >> shift == its_value >> shift:
                return True
        return not self.within

    def route(self, message: nl.Message) -> Route | None:
        """Return the route of a message if it is of interest; an event may end before its next hops."""
        _, length, source_length, _, table, protocol, _, kind, flags = nl.head(message, nl.RTMSG)
        known = table in self.tables or table not in _IN_HEADER  # others may be written in full in an attribute
        of_interest = max(1, self.shortest) <= length <= 128 and not source_length and kind in nl.RTN_DECIDING
        if not (known and of_interest):
            return None
        values = nl.values_of(message, nl.RTMSG)
        value = int.from_bytes(struct.unpack("16s", values.get(nl.RTA_DST, bytes(16)))[0], "big")
        table = nl.number(values, nl.RTA_TABLE, table)
        if table not in self.tables or not self.overlaps(value, length):
            return None
        metric = nl.number(values, nl.RTA_PRIORITY)
        hops = nl.next_hops(values, flags)
        devices = tuple(index for index, hop_flags, _ in hops if not hop_flags & nl.RTNH_F_DEAD)
        return Route(value, length, table, metric, protocol, kind == nl.RTN_UNICAST, devices)


async def ask_routes(wanted: Wanted) -> list[Route]:
    """Return the wanted routes; raise `SourceUnavailable` also if there are too many."""
    table = next(iter(wanted.tables)) if len(wanted.tables) == 1 else 0  # the kernel can select one, or all
    body = nl.rtmsg(table=table if table < _COMPAT_TABLE else 0)
    filters = (nl.attribute(nl.RTA_TABLE, table),) if table else ()
    left = MAX_ROUTES

    def read(message: memoryview) -> Route | None:
        nonlocal left
        route = wanted.route(message)
        left -= route is not None
        if left < 0:
            raise SourceUnavailable(f"more than {MAX_ROUTES:,} routes; name the prefixes that matter")
        return route

    try:
        return await dump(read, nl.RTM_GETROUTE, body, *filters)
    except Refused as error:
        if error.number != errno.ENOENT:
            raise
        return []  # a table without routes does not exist


def concerns(event: bytes, wanted: Wanted) -> Route | bool:
    """Return the wanted route that `event` tells of, else whether it tells of a link or a rule, or is odd."""
    if len(event) < nl.HEADER_LENGTH:
        return True
    kind = nl.kind_of(event)
    if kind not in (nl.RTM_NEWROUTE, nl.RTM_DELROUTE):
        return kind in (nl.RTM_NEWLINK, nl.RTM_DELLINK, nl.RTM_NEWRULE, nl.RTM_DELRULE)
    try:
        return wanted.route(event) or False
    except struct.error:
        return True


def device_indexes(names: Iterable[str]) -> frozenset[int]:
    """Return the indexes of those links that exist."""
    return frozenset(map(index_of, names)) - {0}


class Tables(NamedTuple):
    """The routing tables, by number, that the policy rules lead to."""

    read: tuple[int, ...]  # in the order of their rules
    for_some: tuple[int, ...]  # that the kernel reads for some packets only


async def tables_for(uplinks: Collection[str]) -> Tables:
    """Return the tables that the kernel reads for packets that come in by `uplinks`.

    A rule that asks for more than the input interface (a source, a destination, a mark, ports) leads to its table for
    some packets only: that table is named apart, since nobody can tell which.
    """
    names = {*uplinks, *(name_of(index) for index in map(index_of, uplinks) if index)}  # a rule has the main name

    def read(message: memoryview) -> tuple[int, int, bool] | None:  # priority, table, whether all packets are led there
        _, to_length, from_length, tos, table, _, _, action, flags = nl.head(message, nl.RTMSG)
        values = nl.values_of(message, nl.RTMSG)
        iif = nl.text(values, nl.FRA_IIF)
        table = nl.number(values, nl.FRA_TABLE, table)
        elsewhere = nl.FRA_OIF in values or (iif and iif not in names)
        if action != nl.FR_ACT_TO_TBL or table in (0, nl.RT_TABLE_LOCAL) or elsewhere:
            return None  # a rule for a VRF has no table of its own
        some = to_length or from_length or tos or flags & nl.FIB_RULE_INVERT or nl.FRA_FOR_SOME & values.keys()
        return nl.number(values, nl.FRA_PRIORITY), table, not some

    rules = sorted(await dump(read, nl.RTM_GETRULE, nl.rtmsg()))
    tables = dict.fromkeys(table for _, table, for_all in rules if for_all)
    return Tables(tuple(tables), tuple(dict.fromkeys(table for _, table, _ in rules if table not in tables)))
