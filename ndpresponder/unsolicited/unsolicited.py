"""Announce the live targets of an uplink, and have bridges that snoop MLD send it the solicitations for all targets.

Driven by two facts, the link (`follow_link`) and the targets (`set_table`), and by the loop's clock. It sends no more
than its pace allows, nothing at all while the link is down, and nothing for an address that is not answered for.
"""

from collections.abc import Callable
from typing import Final

from ndpresponder.config import InterfaceConfig
from ndpresponder.linux.loop import Timer
from ndpresponder.linux.netlink import Link
from ndpresponder.observe.uplink_part import UplinkContext, UplinkPart
from ndpresponder.policy.requester import UplinkState
from ndpresponder.policy.responder import Responder
from ndpresponder.policy.table import EMPTY, TargetTable, changes
from ndpresponder.policy.token_bucket import TokenBucket
from ndpresponder.unsolicited.announcements import MAX_INTRODUCED, Announcer, Introductions, announcement
from ndpresponder.unsolicited.groups import SLICE, GroupTable
from ndpresponder.unsolicited.mld_reports import MldReports
from ndpresponder.unsolicited.multicast_router import MulticastRouter

# Between two restarts for new gateways, which anybody can make up: 2,000 targets are through after 24 s
_RESTART_INTERVAL_S: Final = 30.0
_NOT_ALL: Final = "not listening to all solicited-node groups: behind a bridge that snoops MLD "


class Unsolicited(UplinkPart):
    """What one uplink says unasked."""

    def __init__(
        self, context: UplinkContext, config: InterfaceConfig, responder: Responder, lately: Callable[[], list[bytes]]
    ) -> None:
        """Say what `config` asks for and `responder` would; `lately` returns answered targets, the latest first."""
        self._announce = config.announce == "live"
        self._reports = MldReports(context.send, config.mld_source)
        self.router = MulticastRouter(context.send, config.mld_source)
        self._mld_router = config.mld_router
        self._send = context.send
        self._responder = responder
        self._lately = lately
        self._log = context.log.logger
        self._announcer = Announcer(context.clock)
        self._introductions = Introductions(context.clock)
        self._complained = False
        self._groups = GroupTable()
        self._link: Link | None = None
        self._table = EMPTY
        self._live: frozenset[bytes] = frozenset()  # all that are announced and listened for
        self._next = Timer(self._announce_now)
        self._next_count = Timer(self._count)
        self._next_restart = Timer(self._restart)
        self._restarts = TokenBucket(1 / _RESTART_INTERVAL_S, 1, context.clock)  # for new gateways

    def follow_link(self, link: Link, state: UplinkState | None) -> None:
        """Adapt to the link as it is now; say nothing while it is down."""
        if state is None:
            self.close()
            return
        before, self._link = self._link, link
        unheard = before is None or (before.index, before.lladdr) != (link.index, link.lladdr)
        if unheard:
            self._announcer.restart(self._lately())  # a neighbor that hears us now may never have heard us
        if before is None or before.never != link.never:
            self._follow_targets()
        self._reports.follow_link(link, self._groups.groups)
        self._follow_router()
        if before is None or unheard:
            self._announce_now()
        elif not set(before.served_gateways).issuperset(link.served_gateways):
            self._next_restart.within(self._restarts.wait_s())

    def set_table(self, table: TargetTable) -> None:
        """Announce the live targets of `table` that are new, and listen to the groups of all of them."""
        self._table = table
        self._follow_targets()

    def say_farewell(self) -> None:
        """Say that no multicast router is here any more; groups are left to bridges to forget."""
        self.router.terminate()

    def close(self) -> None:
        """Fall silent and leave all groups."""
        self._link = None
        self._announcer.stop()
        self._next.cancel()
        self._next_restart.cancel()
        self._reports.close()
        self.router.close()

    def _follow_targets(self) -> None:
        live = self._table.answered_live()
        never = self._responder.never
        if not never.isdisjoint(live):  # else spare a copy
            live -= never
        gone, new = changes(self._live, live)  # once: among 100,000 it takes 4 ms
        self._live = live
        if self._announce:
            self._announcer.change(live, gone, new)
            self._announce_now()
        self._groups.change(live, gone, new)
        if len(live) > SLICE:  # then all of this took some milliseconds already
            self._next_count.within(0)
        else:
            self._count()

    def _count(self) -> None:
        if self._groups.count():
            self._follow_groups()
        else:
            self._next_count.within(0)

    def _follow_groups(self) -> None:
        before = self._groups.left_out
        if self._groups.choose(self._table.claims()):
            self._reports.follow_link(self._link, self._groups.groups)
        self._follow_router()
        if self._groups.left_out in (0, before):
            return
        facts = {"joined": len(self._groups.groups), "left_out": self._groups.left_out}
        if self._mld_router == "never":
            heard = "only live targets and narrow prefixes are heard"
            self._log.info(_NOT_ALL + heard, **facts, otherwise='mld_router = "auto"')
        else:
            passes = "this host passes for a multicast router, and is sent all of its multicast"
            self._log.info(_NOT_ALL + passes, **facts)

    def _follow_router(self) -> None:
        """Be heard behind a bridge that snoops MLD, whatever the number of groups."""
        wanted = self._mld_router == "always" or (self._mld_router == "auto" and self._groups.left_out > 0)
        self.router.follow_link(self._link, wanted)

    # Announcements

    def _announce_now(self) -> None:
        if (link := self._link) is None:
            return
        frames = []
        for target in self._announcer.due():
            gateways = link.served_gateways if self._introductions.admit(target) else ()
            frames += announcement(link.lladdr, target, self._responder.unsolicited_flags(), gateways)
        if self._introductions.left_out and not self._complained:
            self._complained = True
            self._log.info(
                "more live targets than a router's neighbor table may hold: gateways are solicited from some only, and "
                "learn of the others when they ask",
                live=len(self._table.live),
                at_a_time=MAX_INTRODUCED,
            )
        if (wait_s := self._announcer.wait_s()) is not None:
            self._next.within(wait_s)
        if frames:  # last, so that whatever this ends in does not end the rest
            self._send(frames)

    def _restart(self) -> None:
        self._restarts.take()
        self._announcer.restart()
        self._announce_now()
