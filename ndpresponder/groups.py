"""Which solicited-node groups an uplink listens to, so that a bridge that snoops MLD lets solicitations through.

RFC 4861 7.2.8 asks a proxy to join the groups of its targets. A group belongs to all targets with the same low 24
bits, so each is counted and left with its last target. Pure: joining is done elsewhere. What is not joined for want
of room is still answered; behind a snooping bridge nobody will ask.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from ndpresponder.wire.addresses import SOLICITED_NODE_PREFIX, solicited_node

# As many as a Linux bridge learns (mcast_hash_max) before it stops snooping altogether
MAX_GROUPS: Final = 4096
_ALL_GROUPS: Final = 1 << 24


class GroupTable:
    """The groups of one uplink's targets: every live one's, and those of claimed prefixes while there is room."""

    def __init__(self, groups_max: int = MAX_GROUPS) -> None:
        self._groups_max = groups_max
        self._live: frozenset[bytes] = frozenset()
        self._counts: Counter[bytes] = Counter()
        self._joined_live: set[bytes] = set()
        self.groups: frozenset[bytes] = frozenset()
        self.left_out = 0  # groups there was no room for

    def follow(self, live: frozenset[bytes], claimed: Iterable[tuple[int, frozenset[int]]]) -> bool:
        """Take the live targets and the claimed prefixes, as a `TargetTable` has them; tell whether `groups` changed.

        What has room keeps it while it is needed, so that new targets throw nobody out.
        """
        self._counts.update(solicited_node(target) for target in live - self._live)
        for target in self._live - live:
            group = solicited_node(target)
            self._counts[group] -= 1
            if not self._counts[group]:
                del self._counts[group]
        self._live = live
        self._joined_live &= self._counts.keys()
        waiting = self._counts.keys() - self._joined_live
        room = self._groups_max - len(self._joined_live)
        self._joined_live.update(sorted(waiting)[:room] if room else ())
        self.left_out = max(0, len(waiting) - room)
        groups = set(self._joined_live)
        for shift, networks in claimed:  # the narrowest prefixes first
            for network in sorted(networks):
                if 1 << shift > self._groups_max:
                    self.left_out += min(1 << shift, _ALL_GROUPS)
                    continue
                missing = _groups_of(network << shift, 1 << shift) - groups
                if len(groups) + len(missing) > self._groups_max:
                    self.left_out += len(missing)
                else:
                    groups |= missing
        before, self.groups = self.groups, frozenset(groups)
        return self.groups != before


def _groups_of(first: int, count: int) -> set[bytes]:
    return {SOLICITED_NODE_PREFIX + (value & 0xFFFFFF).to_bytes(3, "big") for value in range(first, first + count)}
