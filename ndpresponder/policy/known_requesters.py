"""Remember requesters that solicit again and again: a requester keeps its place for as long as it goes on.

Pure. A host can make up any number of requesters, so that coming first keeps no place: a place that has not been used
for a while goes to the next requester. A requester that solicits twice at once is new, and loses its place soon. After
some seconds it is regular, and keeps its place through a quiet spell. One Ethernet source holds few places, however
many IPv6 sources it writes.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from ndpresponder.wire.addresses import is_unicast_lladdr
from ndpresponder.wire.layout import ETH_P_IPV6

# Of each kind. A link has a handful of routers; the rest is room for unknown requesters, about 0.3 kB each
MAX_REQUESTERS: Final = 4096
MAX_OF_STATION: Final = 16  # a router asks from its link-local address and some others
REGULAR_AFTER_S: Final = 3.0
NEW_IDLE_S: Final = 10.0  # a router asks again after a second at most
REGULAR_IDLE_S: Final = 600.0
_USED_S: Final = 1.0  # how exactly it is known when a place was used last

_LENGTH: Final = 32  # of the octets `REQUESTER`
_STATION: Final = slice(0, 6)  # where they hold the Ethernet source
_ETHER_TYPE: Final = slice(6, 8)


class KnownRequester(NamedTuple):
    """One known requester, as a predecessor hands it over."""

    requester: bytes  # the octets `REQUESTER`
    since_s: float
    last_s: float


class KnownRequesters:
    """The requesters of one uplink that asked valid questions before."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.since_s: dict[bytes, float] = {}  # octets `REQUESTER` -> when they became known; to be read only
        self._new: dict[bytes, float] = {}  # -> when the place was used last, the longest ago first
        self._regular: dict[bytes, float] = {}
        self._of_station: dict[bytes, dict[bytes, None]] = {}

    def __contains__(self, requester: bytes) -> bool:
        return requester in self.since_s

    def meet(self, requester: bytes) -> bool:
        """Know a requester that asks again, if there is a place for it; return whether it is known."""
        if requester in self.since_s:
            self.use(requester)
            return True
        now_s = self._clock()
        if not self._make_room(self._new, NEW_IDLE_S, now_s) or not self._make_room_of(requester[_STATION], now_s):
            return False
        self._add(self._new, requester, now_s, now_s)
        return True

    def use(self, requester: bytes) -> None:
        """Note that a requester, known or not, asks now."""
        since_s = self.since_s.get(requester)
        if since_s is None:
            return
        now_s = self._clock()
        of = self._regular if requester in self._regular else self._new
        if now_s - of[requester] < _USED_S:
            return
        if of is self._new and now_s - since_s >= REGULAR_AFTER_S:
            if self._make_room(self._regular, REGULAR_IDLE_S, now_s):
                del of[requester]
                of = self._regular
        else:
            del of[requester]
        of[requester] = now_s

    def regulars_first(self) -> Iterator[bytes]:
        """Return those that have been asking for some seconds, and then the others; the longest known first."""
        for of in (self._regular, self._new):
            yield from sorted(of, key=self.since_s.__getitem__)

    def of_station(self, station: bytes) -> Iterable[bytes]:
        """Return the known requesters with an Ethernet source."""
        return self._of_station.get(station, ())

    # For a successor

    def to_keep(self, most: int) -> list[KnownRequester]:
        """Return those that are known, at most so many: the regular ones that asked last first."""
        found = [
            KnownRequester(requester, self.since_s[requester], last_s)
            for of in (self._regular, self._new)
            for requester, last_s in reversed(of.items())
        ]
        return found[:most]

    def restore(self, kept: Iterable[KnownRequester]) -> None:
        """Know the requesters that a predecessor knew; octets that no answered frame can have are left out."""
        now_s = self._clock()
        for requester, since_s, last_s in sorted(kept, key=lambda each: each.last_s):
            if not _can_be(requester) or not 0 <= since_s <= last_s <= now_s or requester in self.since_s:
                continue
            is_regular = last_s - since_s >= REGULAR_AFTER_S
            of, idle_s = (self._regular, REGULAR_IDLE_S) if is_regular else (self._new, NEW_IDLE_S)
            if self._make_room(of, idle_s, now_s) and self._make_room_of(requester[_STATION], now_s):
                self._add(of, requester, since_s, last_s)

    # Places

    def _add(self, of: dict[bytes, float], requester: bytes, since_s: float, last_s: float) -> None:
        of[requester] = last_s
        self.since_s[requester] = since_s
        self._of_station.setdefault(requester[_STATION], {})[requester] = None

    def _make_room(self, of: dict[bytes, float], idle_s: float, now_s: float) -> bool:
        if len(of) < MAX_REQUESTERS:
            return True
        requester = next(iter(of))
        if now_s - of[requester] < idle_s:
            return False
        self._give_up(requester)
        return True

    def _make_room_of(self, station: bytes, now_s: float) -> bool:
        """See to it that a station has less than all the places that one may have."""
        held = self._of_station.get(station, {})
        if len(held) < MAX_OF_STATION:
            return True
        requester = min(held, key=self._last_s)
        if now_s - self._last_s(requester) < NEW_IDLE_S:
            return False
        self._give_up(requester)
        return True

    def _last_s(self, requester: bytes) -> float:
        return self._new[requester] if requester in self._new else self._regular[requester]

    def _give_up(self, requester: bytes) -> None:
        self._new.pop(requester, None)
        self._regular.pop(requester, None)
        del self.since_s[requester]
        of_station = self._of_station[requester[_STATION]]
        del of_station[requester]
        if not of_station:
            del self._of_station[requester[_STATION]]


def _can_be(requester: bytes) -> bool:
    """Tell whether a frame that is answered can have these octets."""
    return (
        len(requester) == _LENGTH
        and is_unicast_lladdr(requester[_STATION])
        and requester[_ETHER_TYPE] == ETH_P_IPV6.to_bytes(2, "big")
    )
