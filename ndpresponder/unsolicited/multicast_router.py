"""Have bridges that snoop MLD take this host's port for a multicast router's, so that they hide no group from it.

A prefix can have more solicited-node groups than can be joined. A multicast router advertisement (RFC 4286) makes such
a bridge send this host all of its multicast; the filter of the packet socket drops what is no solicitation. It is
repeated for as long as it is wanted, and a termination ends it. It must never answer a search for routers more often
than `_ANSWER_INTERVAL_S` allows. Sections are those of RFC 4286.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Final, Literal

from ndpresponder.linux.loop import Timer
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.packet.listener import Ear
from ndpresponder.wire import mld
from ndpresponder.wire.addresses import best_source, is_link_local
from ndpresponder.wire.filters import ROUTER_SEARCHES

_INTERVAL_S: Final = 20  # AdvertisementInterval, 3.1.1
_JITTER_S: Final = 0.5  # AdvertisementJitter, 3.1.2: 0.025 of that
# 3.1.3: the first ones follow each other within that time. The very first is sent at once: until then nobody is heard
_FIRST_INTERVAL_S: Final = 2.0
_FIRST: Final = 3  # MaxInitialAdvertisements, 3.1.4
_ANSWER_S: Final = 2.0  # 4.3: the longest wait before a search for routers is answered
_ANSWER_INTERVAL_S: Final = 1.0  # a tenth of the rate that 3.1.6 allows


class MulticastRouter:
    """What one uplink says to pass for a multicast router."""

    def __init__(self, send: Callable[[list[bytes]], None], source: Literal["linklocal", "global", "both"]) -> None:
        """Speak with `send` from each kind of `source` that is asked for."""
        self._send = send
        self._source = source
        self._link: Link | None = None
        self._sources: list[bytes] = []  # that were advertised from, and will be again
        self._first = 0  # advertisements left of the first ones
        self._again = Timer(self._advertise)
        self._searches = Ear(ROUTER_SEARCHES, self._on_search)
        self._advertised_s = 0.0

    @property
    def active(self) -> bool:
        """Whether bridges have been told that a multicast router is here."""
        return bool(self._sources)

    def follow_link(self, link: Link | None, wanted: bool) -> None:
        """Pass for a multicast router on `link` while that is `wanted`; None is a link that is down or gone."""
        if link is None or (self._link is not None and self._link.index != link.index):
            self.close()  # nobody there can be told
            if link is None:
                return
        before, self._link = self._link, link
        sources = self._choose(link) if wanted else []
        gone = [source for source in self._sources if source not in sources]
        anew = not set(sources).issubset(self._sources) or (before is not None and before.lladdr != link.lladdr)
        self._sources = sources
        if gone:
            self._send([mld.terminate_router(link.lladdr, source) for source in gone])
        if not sources:
            self._rest()
        elif anew:
            self._first = _FIRST
            self._advertise()

    def terminate(self) -> None:
        """Say that no multicast router is here any more."""
        self.follow_link(self._link, False)

    def close(self) -> None:
        """Fall silent, and leave it to the bridges to forget."""
        self._link = None
        self._sources = []
        self._rest()

    def _rest(self) -> None:
        self._again.cancel()
        self._searches.close()

    def _choose(self, link: Link) -> list[bytes]:
        """Return the addresses to advertise from: a link-local one, as 3.2 asks, or what passes a provider's filter."""
        local = min(filter(is_link_local, link.sources), default=None)
        routed = best_source(link.sources, mld.ALL_SNOOPERS)
        chosen = [local] if self._source != "global" and local is not None else []
        if routed is not None and (self._source != "linklocal" or not any(map(is_link_local, link.addresses))):
            chosen.append(routed)
        return chosen

    def _advertise(self) -> None:
        if (link := self._link) is None:
            return
        self._advertised_s = asyncio.get_running_loop().time()
        self._first = max(0, self._first - 1)
        if self._first:
            wait_s = _between(_FIRST_INTERVAL_S / 2, _FIRST_INTERVAL_S)
        else:
            wait_s = _INTERVAL_S + _between(-_JITTER_S, _JITTER_S)
        self._again.cancel()
        self._again.within(wait_s)
        self._searches.try_open(link.device)  # else with the next one
        self._send([mld.advertise_router(link.lladdr, source, _INTERVAL_S) for source in self._sources])

    def _on_search(self, search: bytes) -> None:
        """Advertise within `_ANSWER_S` of a search, but not more than once in `_ANSWER_INTERVAL_S`."""
        if mld.is_query(search):
            soonest_s = self._advertised_s + _ANSWER_INTERVAL_S - asyncio.get_running_loop().time()
            self._again.within(max(_between(0, _ANSWER_S), soonest_s))


def _between(least: float, most: float) -> float:
    """Return a number in between, each as likely, that a neighbor cannot foresee."""
    return least + (most - least) * int.from_bytes(os.urandom(4), "big") / 2**32
