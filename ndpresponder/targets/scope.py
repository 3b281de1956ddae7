"""Which addresses may be made known on an uplink: a set of prefixes, and what of a source's targets lies in it.

Pure. A scope never widens what a source says; it only leaves parts of it out.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from ndpresponder.policy.table import Prefix

_OCTET: Final = 8


def contains(outer: Prefix, inner: Prefix) -> bool:
    """Tell whether all of `inner` lies in `outer`."""
    shift = 128 - outer.length
    return inner.length >= outer.length and inner.value >> shift == outer.value >> shift


class Scope:
    """The addresses in some prefixes, but for those in others; never changed once it is made."""

    def __init__(self, prefixes: Iterable[Prefix], besides: Iterable[Prefix] = ()) -> None:
        """Take the addresses in `prefixes`, without those in `besides`."""
        self.prefixes = frozenset(prefixes)
        self.besides = frozenset(besides)
        self._heads = _by_octets(self.prefixes)
        self._others = tuple(prefix for prefix in self.prefixes if prefix.length % _OCTET)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scope) and (self.prefixes, self.besides) == (other.prefixes, other.besides)

    def __hash__(self) -> int:
        return hash((self.prefixes, self.besides))

    def __or__(self, other: "Scope") -> "Scope":
        """Return a scope that takes what either does, where `other` leaves nothing out."""
        return Scope(self.prefixes | other.prefixes, self.besides - other.prefixes)

    def takes(self, target: bytes) -> bool:
        """Tell whether an address is in this scope."""
        return self.takes_prefix(Prefix(int.from_bytes(target, "big"), 128))

    def takes_prefix(self, prefix: Prefix) -> bool:
        """Tell whether all of a prefix is in this scope; the longest of the prefixes around it decides."""
        best = max((each.length for each in self.prefixes if contains(each, prefix)), default=-1)
        return best >= 0 and not any(each.length > best and contains(each, prefix) for each in self.besides)

    def select(self, targets: frozenset[bytes]) -> frozenset[bytes]:
        """Return those of many addresses that are in this scope; `targets` itself if all of them are."""
        if self.besides or self._others:
            found = [target for target in targets if self.takes(target)]
        else:
            found = [target for target in targets if any(target[:size] in heads for size, heads in self._heads)]
        return targets if len(found) == len(targets) else frozenset(found)

    def clip(self, claimed: frozenset[Prefix], refused: Collection[Prefix] = ()) -> frozenset[Prefix]:
        """Return the parts of claimed prefixes that are in this scope; `claimed` itself if all of it is.

        `refused` are prefixes within claimed ones that are not ours: the longest decides, before and after.
        """
        if all(map(self.takes_prefix, claimed)):
            return claimed
        return frozenset(part for prefix in claimed for part in self._parts(prefix, claimed, refused))

    def _parts(self, prefix: Prefix, claimed: Collection[Prefix], refused: Collection[Prefix]) -> Iterator[Prefix]:
        if self.takes_prefix(prefix):
            yield prefix
            return
        for part in self.prefixes:
            if contains(prefix, part):
                longest = max(each.length for each in claimed if contains(each, part))
                if not any(each.length > longest and contains(each, part) for each in refused):
                    yield part


def _by_octets(prefixes: Iterable[Prefix]) -> tuple[tuple[int, frozenset[bytes]], ...]:
    """Return the first octets of the prefixes that end with an octet, by their number: how many addresses are told."""
    heads: dict[int, set[bytes]] = {}
    for value, length in prefixes:
        if length % _OCTET == 0:
            size = length // _OCTET
            heads.setdefault(size, set()).add(value.to_bytes(16, "big")[:size])
    return tuple((size, frozenset(each)) for size, each in sorted(heads.items()))


EVERYTHING: Final = Scope((Prefix(0, 0),))
NOWHERE: Final = Scope(())
