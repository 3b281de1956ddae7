"""One uplink's life: its socket opens and closes with the link, its frames are answered, its parts follow.

Settings change while frames are answered. Parts whose settings stay go on as they are. If the system refuses one part,
the old parts come back and nothing has changed.
"""

import asyncio
import contextlib
import socket
import time
from binascii import crc32
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ndpresponder.errors import LinkNotReady, NdpresponderError, SourceUnavailable
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.other_responders import put_mark
from ndpresponder.observe.logs import Logs
from ndpresponder.observe.uplink_log import UplinkLog
from ndpresponder.observe.uplink_part import UplinkPart
from ndpresponder.policy.requester import UplinkState
from ndpresponder.policy.table import Match, TargetTable
from ndpresponder.policy.token_bucket import TokenBucket
from ndpresponder.unsolicited.moved_targets import MovedTargets
from ndpresponder.unsolicited.unsolicited import Unsolicited
from ndpresponder.uplink.frames import STALL_TOLERATED_S, Frames
from ndpresponder.uplink.parts import FASTPATH, UNSOLICITED, VERIFICATION, Settings, Surroundings, Verification

if TYPE_CHECKING:
    from ndpresponder.offload.fastpath import FastPath


class Uplink:
    """Answers on one interface. Tell it what the kernel says (`follow_link`) and what is ours (`set_table`)."""

    def __init__(
        self, settings: Settings, logs: Logs, surroundings: Surroundings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare an uplink that has no socket yet; one from a predecessor is read only once `resume` is called."""
        self.settings = settings
        self.name = settings.interface.name
        self.link: Link | None = None
        self.log = UplinkLog(settings.interface, clock)
        self.log.claimers = surroundings.claimers
        self._surroundings = surroundings
        self._frames = frames = Frames(self.log, logs, surroundings.handover, clock)
        frames.on_lost = surroundings.on_lost
        self.tally = frames.tally
        self.responder = frames.responder
        self.requesters = frames.requesters
        self.send_unasked = frames.send_unasked
        self.resume = frames.resume
        self._kept_as = f"recent-{crc32(self.name.encode()):08x}"  # systemd takes no colons and only ASCII
        self._served: Link | None = None  # with a socket
        self._take: Callable[[bool], bool] | None = None
        self._mark: socket.socket | None = None
        self.moved_targets = moved = MovedTargets(frames.context, frames.responder)
        frames.on_answered = moved.note
        moved.on_expecting = self._leave_claimed
        moved.recent.spared = lambda: self.requesters.confirmed.stations
        moved.elsewhere = lambda: self._fastpath.recent() if self._fastpath else []
        self._parts = {name: self._make(name) for name in settings.parts()} | {"moved targets": moved}
        self._configure_responder(None)

    @property
    def ready(self) -> bool:
        """Whether solicitations are being answered."""
        return self.tally.up and not self.stalled

    @property
    def stalled(self) -> bool:
        """Whether frames wait and none is taken, as of the last `collect`."""
        return self.tally.stalled_s > STALL_TOLERATED_S

    async def settle(self) -> None:
        """Wait until all that is counted is counted where it is for good; at once while nothing is answered here."""
        if self.tally.up:
            await self._frames.counting.settled.wait()

    @property
    def gateways(self) -> frozenset[bytes]:
        """Every default gateway that was ever seen here."""
        return frozenset(self.requesters.gateways.seen_s)

    def knows(self, target: bytes) -> bool | None:
        """Tell whether a target was verified of late; None where nothing is verified."""
        verifier = self._frames.verifier
        return verifier.knows(target) if verifier else None

    def is_ours(self, target: bytes) -> bool:
        """Tell whether a target is answered for, by what the sources say."""
        return self.responder.table.match(target, int.from_bytes(target, "big")) in (Match.CLAIMED, Match.LIVE)

    # Settings

    def configure(self, settings: Settings) -> None:
        """Change the settings, from the next frame on; what does not differ goes on as it is.

        Raises:
            SourceUnavailable: the system refuses the sockets that `verify` needs; nothing was changed.
            PermissionMissing, SystemRefused: the system refuses the fast path; nothing was changed.
        """
        if settings == self.settings:
            return
        before, self.settings = self.settings, settings
        had, wanted = before.parts(), settings.parts()
        changed = [name for name in (VERIFICATION, FASTPATH, UNSOLICITED) if had.get(name) != wanted.get(name)]
        old = {name: self._parts.pop(name) for name in changed if name in self._parts}
        try:
            if FASTPATH in old:
                old[FASTPATH].lose_link()  # two cannot be attached; until then the responder answers
            for name in changed:
                if name in wanted and name != UNSOLICITED:
                    self._add(name, self._make(name))
        except NdpresponderError:
            self.settings = before
            for name in self._parts.keys() & changed:
                self._parts.pop(name).close()
            self._parts |= old
            if FASTPATH in old:
                self._add(FASTPATH, old[FASTPATH])
            raise
        self._configure_responder(before)
        if UNSOLICITED in changed and UNSOLICITED in wanted:  # before the old one is closed: no group is ever left
            self._add(UNSOLICITED, self._make(UNSOLICITED))
        now = self._parts.get(UNSOLICITED)
        if UNSOLICITED in old and not (isinstance(now, Unsolicited) and now.router.active):
            old[UNSOLICITED].say_farewell()
        for part in old.values():
            part.close()
        self.log.configure(settings.interface)

    def _make(self, name: str) -> UplinkPart:
        """Make a part that the settings ask for; it knows neither link nor targets yet."""
        context, each, moved = self._frames.context, self.settings.interface, self.moved_targets
        if name == VERIFICATION:
            return Verification(self._frames, self._surroundings)
        if name == UNSOLICITED:
            return Unsolicited(context, each, self.responder, moved.lately)
        from ndpresponder.offload.fastpath import FastPath  # late: an uplink without one must not pay for it

        soon = asyncio.get_running_loop().call_soon
        made = FastPath(context, each, self.settings.limits, self.settings.policy, soon)
        made.leave_claimed(moved.expecting)
        return made

    def _add(self, name: str, part: UplinkPart) -> None:
        """Have a part that begins now know the link and the targets."""
        self._parts[name] = part
        part.set_table(self.responder.table)
        if self._served is not None:
            part.open(self._served)
            with contextlib.suppress(LinkNotReady):  # the watcher of the links will see
                part.follow_link(self._served, self._frames.state)

    def _configure_responder(self, before: Settings | None) -> None:
        """Give the responder its policy, and a rate limit that begins anew only if it differs."""
        each, limits = self.settings.interface, self.settings.limits
        if before is None or before.limits != limits:
            clock = self._frames.context.clock
            self._take = TokenBucket(limits.rate, limits.burst, clock).take if limits.rate else None
        self.responder.configure(self.settings.policy, self._take)
        self.moved_targets.configure(self.settings.dry_run, speaks=each.announce == "live", takes_over=each.take_over)

    @property
    def _fastpath(self) -> "FastPath | None":
        return cast("FastPath | None", self._parts.get(FASTPATH))

    def _leave_claimed(self) -> None:
        if self._fastpath is not None:
            self._fastpath.leave_claimed(self.moved_targets.expecting)

    # Events

    def set_table(self, table: TargetTable) -> None:
        """Answer for the targets of `table` from the next frame on; but for the fast path the parts get it a bit later.

        Among thousands of targets a part takes milliseconds, and solicitations wait.
        """
        self.responder.table = table
        self._frames.counting.set_table(table)
        for name, part in self._parts.items():
            if name == FASTPATH:
                part.set_table(table)
            else:
                asyncio.get_running_loop().call_soon(part.set_table, table)
        if self._served is not None:
            self.log.overlap(table, self._served)

    def follow_link(self, link: Link | None) -> None:
        """Adapt to what the kernel says of the link now.

        Raises:
            LinkNotReady: it changed since; try again.
            PermissionMissing, SystemRefused: as `open_packet_socket`, or the fast path that was asked for is refused.
        """
        if link is None or not link.ethernet:
            self._close()
            if self._fastpath is not None:
                self._fastpath.check()
            self.log.missing(link)
            self.link = None
            return
        opened = self._frames.socket
        if opened is not None and (opened.index != link.index or not opened.bound):
            self._close()
        if self._frames.socket is None:
            self._open(link)
        self._served = link = self.requesters.follow_link(link)
        now = UplinkState(link.lladdr, link.addresses, self.gateways, link.forwarding, link.anycast, link.index)
        self._frames.set_state(now if link.up else None)
        self.tally.up = link.up and link.hears
        for part in self._parts.values():
            part.follow_link(link, self._frames.state)
        self.log.overlap(self.responder.table, link)
        self.log.follow_link(self.link, link)
        self.link = link

    def collect(self) -> None:
        """Add what was counted, dropped and answered elsewhere since the last call to the tally."""
        for part in self._parts.values():
            part.collect()
        self._frames.collect()

    def close(self) -> None:
        """Stop answering, and say what ends with this uplink; or have a successor know of it."""
        handover = self._surroundings.handover
        if handover.to_successor:
            if self._served is not None:
                handover.keep(self._kept_as, self.moved_targets.to_keep())
        else:
            for part in self._parts.values():
                part.say_farewell()
        self._close()
        for part in self._parts.values():
            part.close()

    def _open(self, link: Link) -> None:
        try:
            self._frames.open(link)
            self._served = link
            self.moved_targets.inherit(self._surroundings.handover.kept(self._kept_as))
            for part in self._parts.values():
                part.open(link)
        except (LinkNotReady, SourceUnavailable):
            self._close()
            raise
        self._mark, is_taken = put_mark(link.index)
        if is_taken:
            self.log.logger.warning("another ndpresponder answers on this interface: each answer is sent twice")

    def _close(self) -> None:
        self.tally.up = False
        self._served = None
        self._frames.set_state(None)
        for part in self._parts.values():
            part.lose_link()
        if self._mark is not None:
            self._mark.close()
        self._frames.close()
