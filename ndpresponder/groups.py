"""Which solicited-node groups an uplink listens to, so that a bridge that snoops MLD lets solicitations through.

RFC 4861 7.2.8 asks a proxy to join the groups of its targets. A group belongs to all targets with the same low 24
bits, so each is counted and left with its last target. Pure: joining is done elsewhere. What is not joined for want
of room is still answered; behind a snooping bridge nobody will ask.
"""

from bisect import bisect_left
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
        lows = sorted(int.from_bytes(group[-3:], "big") for group in self._joined_live)
        for shift, networks in claimed:  # the narrowest prefixes first
            size = 1 << shift
            if size > self._groups_max:
                self.left_out += min(size, _ALL_GROUPS) * len(networks)
                continue
            for network in sorted(networks):
                # Searched, not enumerated: thousands of prefixes that have no room must not hold up the answers
                low = (network << shift) % _ALL_GROUPS
                first, end = bisect_left(lows, low), bisect_left(lows, low + size)
                missing = size - (end - first)
                if len(lows) + missing > self._groups_max:
                    self.left_out += missing
                elif missing:
                    lows[first:end] = range(low, low + size)
        before, self.groups = self.groups, frozenset(SOLICITED_NODE_PREFIX + low.to_bytes(3, "big") for low in lows)
        return self.groups != before
