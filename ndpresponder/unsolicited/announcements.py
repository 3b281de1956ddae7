"""What is said unasked when a live target appears or the link comes up, and when (RFC 4861 7.2.6).

Each target is announced three times, at least one second apart. All announcements of an uplink share one pace, so
that 2,000 containers starting at once make no burst; first announcements go before repeats. Pure: time is passed
in, frames are returned. Only live targets are announced: of a claimed prefix nobody knows who is there.
"""

import itertools
from collections import deque
from collections.abc import Iterable
from typing import Final

from ndpresponder.wire.addresses import ALL_NODES, ALL_NODES_LLADDR
from ndpresponder.wire.advertisement import fill, prepare
from ndpresponder.wire.solicitation import solicit

REPEATS: Final = 3  # MAX_NEIGHBOR_ADVERTISEMENT, RFC 4861 10
INTERVAL_S: Final = 1.0  # RetransTimer, RFC 4861 10
TARGETS_PER_S: Final = 250  # announcements; each is an advertisement and a solicitation for each gateway
BURST: Final = 16
# A solicitation makes an entry in a gateway's neighbor table. Linux drops entries older than 5 s beyond
# 512 (gc_thresh2), learns nothing new beyond 1,024 (gc_thresh3), and drops unused ones after 60 s (gc_stale_time)
MAX_INTRODUCED: Final = 512
INTRODUCED_WITHIN_S: Final = 60.0


class Announcer:
    """The announcements of one uplink that are still to be made."""

    def __init__(self, targets_per_s: int = TARGETS_PER_S) -> None:
        self._targets_per_s = targets_per_s
        self._live: frozenset[bytes] = frozenset()
        self._fresh: deque[bytes] = deque()
        self._repeats: deque[tuple[float, bytes, int]] = deque()  # due, target, announcements left; ordered by due
        self._tokens = float(BURST)
        self._filled_s = 0.0

    @property
    def pending(self) -> int:
        """How many announcements are still to be made, as far as they are planned."""
        return len(self._fresh) + len(self._repeats)

    def set_targets(self, live: Iterable[bytes]) -> None:
        """Take the complete set of live targets: new ones will be announced, those that left no longer."""
        live = frozenset(live)
        if not live.issuperset(self._live):
            self._fresh = deque(target for target in self._fresh if target in live)
            self._repeats = deque(repeat for repeat in self._repeats if repeat[1] in live)
        self._fresh.extend(sorted(live - self._live))
        self._live = live

    def add(self, targets: Iterable[bytes], most: int) -> None:
        """Announce other targets too, in this order, as long as no more than `most` announcements are planned."""
        self._fresh.extend(itertools.islice(targets, max(0, most - self.pending)))

    def restart(self, first: Iterable[bytes] = ()) -> None:
        """Announce every live target from the beginning, some of them first: the link is new to the neighbors."""
        in_use = dict.fromkeys(target for target in first if target in self._live)
        self._fresh = deque((*in_use, *sorted(self._live.difference(in_use))))
        self._repeats.clear()

    def stop(self) -> None:
        """Forget what was planned; the link is down."""
        self._fresh.clear()
        self._repeats.clear()

    def due(self, now_s: float) -> list[bytes]:
        """Return the targets to announce at `now_s`, as many as the pace allows."""
        self._tokens = min(float(BURST), self._tokens + (now_s - self._filled_s) * self._targets_per_s)
        self._filled_s = now_s
        targets: list[bytes] = []
        while self._tokens >= 1:
            if self._fresh:
                target, left = self._fresh.popleft(), REPEATS
            elif self._repeats and self._repeats[0][0] <= now_s:
                _, target, left = self._repeats.popleft()
            else:
                break
            self._tokens -= 1
            targets.append(target)
            if left > 1:
                self._repeats.append((now_s + INTERVAL_S, target, left - 1))
        return targets

    def wait_s(self, now_s: float) -> float | None:
        """Return after how many seconds `due` is worth calling again, None when nothing is planned."""
        if not self.pending:
            return None
        paced_s = max(0.0, 1 - self._tokens) / self._targets_per_s
        if self._fresh:
            return paced_s
        return max(paced_s, self._repeats[0][0] - now_s)


class Introductions:
    """Which live targets gateways are told of by a solicitation: so many that their tables have room for others.

    Who is told of first is introduced first, and stays so: of the others gateways learn when they ask.
    """

    def __init__(self) -> None:
        self._introduced: dict[bytes, None] = {}  # the latest, in the order in which they were
        self._tokens = float(MAX_INTRODUCED)
        self._filled_s = 0.0
        self.left_out = 0

    def admit(self, target: bytes, now_s: float) -> bool:
        """Tell whether gateways are to be solicited from `target` at `now_s`."""
        if target in self._introduced:
            return True
        gained = (now_s - self._filled_s) * MAX_INTRODUCED / INTRODUCED_WITHIN_S
        self._tokens = min(float(MAX_INTRODUCED), self._tokens + gained)
        self._filled_s = now_s
        if self._tokens < 1:
            self.left_out += 1
            return False
        self._tokens -= 1
        self._introduced[target] = None
        if len(self._introduced) > MAX_INTRODUCED:
            del self._introduced[next(iter(self._introduced))]
        return True


def announcement(lladdr: bytes, target: bytes, flags: int, gateways: Iterable[bytes]) -> list[bytes]:
    """Return the frames that announce `target`: to all nodes, and to each gateway.

    A router may ignore an unsolicited advertisement for an address that it does not know yet (7.2.5); a
    solicitation from that address with our link-layer address makes it create the entry (7.2.3).
    """
    advertisement = fill(prepare(lladdr, ALL_NODES_LLADDR, ALL_NODES, flags), target, int.from_bytes(target, "big"))
    return [advertisement, *(solicit(lladdr, target, gateway) for gateway in sorted(gateways))]
