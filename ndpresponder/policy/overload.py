"""Choose which frames are answered under overload: neither the loudest requester nor the first one decides.

Pure. Skipping a frame costs a tenth of answering it, so that the frames of a batch are divided into classes:
- Stations that the kernel's neighbor entries have confirmed for the gateways. Such a station shares with nobody when it
  solicits from the gateway's own address. Its other sources, which any host can write, have a share together.
- Known requesters (see `known_requesters`), each with a share. Of too many the longest known go first. Requesters that
  solicit more than any router does go last.
- All others. Each station is answered some times a second: first one that solicited in the last second too, as a router
  does without an answer, then one that is new.
This module never judges a frame: what is held back is counted as `overloaded`. In a flood that lasts the kernel holds
back most frames before they are read, but for `Overload.spared`.
"""

from collections.abc import Callable, Collection, Mapping
from itertools import islice
from operator import itemgetter
from typing import Final, NamedTuple

from ndpresponder.outcome import Kind
from ndpresponder.policy.confirmed_gateways import ConfirmedGateways
from ndpresponder.policy.known_requesters import KnownRequesters
from ndpresponder.policy.recent_rates import FLOODS, MODEST, RecentRates
from ndpresponder.wire.layout import ETHERNET_SOURCE, REQUESTER
from ndpresponder.wire.solicitation import kinds_of

GATEWAYS_SHARE: Final = 16  # of one gateway at its confirmed station, in one batch of 64
SHARE: Final = 8  # of each other requester
KNOWN_ROOM: Final = 16  # of all known requesters together
FRAMES_PER_UNKNOWN: Final = 16  # in a batch, for each unknown requester that is answered beyond the first
MAX_SPARED: Final = 64  # stations: a link has a handful of routers
MAX_KNOWN: Final = 4  # stations that share what time is left; one host can make up more
MAX_GUARDED, MAX_SOURCES, MAX_ADDRESSES = 4, 8, 16  # stations in whose name a host floods, sources of each; gateways
FLOODING_PER_S: Final = 1000  # more than a router asks
BUSY_PER_S: Final = 2000  # fills the ring in the seconds that a successor may take to begin
MAX_FLOODING: Final = 8192  # stations that are held back: of the others one in five is taken for one of so many
_REOPENED: Final = 16  # one of so many is let go each second, and found out again
_SECOND_S: Final = 1.0
_STATION: Final = slice(0, 6)  # where what shares with nobody else begins with it
_IN_REQUESTER: Final = slice(-16, None)  # the IPv6 source, which those end in
_SOURCE_LENGTH: Final = 16
_REQUESTER_LENGTH: Final = 32
_FEWEST: Final = 3  # solicitations that tell a flood: a requester that was answered twice before is known


class Spared(NamedTuple):
    """The requesters that the kernel treats otherwise than unknown ones in a flood."""

    stations: Collection[bytes] = ()  # link-layer addresses
    guarded: Mapping[bytes, Mapping[bytes, bool]] = {}  # stations in whose name there is a flood -> sources -> all?
    gateways: Collection[bytes] = ()  # IPv6 addresses of gateways whose station nobody has confirmed
    known: Collection[bytes] = ()  # link-layer addresses of known requesters that flood, while those are few
    flooding: Collection[bytes] = ()  # link-layer addresses of which next to nothing is read
    salt: int = 0  # with which other stations are taken for one of many that flood


