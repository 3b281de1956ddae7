"""Remember the stations that the kernel has confirmed for each gateway: its address alone proves nothing.

Pure. A station is confirmed when the kernel's neighbor entry was reachable or permanent with its link-layer address: a
made-up solicitation can make any other entry. Two routers may share a gateway's address, or one may replace another,
so that some stations of each gateway are kept. The longest confirmed stay while they are confirmed now and then. The
last place is for the newest.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from ndpresponder.wire.addresses import is_multicast, is_unicast_lladdr

MAX_STATIONS: Final = 4  # of each gateway
MAX_GATEWAYS: Final = 16  # of a link; forged router advertisements can name any number
IDLE_S: Final = 3600.0  # until another gateway or station gets the place


class Confirmation(NamedTuple):
    """One gateway at one station, for a successor."""

    gateway: bytes
    station: bytes
    last_s: float


class ConfirmedGateways:
    """The confirmed stations of one uplink's gateways."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last_s: dict[bytes, dict[bytes, float]] = {}  # gateway -> station -> when; the longest confirmed first
        self.stations: dict[bytes, frozenset[bytes]] = {}  # station -> its gateways; to be read only

    def has(self, gateway: bytes) -> bool:
        """Tell whether a station is confirmed for a gateway."""
        return gateway in self._last_s

    def of(self, gateway: bytes) -> list[bytes]:
        """Return the stations of a gateway, the longest confirmed first."""
        return list(self._last_s.get(gateway, ()))

    def confirm(self, gateway: bytes, station: bytes, at_s: float | None = None) -> None:
        """Note that a station is confirmed now, or was `at_s` of the clock."""
        now_s = self._clock() if at_s is None else at_s
        if gateway not in self._last_s and len(self._last_s) >= MAX_GATEWAYS:
            oldest = min(self._last_s, key=lambda each: max(self._last_s[each].values()))
            if now_s - max(self._last_s[oldest].values()) < IDLE_S:
                return
            del self._last_s[oldest]
        places = self._last_s.setdefault(gateway, {})
        if station not in places and len(places) >= MAX_STATIONS:
            idle = next((each for each, last_s in places.items() if now_s - last_s >= IDLE_S), None)
            del places[idle if idle is not None else list(places)[-1]]
        places[station] = now_s
        self.stations.clear()
        for each, its in self._last_s.items():
            for other in its:
                self.stations[other] = self.stations.get(other, frozenset()) | {each}

    def confirmations(self) -> list[Confirmation]:
        """Return all that is confirmed."""
        return [
            Confirmation(gateway, station, last_s)
            for gateway, places in self._last_s.items()
            for station, last_s in places.items()
        ]

    def restore(self, confirmations: Iterable[Confirmation]) -> None:
        """Take over what a predecessor saw confirmed; what cannot be is left out."""
        now_s = self._clock()
        for gateway, station, last_s in confirmations:
            if len(gateway) != 16 or len(station) != 6:
                continue
            if not is_multicast(gateway) and is_unicast_lladdr(station) and 0 <= last_s <= now_s:
                self.confirm(gateway, station, last_s)
