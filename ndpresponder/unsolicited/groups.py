"""Which solicited-node groups an uplink listens to, so that a bridge that snoops MLD lets solicitations through.

RFC 4861 7.2.8 asks a proxy to join the groups of its targets. A group belongs to all targets with the same low 24
bits, so each is counted and left with its last target. Pure: reporting is done elsewhere. What has no room is still
answered; behind a snooping bridge nobody will ask.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from heapq import nsmallest
from operator import itemgetter
from typing import Final

from ndpresponder.wire.addresses import SOLICITED_NODE_PREFIX

# As many as a Linux bridge learns (mcast_hash_max) before it stops snooping altogether
MAX_GROUPS: Final = 4096
SLICE: Final = 10_000  # live targets that are counted at once: about 2 ms
_ALL_GROUPS: Final = 1 << 24
_LOW: Final = itemgetter(slice(-3, None))  # what a group takes of a target; in C, as there can be 100,000


class GroupTable:
    """The groups of one uplink's targets: every live one's, and those of claimed prefixes while there is room."""

    def __init__(self, groups_max: int = MAX_GROUPS) -> None:
        self._groups_max = groups_max
        self._counts: Counter[bytes] = Counter()  # of live targets, by the last octets that make a group
        self._joined_live: set[bytes] = set()
        self._not_counted: list[bytes] = []  # live targets that wait for their turn
        self.groups: frozenset[bytes] = frozenset()
        self.left_out = 0  # groups there was no room for

    def change(self, live: frozenset[bytes], gone: frozenset[bytes], new: frozenset[bytes]) -> None:
        """Take the live targets, those that are gone and those that are new; then `count` them."""
        if 2 * len(gone) > len(live):  # then all are counted sooner than those are taken off
            self._counts.clear()
            self._not_counted = list(live)
        else:
            if gone and self._not_counted:
                waiting = gone.intersection(self._not_counted)
                self._not_counted = [target for target in self._not_counted if target not in waiting]
                gone -= waiting
            self._not_counted += new
            for low in map(_LOW, gone):
                self._counts[low] -= 1
                if not self._counts[low]:
                    del self._counts[low]

    def count(self) -> bool:
        """Count some of the new targets; return whether all are counted."""
        self._counts.update(map(_LOW, self._not_counted[-SLICE:]))
        del self._not_counted[-SLICE:]
        return not self._not_counted

    def choose(self, claimed: Iterable[tuple[int, frozenset[int]]]) -> bool:
        """Choose the groups of the counted targets and of `claimed`, as a `TargetTable` has it; tell of a change.

        What has room keeps it while it is needed, so that new targets throw nobody out.
        """
        self._joined_live &= self._counts.keys()
        room = self._groups_max - len(self._joined_live)
        if room:
            self._joined_live.update(nsmallest(room, (low for low in self._counts if low not in self._joined_live)))
        self.left_out = len(self._counts) - len(self._joined_live)
        lows = sorted(int.from_bytes(low, "big") for low in self._joined_live)
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