class Overload:
    """The requesters of one uplink under overload."""

    def __init__(
        self,
        known: KnownRequesters,
        confirmed: ConfirmedGateways,
        gateways: Mapping[bytes, object],
        clock: Callable[[], float],
        recall: Callable[[bytes], object] = lambda _: None,
    ) -> None:
        """Follow what is `known` and `confirmed`, and the addresses `gateways`; `recall` finds an earlier answer."""
        self._known = known
        self._confirmed = confirmed
        self._gateways = gateways
        self._clock = clock
        self._recall = recall
        self._began_s = 0.0  # the second that is counted now
        self._asked: dict[bytes, int] = {}  # in this second, by key: each has a share of its own
        self._spared: dict[bytes, None] = {}  # stations that the kernel was told last
        self._flooding: set[bytes] = set()  # keys that solicited more than a router does
        self._lately = RecentRates()
        self._closed: dict[bytes, None] = {}  # stations that flood, the longest held back first
        self._crowded = self._crowded_before = 0
        self.total = 0  # frames that came while the ring was filled faster than it was read
        self.frames = self.batches = 0  # that came to be thinned
        self.from_known = 0  # of those, from known requesters that flood
        self.from_guarded = 0  # and from sources of confirmed stations, in whose very name there is a flood
        self.flooded = False  # whether that lasts, and the kernel holds frames back
        self.read = 0  # frames, or what would have been without a program in the kernel, since the last `measure`
        self._read_since_s, self._read_per_s = 0.0, 0.0

    @property
    def lately(self) -> int:
        """How many frames came of late while the ring was filled faster than it was read."""
        return self._crowded + self._crowded_before

    def measure(self) -> None:
        """Find out how much is read a second; this is called about once a second."""
        now_s = self._clock()
        if now_s - self._read_since_s >= _SECOND_S:
            self._read_per_s = self.read / (now_s - self._read_since_s)
            self._read_since_s, self.read = now_s, 0

    @property
    def would_fill_the_ring(self) -> bool:
        """Whether so much comes that the ring is soon full if nobody reads it."""
        self.measure()
        return self.flooded or max(self._read_per_s, self.read) > BUSY_PER_S

    def thin(self, frames: list[bytes], crowded: bool = True) -> tuple[list[bytes], list[int]]:
        """Return the frames of one batch to answer, and how many others there were of each kind, by its number.

        `crowded` says that the ring was filled faster than it was read.
        """
        self._begin_second()
        self.frames += len(frames)
        self.batches += 1
        if crowded:
            self.total += len(frames)
            self._crowded += len(frames)
        since_s, stations, gateways, asked = self._known.since_s, self._confirmed.stations, self._gateways, self._asked
        ask_lately, closed, flooding = self._lately.ask, self._closed, self._flooding
        # There is time, as after what waited for this process
        share, spared = (SHARE, {}) if crowded else (len(frames), self._spared)
        of_gateways: dict[bytes, list[bytes]] = {}
        chosen: list[bytes] = []
        known: list[tuple[float, bytes]] = []
        loud: list[bytes] = []
        unknown: list[tuple[float, bytes]] = []
        shares: dict[bytes, int] = {}
        requesters = [frame[REQUESTER] for frame in frames]
        is_one = bool(requesters) and requesters.count(requesters[0]) == len(requesters)
        for requester, several in [(requesters[0], frames)] if is_one else zip(requesters, zip(frames), strict=True):
            station, key = requester[_STATION], requester
            if station in stations:
                if (source := requester[_IN_REQUESTER]) in stations[station]:
                    pair = station + source  # not `key`, of which any host can make up many
                    of_gateways.setdefault(pair, []).extend(several)
                    continue
                if key not in since_s:
                    key = station  # all sources that were made up beside it share
            elif key not in since_s:
                key = requester[_IN_REQUESTER]
                if key not in gateways or self._confirmed.has(key):  # most of a flood ends here
                    if station not in closed:
                        for each in several:
                            if (rank := ask_lately(station)) < MODEST:
                                unknown.append((rank, each))
                            elif rank == FLOODS:
                                self._close(station)
                    continue
            had = shares.get(key, 0)
            shares[key] = count = had + len(several)
            within = several if count <= share else several[: max(0, share - had)]
            if key in flooding:
                loud += within
            elif station in stations or station in spared:
                chosen += within
            else:
                known += [(since_s.get(key, 0.0), each) for each in within]
        for key, count in shares.items():
            asked[key] = asked.get(key, 0) + count
            if key in flooding and len(key) == _REQUESTER_LENGTH:
                if key[_STATION] in stations:
                    self.from_guarded += count
                else:
                    self.from_known += count
        for pair, several in of_gateways.items():
            asked[pair] = asked.get(pair, 0) + len(several)
            if pair in flooding:
                self.from_guarded += len(several)
            chosen += self._most_wanted(several, crowded or pair in flooding)
        chosen += self._longest_known(known)
        chosen += loud[:SHARE] if crowded else loud
        chosen += _first(unknown, 1 + len(frames) // FRAMES_PER_UNKNOWN)
        for requester in requesters[:1] if is_one else {frame[REQUESTER] for frame in chosen}:
            self._known.use(requester)
        if len(chosen) == len(frames):
            return chosen, [0] * len(Kind)
        others = kinds_of(frames)
        for kind, count in enumerate(kinds_of(chosen)):
            others[kind] -= count
        return chosen, others

    def _most_wanted(self, frames: list[bytes], is_limited: bool) -> list[bytes]:
        """Return a gateway's share of its frames: if a host floods in its very name, what was answered before."""
        if len(frames) <= GATEWAYS_SHARE or not is_limited:
            return frames
        return sorted(frames, key=lambda each: self._recall(each) is None)[:GATEWAYS_SHARE]

    def _longest_known(self, ranked: list[tuple[float, bytes]]) -> list[bytes]:
        """Return the frames of known requesters that there is room for; the others count as unknown."""
        if len(ranked) > KNOWN_ROOM:
            ranked = sorted(ranked, key=itemgetter(0))
            for _, frame in ranked[KNOWN_ROOM:]:
                station = frame[ETHERNET_SOURCE]
                if station not in self._closed and self._lately.ask(station) == FLOODS:
                    self._close(station)
        return [frame for _, frame in ranked[:KNOWN_ROOM]]

    def _close(self, station: bytes) -> None:
        if len(self._closed) < MAX_FLOODING:
            self._closed[station] = None

    def _begin_second(self) -> None:
        now_s = self._clock()
        if now_s - self._began_s < _SECOND_S:
            return
        soon = now_s - self._began_s < 2 * _SECOND_S
        self._began_s = now_s
        self._note_floods()
        self._asked.clear()
        for station in list(islice(self._closed, 1 + len(self._closed) // _REOPENED)):
            del self._closed[station]
        self._lately.turn()
        self._crowded_before = self._crowded if soon else 0
        self._crowded = 0

    def _note_floods(self) -> None:
        for key, count in self._asked.items():
            if count > FLOODING_PER_S:
                self._flooding.add(key)
                if len(key) != _SOURCE_LENGTH and key[_STATION] not in self._confirmed.stations:
                    self._close(key[_STATION])

    def spared(self, share: float) -> Spared:
        """Return the stations to spare: confirmed ones, and then those known longest that do not flood.

        Of the others `share` is read from now on.
        """
        self._lately.floods = max(_FEWEST, round(FLOODS * share))
        self._note_floods()
        flooding = self._flooding
        in_the_name = {key[_STATION] for key in flooding if len(key) != _SOURCE_LENGTH}
        stations: dict[bytes, None] = {}
        guarded: dict[bytes, Mapping[bytes, bool]] = {}
        for station, sources in self._confirmed.stations.items():
            if station not in in_the_name:
                stations[station] = None
                continue
            loud = {key[_IN_REQUESTER] for key in flooding if key[_STATION] == station}
            its_own = (*sources, *(key[_IN_REQUESTER] for key in self._known.of_station(station)))
            if len(guarded) < MAX_GUARDED:
                guarded[station] = {source: source not in loud for source in its_own[:MAX_SOURCES]}
        known = {key[_STATION] for key in flooding if key in self._known} - self._confirmed.stations.keys()
        if len(known) > MAX_KNOWN:
            known.clear()
        for key in self._known.regulars_first():
            if len(stations) >= MAX_SPARED:
                break
            if key[_STATION] not in in_the_name:
                stations[key[_STATION]] = None
        self._spared = dict.fromkeys(islice(stations, MAX_SPARED))
        gateways = (each for each in self._gateways if each not in flooding and not self._confirmed.has(each))
        return Spared(
            list(self._spared),
            guarded,
            list(islice(gateways, MAX_ADDRESSES)),
            known,
            [station for station in self._closed if station not in stations and station not in known],
            hash((b"salt", self._began_s)),  # unknown to others, and a new one each second
        )

    def forget(self) -> None:
        """Forget how much each requester solicited: the flood is over."""
        self._asked.clear()
        self._flooding.clear()
        self._spared.clear()
        self._closed.clear()
        self._lately = RecentRates()
        self._crowded = self._crowded_before = 0
        self.total = 0


def _first(ranked: list[tuple[float, bytes]], room: int) -> list[bytes]:
    """Return the frames of the lowest ranks that there is room for."""
    if len(ranked) > room:
        ranked = sorted(ranked, key=itemgetter(0))[:room]
    return [frame for _, frame in ranked]
