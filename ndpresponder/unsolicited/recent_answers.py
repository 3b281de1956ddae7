"""Remember which targets were answered lately, so that their requesters can be told when the answer becomes wrong.

Pure. Each requester's link-layer address has room of its own, in which its own last questions decide what is kept: a
scan pushes out nothing that the router asked for. Which requesters are remembered is decided by who asked last, but for
those that are spared, the confirmed gateways: neighbors who make up addresses push out each other.
Noting must cost an answer next to nothing: of a burst only a part is looked at.
"""

import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Final

from ndpresponder.wire.layout import ETHERNET_DESTINATION, TARGET

# About 0.25 kB each: a Linux router's neighbor table holds no more (net.ipv6.neigh.default.gc_thresh3)
MAX_TARGETS: Final = 1024
MAX_REQUESTERS: Final = 8
_WAITING: Final = 2048  # so many answers wait to be noted
_FEW: Final = 16  # of so many at once, the later ones are noted, of more the earlier ones
_PAUSE_S: Final = 0.25  # between two looks at those: about 0.7 ms each


class RecentAnswers:
    """What one uplink answered last."""

    __slots__ = ("_looked_s", "_requesters", "_waiting", "spared")

    def __init__(self) -> None:
        self._requesters: OrderedDict[bytes, OrderedDict[bytes, None]] = OrderedDict()  # both by last use
        self._waiting: deque[bytes] = deque(maxlen=_WAITING)
        self._looked_s = 0.0
        self.spared: Callable[[], Container[bytes]] = tuple  # returns requesters that no other one pushes out

    def note(self, advertisements: Sequence[bytes], now_s: float) -> None:
        """Take the advertisements of one batch, sent at `now_s`."""
        if len(advertisements) < _FEW or len(self._waiting) < _WAITING:
            self._waiting.extend(advertisements)
        if not 0 <= now_s - self._looked_s < _PAUSE_S:  # the clock may have been set
            self._looked_s = now_s
            self._look_at_waiting()

    def targets(self, most: int = MAX_TARGETS) -> list[bytes]:
        """Return the targets answered last, the latest first; of several requesters one after the other."""
        self._look_at_waiting()
        latest = [reversed(targets) for targets in reversed(self._requesters.values())]
        in_turn = itertools.chain.from_iterable(itertools.zip_longest(*latest))
        distinct = dict.fromkeys(target for target in in_turn if target is not None)
        return list(itertools.islice(distinct, most))

    def rows(self) -> list[tuple[bytes, bytes]]:
        """Return each requester's link-layer address with each of its targets, the latest last."""
        self._look_at_waiting()
        return [(requester, target) for requester, targets in self._requesters.items() for target in targets]

    def restore(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Remember what `rows` returned, before anything else was answered."""
        for requester, target in rows:
            self._remember(requester, target)

    def _look_at_waiting(self) -> None:
        for advertisement in self._waiting:
            if not advertisement[0] & 1:  # duplicate address detection is answered to all nodes
                self._remember(advertisement[ETHERNET_DESTINATION], advertisement[TARGET])
        self._waiting.clear()

    def _remember(self, requester: bytes, target: bytes) -> None:
        if requester not in self._requesters and len(self._requesters) >= MAX_REQUESTERS:
            spared = self.spared()
            oldest = next((each for each in self._requesters if each not in spared), None)
            del self._requesters[oldest or next(iter(self._requesters))]
        targets = self._requesters.setdefault(requester, OrderedDict())
        self._requesters.move_to_end(requester)
        targets[target] = None
        targets.move_to_end(target)
        if len(targets) > MAX_TARGETS:
            targets.popitem(last=False)
