"""MLD reports of the groups of an uplink, so that a bridge that snoops MLD lets solicitations through.

The daemon builds them itself, as the kernel reports from link-local addresses only, which a provider's filter may drop,
and looks through all groups that are joined for each multicast frame. They are sent at each change, again and again,
and after a query, but no more often than `_QUERIED_INTERVAL_S` allows. Nothing is said at the end: the bridge forgets.
After a query of MLDv1 they are of that version, which takes a frame for each group: those are paced.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Literal

from ndpresponder.linux.loop import Timer
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.packet.listener import Ear
from ndpresponder.wire import mld
from ndpresponder.wire.addresses import UNSPECIFIED, best_source, is_link_local
from ndpresponder.wire.filters import QUERIES

# A bridge forgets a listener after 260 s (RFC 3810 9.4); a query may never reach us where the filter also drops what
# is not addressed to us
_INTERVAL_S: Final = 100.0
_REPEAT_S: Final = 1.0  # RFC 3810 9.11: a state change is reported again, should the first be lost
_QUERIED_S: Final = 0.5  # the shortest time for an answer that queriers allow is 1 s (RFC 3810 9.8)
_QUERIED_INTERVAL_S: Final = 5.0  # all groups are 88 kB; general queries are 125 s apart (RFC 3810 9.2)
# RFC 3810 9.12: so long after a query of MLDv1 its sender is taken to be there: twice 125 s, and 10 s
_OLD_QUERIER_S: Final = 260.0
_V1_BATCH: Final = 64  # frames of MLDv1 that are sent at once
_V1_PAUSE_S: Final = 0.05  # after those: 4,096 groups take 3.2 s, a third of the time that queriers allow
# Frames that wait. Of more, the oldest are dropped: sources whose targets come and go choose how many there are, and
# all groups are reported again
_V1_MOST: Final = 16384


class MldReports:
    """Reports the groups of one uplink."""

    def __init__(self, send: Callable[[list[bytes]], None], source: Literal["linklocal", "global", "both"]) -> None:
        """Report with `send` from each kind of `source` that is asked for."""
        self._send = send
        self._source = source
        self._link: Link | None = None
        self._groups: frozenset[bytes] = frozenset()  # as far as they are reported
        self._again = Timer(self._report_again)
        self._queries = Ear(QUERIES, self._on_query)
        self._queried_s = -_QUERIED_INTERVAL_S
        self._version_1_until_s = 0.0
        self._waiting: deque[bytes] = deque(maxlen=_V1_MOST)
        self._pace = Timer(self._send_waiting)

    def follow_link(self, link: Link | None, groups: frozenset[bytes]) -> None:
        """Report what changed, or everything if `link` is another or has other addresses; None is down or gone."""
        before, self._link = self._link, link
        if link is None:
            self.close()
            return
        elsewhere = before is None or before.index != link.index
        if elsewhere:
            self._queries.close()
            self._queries.try_open(link.device)  # else with the next report
        anew = before is None or elsewhere or before.sources != link.sources
        if anew or groups != self._groups:
            left = frozenset() if elsewhere else self._groups - groups
            new = groups if anew else groups - self._groups
            self._groups = groups
            self._report(mld.TO_INCLUDE, left)
            self._report(mld.TO_EXCLUDE, new)
            self._again.within(_REPEAT_S)  # changes that never end do not put it off for ever

    def close(self) -> None:
        self._link = None
        self._groups = frozenset()
        self._queries.close()
        self._waiting.clear()
        self._again.cancel()
        self._pace.cancel()

    def _on_query(self, query: bytes) -> None:
        if not mld.is_query(query):
            return
        now_s = asyncio.get_running_loop().time()
        if mld.is_of_version_1(query):
            self._version_1_until_s = now_s + _OLD_QUERIER_S
        if self._queried_s <= now_s:
            self._queried_s = max(now_s + _QUERIED_S, self._queried_s + _QUERIED_INTERVAL_S)
            self._again.within(self._queried_s - now_s)

    def _report_again(self) -> None:
        self._again.within(_INTERVAL_S)
        if self._link is not None:
            self._queries.try_open(self._link.device)
        self._report(mld.IS_EXCLUDE, self._groups)

    def _sources(self, link: Link) -> Iterable[bytes]:
        if self._source != "global":
            # RFC 3810 5.2.13: from the unspecified address as long as there is no link-local one
            yield min(filter(is_link_local, link.sources), default=UNSPECIFIED)
        if self._source != "linklocal" and (source := best_source(link.sources, mld.ALL_ROUTERS)) is not None:
            yield source

    def _report(self, record: int, groups: Iterable[bytes]) -> None:
        link, ordered = self._link, sorted(groups)
        if link is None or not ordered:
            return
        if asyncio.get_running_loop().time() < self._version_1_until_s:
            self._report_in_version_1(link, record, ordered)
            return
        self._send(
            [
                mld.report(link.lladdr, source, record, ordered[first : first + mld.MAX_RECORDS])
                for source in self._sources(link)
                for first in range(0, len(ordered), mld.MAX_RECORDS)
            ]
        )

    # MLDv1

    def _report_in_version_1(self, link: Link, record: int, groups: list[bytes]) -> None:
        if record == mld.IS_EXCLUDE:  # all groups: whatever waits is among them
            self._waiting.clear()
        left = record == mld.TO_INCLUDE
        sources = list(self._sources(link))
        self._waiting.extend(mld.report_v1(link.lladdr, source, group, left) for group in groups for source in sources)
        if not self._pace.is_set:
            self._send_waiting()

    def _send_waiting(self) -> None:
        if self._waiting:
            self._pace.within(_V1_PAUSE_S)
            self._send([self._waiting.popleft() for _ in range(min(_V1_BATCH, len(self._waiting)))])
