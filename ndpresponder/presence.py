"""How an uplink makes itself heard and keeps hearing: announcements, group memberships, MLD reports.

Driven by two facts, the link (`follow`) and the targets (`apply`), and by the loop's clock. It sends no more than
its pace allows, and nothing at all while the link is down.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Final, Literal

from ndpresponder.announce import Announcer, announcement
from ndpresponder.groups import GroupTable
from ndpresponder.linux.multicast import Memberships
from ndpresponder.linux.netlink import Link
from ndpresponder.observe.logs import Logger
from ndpresponder.targets.table import TargetTable
from ndpresponder.wire import mld
from ndpresponder.wire.addresses import is_global

_TICK_S: Final = 0.005  # the shortest sleep between two announcements
# A bridge forgets a listener after 260 s (RFC 3810 9.4); a query, which would make the kernel report, may never
# reach us where the filter also drops what is not addressed to us
_REPORT_INTERVAL_S: Final = 100.0
_REPORT_REPEAT_S: Final = 1.0  # RFC 3810 9.11: a state change is reported again, should the first be lost


class Presence:
    """What one uplink says unasked."""

    def __init__(
        self,
        announce: Literal["live", "never"],
        mld_source: Literal["linklocal", "global", "both"],
        send: Callable[[list[bytes]], None],
        flags: Callable[[], int],
        log: Logger,
    ) -> None:
        """Say things with `send`; `flags` returns the R and O bits of a live target's advertisement."""
        self._announce = announce == "live"
        self._join = mld_source != "global"
        self._report = mld_source != "linklocal"
        self._send = send
        self._flags = flags
        self._log = log
        self._announcer = Announcer()
        self._groups = GroupTable()
        self._memberships: Memberships | None = None
        self._reported: frozenset[bytes] = frozenset()
        self._link: Link | None = None
        self._announce_timer: asyncio.TimerHandle | None = None
        self._report_timer: asyncio.TimerHandle | None = None
        self._left_out = 0
        self._join_error = 0

    def follow(self, link: Link | None) -> None:
        """Adapt to the link as it is now; None when it is gone or down."""
        before, self._link = self._link, link
        if link is None:
            self.close()
            return
        if before is None or before.index != link.index:
            self._reset_memberships(link)
        if before is None or (before.index, before.lladdr) != (link.index, link.lladdr):
            if self._announce:
                self._announcer.restart()
            self._announce_now()
        if self._report and (before is None or before.addresses != link.addresses):
            self._reported = frozenset()
            self._report_groups()

    def apply(self, table: TargetTable) -> None:
        """Announce the live targets of `table` that are new, and listen to the groups of all of them."""
        if self._announce:
            self._announcer.follow(table.live)
            self._announce_now()
        if self._groups.follow(table):
            self._follow_groups()
        if self._groups.left_out != self._left_out:
            self._left_out = self._groups.left_out
            if self._left_out:
                self._log.info(
                    "not listening to all solicited-node groups: behind a bridge that snoops MLD only live targets and "
                    "narrow prefixes are heard",
                    joined=len(self._groups.groups),
                    left_out=self._left_out,
                )

    def close(self) -> None:
        """Fall silent and leave all groups."""
        self._link = None
        self._announcer.stop()
        for timer in (self._announce_timer, self._report_timer):
            if timer is not None:
                timer.cancel()
        self._announce_timer = self._report_timer = None
        if self._memberships is not None:
            self._memberships.close()
            self._memberships = None
        self._reported = frozenset()

    # Announcements

    def _announce_now(self) -> None:
        if self._announce_timer is not None:
            self._announce_timer.cancel()
            self._announce_timer = None
        link, loop = self._link, asyncio.get_running_loop()
        if link is None:
            return
        frames = [
            frame
            for target in self._announcer.due(loop.time())
            for frame in announcement(link.lladdr, target, self._flags(), link.gateways)
        ]
        if frames:
            self._send(frames)
        wait_s = self._announcer.wait_s(loop.time())
        if wait_s is not None:
            self._announce_timer = loop.call_later(max(wait_s, _TICK_S), self._announce_now)

    # Groups

    def _reset_memberships(self, link: Link) -> None:
        if self._memberships is not None:
            self._memberships.close()
        self._memberships = Memberships(link.index)
        self._reported = frozenset()
        self._follow_groups()

    def _follow_groups(self) -> None:
        if self._memberships is None:
            return
        if self._join:
            error = self._memberships.follow(self._groups.groups)
            if error and error != self._join_error:
                self._log.warning(
                    "cannot join all solicited-node groups",
                    error=os.strerror(error),
                    joined=len(self._memberships.joined),
                    wanted=len(self._groups.groups),
                )
            self._join_error = error
        if self._report:
            self._report_groups()

    def _report_groups(self) -> None:
        """Report what changed from a global source now and once more, and then everything again and again."""
        groups = self._groups.groups
        self._send_reports(mld.TO_INCLUDE, self._reported - groups)
        self._send_reports(mld.TO_EXCLUDE, groups - self._reported)
        changed = groups != self._reported
        self._reported = groups
        self._schedule_report(_REPORT_REPEAT_S if changed else _REPORT_INTERVAL_S)

    def _report_again(self) -> None:
        self._send_reports(mld.IS_EXCLUDE, self._groups.groups)
        self._schedule_report(_REPORT_INTERVAL_S)

    def _schedule_report(self, delay_s: float) -> None:
        if self._report_timer is not None:
            self._report_timer.cancel()
        self._report_timer = asyncio.get_running_loop().call_later(delay_s, self._report_again)

    def _send_reports(self, record: int, groups: Iterable[bytes]) -> None:
        link = self._link
        source = min((address for address in link.addresses if is_global(address)), default=None) if link else None
        if link is None or source is None:
            return
        ordered = sorted(groups)
        self._send(
            [
                mld.report(link.lladdr, source, record, ordered[first : first + mld.MAX_RECORDS])
                for first in range(0, len(ordered), mld.MAX_RECORDS)
            ]
        )
