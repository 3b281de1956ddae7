"""Which frames are answered while more come than can be: some of each requester that was known before, and no others.

Pure. What a stranger costs is many times what it takes to pass over it, and a known one that floods costs what a
hundred routers do: passing over both, a ring is read faster than it is filled, so that whoever asks at a modest rate
loses nothing. Gateways are always known, if only by their address: as anybody can write that, all who do have one share
together. It must never judge a frame: what is held back is counted as `overloaded`.

`Crowd.thin` does that with what was read; in a flood that lasts the kernel does it before, for all but `Crowd.spared`.
"""

from collections import Counter
from collections.abc import Collection
from itertools import islice
from typing import Final, NamedTuple

from ndpresponder.outcome import Kind
from ndpresponder.wire.layout import REQUESTER, SOURCE
from ndpresponder.wire.solicitation import kind_of

SHARE: Final = 8  # of each requester in one batch of 64
MAX_SPARED: Final = 64  # of each kind: a link has a handful of routers
FLOODING: Final = 64  # who asks more than one of so many

Frame = tuple[bytes, bool]


class Spared(NamedTuple):
    """Whom the kernel does not hold back as it does strangers."""

    stations: Collection[bytes] = ()  # link-layer addresses of who is known
    flooding: Collection[bytes] = ()  # of those, who floods
    gateways: Collection[bytes] = ()  # IPv6 addresses


class Crowd:
    """All who ask on one uplink while more comes than can be answered."""

    def __init__(self, known: Collection[bytes], gateways: Collection[bytes]) -> None:
        """Know who is in `known`, the octets `REQUESTER` of frames, and the addresses `gateways`, now and later."""
        self._known = known
        self._gateways = gateways
        self._asked: Counter[bytes] = Counter()
        self.total = 0  # frames that came to be thinned

    def thin(self, frames: Collection[Frame]) -> tuple[list[Frame], dict[Kind, int]]:
        """Return the frames of one batch to answer, and how many others there were of each kind."""
        known, gateways = self._known, self._gateways
        chosen: list[Frame] = []
        others = dict.fromkeys(Kind, 0)
        shares: dict[bytes, int] = {}
        for each in frames:
            frame = each[0]
            who = frame[REQUESTER]
            if who not in known:
                who = frame[SOURCE]
                if who not in gateways:  # most of a flood ends here
                    others[kind_of(frame)] += 1
                    continue
            had = shares.get(who, 0)
            shares[who] = had + 1
            if had < SHARE:
                chosen.append(each)
            else:
                others[kind_of(frame)] += 1
        self._asked.update(shares)
        self.total += len(frames)
        return chosen, others

    def spared(self) -> Spared:
        """Return those known longest, and gateways; who floods in the name of a gateway is not one."""
        flooding = {who for who, count in self._asked.items() if count * FLOODING > self.total}
        stations = dict.fromkeys(map(_station, self._known))
        return Spared(
            list(islice(stations, MAX_SPARED)),
            {_station(who) for who in flooding if who in self._known},
            list(islice((gateway for gateway in self._gateways if gateway not in flooding), MAX_SPARED)),
        )

    def forget(self) -> None:
        """Forget who asked how much."""
        self._asked.clear()
        self.total = 0


def _station(requester: bytes) -> bytes:
    """Return the link-layer address of who has these octets `REQUESTER`, which they begin with."""
    return requester[:6]
