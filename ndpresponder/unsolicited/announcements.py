"""What is said unasked when a live target appears or the link comes up, and when (RFC 4861 7.2.6).

Each target is announced three times, at least one second apart. All announcements of an uplink share one pace, so
that 2,000 containers starting at once make no burst; first announcements go before repeats. Pure: frames are
returned. Only live targets are announced: of a claimed prefix nobody knows who is there.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from ndpresponder.policy.token_bucket import TokenBucket
from ndpresponder.wire.addresses import ALL_NODES, ALL_NODES_LLADDR
from ndpresponder.wire.advertisement import advertise
from ndpresponder.wire.solicitation import solicit

REPEATS: Final = 3  # MAX_NEIGHBOR_ADVERTISEMENT, RFC 4861 10
INTERVAL_S: Final = 1.0  # RetransTimer, RFC 4861 10
TARGETS_PER_S: Final = 250  # announcements; each is an advertisement and a solicitation for each gateway
BURST: Final = 16
SHORTEST_WAIT_S: Final = 0.005
_FEW: Final = 3  # targets, each of which is found among 100,000 in 2 ms; another queue without them takes 5
_MOST_SORTED: Final = 10_000  # 2 ms; to sort 100,000 would hold up answers for 25 ms
# A solicitation makes an entry in a gateway's neighbor table. Linux drops entries older than 5 s beyond
# 512 (gc_thresh2), learns nothing new beyond 1,024 (gc_thresh3), and drops unused ones after 60 s (gc_stale_time)
MAX_INTRODUCED: Final = 512
INTRODUCED_WITHIN_S: Final = 60.0


class Announcer:
    """The announcements of one uplink that are still to be made."""

    def __init__(self, clock: Callable[[], float], targets_per_s: int = TARGETS_PER_S) -> None:
        self._clock = clock
        self._pace = TokenBucket(targets_per_s, BURST, clock)
        self._live: frozenset[bytes] = frozenset()
        self._fresh: deque[bytes] = deque()
        self._repeats: deque[tuple[float, bytes, int]] = deque()  # due, target, announcements left; ordered by due

    @property
    def pending(self) -> int:
        """How many announcements are still to be made, as far as they are planned."""
        return len(self._fresh) + len(self._repeats)

    def change(self, live: frozenset[bytes], gone: frozenset[bytes], new: frozenset[bytes]) -> None:
        """Take all live targets: those that are new will be announced, those that are gone no longer."""
        if gone:
            if len(gone) <= _FEW:
                for target in gone:
                    if target in self._fresh:  # else it was announced before
                        self._fresh.remove(target)
            else:
                self._fresh = deque(itertools.filterfalse(gone.__contains__, self._fresh))
            self._repeats = deque(repeat for repeat in self._repeats if repeat[1] not in gone)
        self._fresh.extend(_in_order(new))
        self._live = live

    def add(self, targets: Iterable[bytes], most: int) -> None:
        """Announce other targets too, in this order, as long as no more than `most` announcements are planned."""
        self._fresh.extend(itertools.islice(targets, max(0, most - self.pending)))

    def restart(self, first: Iterable[bytes] = ()) -> None:
        """Announce every live target from the beginning, some of them first: the link is new to the neighbors."""
        in_use = dict.fromkeys(target for target in first if target in self._live)
        self._fresh = deque((*in_use, *_in_order(self._live.difference(in_use))))
        self._repeats.clear()

    def stop(self) -> None:
        """Forget what was planned; the link is down."""
        self._fresh.clear()
        self._repeats.clear()

    def due(self) -> list[bytes]:
        """Return the targets to announce now, as many as the pace allows."""
        now_s = self._clock()
        targets: list[bytes] = []
        while (self._fresh or (self._repeats and self._repeats[0][0] <= now_s)) and self._pace.take():
            if self._fresh:
                target, left = self._fresh.popleft(), REPEATS
            else:
                _, target, left = self._repeats.popleft()
            targets.append(target)
            if left > 1:
                self._repeats.append((now_s + INTERVAL_S, target, left - 1))
        return targets

    def wait_s(self) -> float | None:
        """Return after how many seconds `due` is worth calling again, None when nothing is planned."""
        if not self.pending:
            return None
        paced_s = max(SHORTEST_WAIT_S, self._pace.wait_s())
        return paced_s if self._fresh else max(paced_s, self._repeats[0][0] - self._clock())


def _in_order(targets: frozenset[bytes]) -> Iterable[bytes]:
    return sorted(targets) if len(targets) <= _MOST_SORTED else targets


class Introductions:
    """Which live targets gateways are told of by a solicitation: so many that their tables have room for others."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._introduced: dict[bytes, None] = {}  # the latest, in the order in which they were
        self._room = TokenBucket(MAX_INTRODUCED / INTRODUCED_WITHIN_S, MAX_INTRODUCED, clock)
        self.left_out = 0

    def admit(self, target: bytes) -> bool:
        """Tell whether gateways are to be solicited from `target` now."""
        if target in self._introduced:
            return True
        if not self._room.take():
            self.left_out += 1
            return False
        self._introduced[target] = None
        if len(self._introduced) > MAX_INTRODUCED:
            del self._introduced[next(iter(self._introduced))]
        return True


def announcement(lladdr: bytes, target: bytes, flags: int, gateways: Iterable[bytes]) -> list[bytes]:
    """Return the frames that announce `target`: to all nodes, and to each gateway.

    A router may ignore an unsolicited advertisement for an address that it does not know yet (7.2.5); a
    solicitation from that address with our link-layer address makes it create the entry (7.2.3).
    """
    advertisement = advertise(lladdr, ALL_NODES_LLADDR, ALL_NODES, flags, target)
    return [advertisement, *(solicit(lladdr, target, gateway) for gateway in sorted(gateways))]
