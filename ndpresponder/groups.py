"""Which solicited-node groups an uplink listens to, so that a bridge that snoops MLD lets solicitations through.

RFC 4861 7.2.8 asks a proxy to join the groups of its targets. A group belongs to all targets with the same low 24
bits, so each is counted and left with its last target. Pure: joining is done elsewhere. What is not joined for want
of room is still answered; behind a snooping bridge nobody will ask.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from ndpresponder.targets.table import TargetTable
from ndpresponder.wire.addresses import SOLICITED_NODE_PREFIX, solicited_node

# As many as a Linux bridge learns (mcast_hash_max) before it stops snooping altogether
MAX_GROUPS: Final = 4096


class GroupTable:
    """The groups of one uplink's targets: every live one's, and those of claimed prefixes while there is room."""

    def __init__(self, groups_max: int = MAX_GROUPS) -> None:
        self._groups_max = groups_max
        self._live: frozenset[bytes] = frozenset()
        self._counts: Counter[bytes] = Counter()
        self.groups: frozenset[bytes] = frozenset()
        self.left_out = 0  # groups there was no room for

    def follow(self, table: TargetTable) -> bool:
        """Take the targets of `table`; return whether `groups` changed."""
        self._counts.update(solicited_node(target) for target in table.live - self._live)
        self._counts.subtract(solicited_node(target) for target in self._live - table.live)
        self._counts = +self._counts
        self._live = table.live
        groups = set(self._counts)
        self.left_out = max(0, len(groups) - self._groups_max)
        if self.left_out:
            groups = set(sorted(groups)[: self._groups_max])
        for shift, networks in table.claimed:  # the narrowest prefixes first
            for network in sorted(networks):
                if len(groups) + min(1 << shift, 1 << 24) > self._groups_max:
                    self.left_out += min(1 << shift, 1 << 24)
                else:
                    groups.update(_groups_of(network << shift, 1 << shift))
        before, self.groups = self.groups, frozenset(groups)
        return self.groups != before


def _groups_of(first: int, count: int) -> Iterable[bytes]:
    for value in range(first, first + count):
        yield SOLICITED_NODE_PREFIX + (value & 0xFFFFFF).to_bytes(3, "big")
