"""The immutable lookup from a target to whether it is ours: built once, swapped whole, never changed.

Pure: no IO, no clock. Addresses are 16 octets; text and `ipaddress` stay outside.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from ndpresponder.wire.addresses import LOOPBACK, is_link_local, is_multicast


class Match(IntEnum):
    """What the table says of a target."""

    NOT_OURS = 0
    CLAIMED = 1  # lies in a prefix of ours
    LIVE = 2  # a source knows that this very address exists behind the host
    EXCLUDED = 3


class Prefix(NamedTuple):
    """An IPv6 prefix: the value of its 128 bits, host bits zero, and its length."""

    value: int
    length: int


# What no source can make ours, whatever it says: :: and ::1, link-local, multicast (RFC 4291 2.5.2, 2.5.3, 2.5.6, 2.7)
_NEVER_OURS: Final = (Prefix(0, 127), Prefix(0xFE80 << 112, 10), Prefix(0xFF << 120, 8))

_NOT_OURS: Final = Match.NOT_OURS
_CLAIMED: Final = Match.CLAIMED
_LIVE: Final = Match.LIVE
_EXCLUDED: Final = Match.EXCLUDED

# One entry for each distinct prefix length, longest first: bits to shift away, and what must remain.
_Lengths = tuple[tuple[int, frozenset[int]], ...]


def _by_length(prefixes: Iterable[Prefix]) -> _Lengths:
    networks: dict[int, set[int]] = {}
    for value, length in prefixes:
        networks.setdefault(128 - length, set()).add(value >> (128 - length))
    return tuple((shift, frozenset(networks[shift])) for shift in sorted(networks))


def _near_never_ours(prefix: Prefix) -> bool:
    return prefix.value < 2 or prefix.value + (1 << 128 - prefix.length) > 0xFE80 << 112


def _can_be_ours(address: bytes) -> bool:
    return address > LOOPBACK and not is_multicast(address) and not is_link_local(address)


@dataclass(frozen=True, slots=True)
class TargetTable:
    """The targets of one uplink. Build it with `TargetTable.build`."""

    live: frozenset[bytes]
    claimed: _Lengths
    excluded: _Lengths

    @classmethod
    def build(
        cls, live: Iterable[bytes] = (), claimed: Iterable[Prefix] = (), excluded: Iterable[Prefix] = ()
    ) -> "TargetTable":
        """Build a table from live addresses, claimed prefixes and excluded prefixes."""
        claimed = frozenset(claimed)
        if any(map(_near_never_ours, claimed)):  # else spare every solicitation three look-ups
            excluded = (*excluded, *_NEVER_OURS)
        return cls(frozenset(filter(_can_be_ours, live)), _by_length(claimed), _by_length(excluded))

    def match(self, target: bytes, value: int) -> Match:
        """Return what this table says of `target`, whose 128 bits are `value`; an exclusion beats every claim."""
        for shift, networks in self.excluded:
            if value >> shift in networks:
                return _EXCLUDED
        if target in self.live:
            return _LIVE
        for shift, networks in self.claimed:
            if value >> shift in networks:
                return _CLAIMED
        return _NOT_OURS

    def answered_live(self) -> frozenset[bytes]:
        """Return the live targets that no exclusion takes away."""
        if not self.excluded:
            return self.live
        return frozenset(target for target in self.live if self.match(target, int.from_bytes(target, "big")) is _LIVE)


EMPTY: Final = TargetTable.build()
