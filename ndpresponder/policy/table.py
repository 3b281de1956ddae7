"""The immutable lookup from a target to whether it is ours: built once, swapped whole, never changed.

Pure: no IO, no clock. Addresses are 16 octets; text and `ipaddress` stay outside.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from ndpresponder.wire.solicitation import judge_target


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

_NEAREST, _FURTHEST = b"\0\1", b"\xfe"  # between these every address can be ours

_NOT_OURS: Final = Match.NOT_OURS
_CLAIMED: Final = Match.CLAIMED
_LIVE: Final = Match.LIVE
_EXCLUDED: Final = Match.EXCLUDED

# One entry for each distinct prefix length, longest first: bits to shift away, and what must remain.
_Lengths = tuple[tuple[int, frozenset[int]], ...]
# The same where the longest prefix decides: what must remain to be claimed, and to be refused.
Division = tuple[tuple[int, frozenset[int], frozenset[int]], ...]


def _by_length(prefixes: Iterable[Prefix]) -> _Lengths:
    networks: dict[int, set[int]] = {}
    for value, length in prefixes:
        networks.setdefault(128 - length, set()).add(value >> (128 - length))
    return tuple((shift, frozenset(networks[shift])) for shift in sorted(networks))


def divide(claimed: Iterable[Prefix], refused: Iterable[Prefix]) -> Division:
    """Sort prefixes for look-ups in which the longest one around an address decides."""
    ours, others = dict(_by_length(claimed)), dict(_by_length(refused))
    nothing: frozenset[int] = frozenset()
    return tuple((shift, ours.get(shift, nothing), others.get(shift, nothing)) for shift in sorted({*ours, *others}))


def never_ours(live: Iterable[bytes]) -> frozenset[bytes]:
    """Return those of `live` that no source can make ours."""
    return frozenset(each for each in live if not _NEAREST < each < _FURTHEST and judge_target(each) is not None)


def can_be_ours(heads: Iterable[bytes]) -> bool:
    """Tell whether every address that begins with one of `heads` can be ours."""
    return all(_NEAREST <= head < _FURTHEST for head in heads)


def _near_never_ours(prefix: Prefix) -> bool:
    return prefix.value < 2 or prefix.value + (1 << 128 - prefix.length) > 0xFE80 << 112


@dataclass(frozen=True, slots=True)
class TargetTable:
    """The targets of one uplink. Build it with `TargetTable.build`."""

    live: frozenset[bytes]
    claimed: _Lengths
    excluded: _Lengths
    divided: tuple[Division, ...] = ()

    @classmethod
    def build(
        cls,
        live: Iterable[bytes] = (),
        claimed: Iterable[Prefix] = (),
        excluded: Iterable[Prefix] = (),
        divided: Iterable[tuple[frozenset[Prefix], frozenset[Prefix]]] = (),
        strange: frozenset[bytes] | None = None,
    ) -> "TargetTable":
        """Build a table from live addresses, claimed prefixes and excluded prefixes.

        `divided` are pairs of claimed and refused prefixes. In each pair the longest prefix decides; what one pair
        refuses, another, or `claimed`, can still make ours. `strange` are the live addresses that can never be ours,
        if that is known.
        """
        claimed, live = frozenset(claimed), frozenset(live)
        divided = tuple(divided)
        if any(map(_near_never_ours, claimed.union(*(ours for ours, _ in divided)))):  # else spare three look-ups
            excluded = (*excluded, *_NEVER_OURS)
        if strange is None:
            strange = never_ours(live)
        if strange:
            live = live.difference(strange)
        return cls(live, _by_length(claimed), _by_length(excluded), tuple(divide(*pair) for pair in divided))

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
        for division in self.divided:
            for shift, ours, others in division:
                if value >> shift in others:
                    break
                if value >> shift in ours:
                    return _CLAIMED
        return _NOT_OURS

    def claims(self) -> _Lengths:
        """Return all claimed prefixes, with what is refused within them."""
        if not self.divided:
            return self.claimed
        networks = dict(self.claimed)
        for division in self.divided:
            for shift, ours, _ in division:
                if ours:
                    networks[shift] = networks.get(shift, ours) | ours
        return tuple(sorted(networks.items()))

    def answered_live(self) -> frozenset[bytes]:
        """Return the live targets that no exclusion takes away."""
        if not self.excluded:
            return self.live
        return frozenset(target for target in self.live if self.match(target, int.from_bytes(target, "big")) is _LIVE)


EMPTY: Final = TargetTable.build()


def changes(before: frozenset[bytes], after: frozenset[bytes]) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Return what is gone and what is new; mostly one is nothing, which is known without a look at 100,000 targets."""
    if len(after) > len(before):
        new, gone = changes(after, before)
        return gone, new
    gone = before - after
    return gone, after - before if len(before) - len(gone) < len(after) else frozenset()
