"""Which routing tables the kernel looks at for what comes in by some interfaces, as the policy rules say.

A rule that asks for more than the input interface (a source, a destination, a mark, ports) leads to its table for some
packets only: that table is named apart, since nobody can tell which.
"""

import contextlib
import socket
import struct
from collections.abc import Collection
from typing import Final, NamedTuple

from ndpresponder.linux.interface import index_of, name_of
from ndpresponder.linux.netlink.dump import HEADER_LENGTH, attributes, decoding, dump

# linux/fib_rules.h, linux/rtnetlink.h
_GETRULE: Final = 34
_HEADER: Final = struct.Struct("=BBBBBBBBI")  # family, lengths of both, tos, table, reserved, action, flags
_TO_TABLE: Final = 1  # FR_ACT_TO_TBL
_INVERT: Final = 0x02  # FIB_RULE_INVERT
_IIF, _PRIORITY, _TABLE, _OIF = 3, 6, 15, 17  # FRA_*
_ASKS_FOR_MORE: Final = (10, 16, 20, 22, 23, 24)  # FRA_FWMARK, FWMASK, UID_RANGE, IP_PROTO, SPORT_RANGE, DPORT_RANGE
_LOCAL: Final = 255


class Tables(NamedTuple):
    """Tables by number."""

    read: tuple[int, ...]  # in the order of their rules
    for_some: tuple[int, ...]  # that some packets only are led to


class _Rule(NamedTuple):
    priority: int
    table: int
    for_all: bool


async def tables_for(uplinks: Collection[str]) -> Tables:
    """Return the tables that lead on what comes in by `uplinks`.

    Raises:
        SourceUnavailable: the kernel cannot be asked now.
    """
    names = {*uplinks, *(name_of(index) for index in map(index_of, uplinks) if index)}  # a rule has the main name
    rules: list[_Rule] = []
    asked = dump(_GETRULE, _HEADER.pack(socket.AF_INET6, 0, 0, 0, 0, 0, 0, 0, 0))
    async with contextlib.aclosing(asked) as slices:
        async for messages in slices:
            with decoding():
                rules.extend(rule for message in messages if (rule := _rule(message, names)) is not None)
    rules.sort()
    read = dict.fromkeys(rule.table for rule in rules if rule.for_all)
    return Tables(tuple(read), tuple(dict.fromkeys(rule.table for rule in rules if rule.table not in read)))


def _rule(message: memoryview, uplinks: Collection[str]) -> _Rule | None:
    """Return a rule that can lead on what comes in by an uplink."""
    _, to_length, from_length, tos, table, _, _, action, flags = _HEADER.unpack_from(message, HEADER_LENGTH)
    values = dict(attributes(message, HEADER_LENGTH + _HEADER.size))
    iif = values.get(_IIF, b"").rstrip(b"\0").decode(errors="replace")
    (table,) = struct.unpack("=I", values.get(_TABLE, struct.pack("=I", table)))
    if action != _TO_TABLE or table in (0, _LOCAL) or _OIF in values or (iif and iif not in uplinks):
        return None  # a rule for a VRF has no table of its own
    (priority,) = struct.unpack("=I", values.get(_PRIORITY, bytes(4)))
    some = to_length or from_length or tos or flags & _INVERT or any(key in values for key in _ASKS_FOR_MORE)
    return _Rule(priority, table, not some)
