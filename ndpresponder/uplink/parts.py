"""What an uplink is equipped with, as its settings ask: policy and limit, verification, fast path, presence.

Settings change while frames are answered: what they do not touch goes on as it is, and what cannot be had leaves
everything as it was.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from ndpresponder.config import InterfaceConfig, LimitsConfig
from ndpresponder.errors import LinkNotReady, NdpresponderError
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.other_responders import DaemonMark
from ndpresponder.linux.packet.handover import Handover
from ndpresponder.policy.requester import Policy, UplinkState
from ndpresponder.policy.table import TargetTable
from ndpresponder.policy.token_bucket import rate_limit
from ndpresponder.targets.verify import Verifier, open_verifier
from ndpresponder.unsolicited.unsolicited import Presence

if TYPE_CHECKING:
    from ndpresponder.offload.fastpath import FastPath
    from ndpresponder.uplink.uplink import Uplink


class Settings(NamedTuple):
    """The settings of one uplink."""

    interface: InterfaceConfig
    limits: LimitsConfig
    dry_run: bool

    @property
    def policy(self) -> Policy:
        """What the responder goes by."""
        each = self.interface
        return Policy(each.router_flag, each.override, each.unicast, each.dad, self.dry_run)

    @property
    def verify(self) -> bool:
        """Whether claimed targets are looked for first."""
        return self.interface.verify and not self.dry_run


class Equipment:
    """The equipment of one uplink; follows what that one follows."""

    def __init__(self, uplink: "Uplink", settings: Settings) -> None:
        """Equip `uplink`, which has no link yet."""
        self._uplink = uplink
        self._index = 0  # of the interface with a socket; 0: none
        self._kept_as = f"recent-{crc32(uplink.name.encode()):08x}"  # systemd takes no colons and only ASCII
        self._state: UplinkState | None = None
        self._fast_state: UplinkState | None = None
        self._take: Callable[[bool], bool] | None = None
        self._mark: DaemonMark | None = None
        self.settings = settings
        self.verifier: Verifier | None = None
        self.fastpath = self._make_fastpath()
        self._presence = self._make_presence()
        uplink.responder.on_defence = uplink.log.defended
        self._uplink.moves.on_expecting = self._leave_claimed
        self._uplink.moves.recent.spared = lambda: uplink.requesters.confirmed.stations
        self._uplink.moves.elsewhere = lambda: self.fastpath.recent() if self.fastpath is not None else []
        self._limit()
        self._configure_moves()

    def change(self, settings: Settings) -> None:
        """Change the settings, from the next frame on.

        Raises:
            SourceUnavailable: the system refuses the sockets that `verify` needs; nothing was changed.
            PermissionMissing, SystemRefused: the fast path cannot be had; nothing was changed.
        """
        before, self.settings = self.settings, settings
        if before == settings:
            return
        verified = self.verifier is not None
        try:
            self._follow_verify()
            self._change_fastpath(before)
        except NdpresponderError:
            self.settings = before
            if not verified:
                self._end_verification()
            raise
        if not settings.verify:
            self._end_verification()
        self._limit(before)
        self._configure_moves()
        self._change_presence(before)

    def _limit(self, before: Settings | None = None) -> None:
        """Give the responder its policy, and a rate limit that begins anew only if it differs."""
        limits = self.settings.limits
        if before is None or before.limits != limits:
            self._take = rate_limit(limits.rate, limits.burst, self._uplink.clock) if limits.rate else None
        self._uplink.responder.configure(self.settings.policy, self._take)

    # As the uplink goes

    def open(self, index: int, handover: Handover) -> None:
        """Prepare for frames from the interface `index`, with what a predecessor knew of it.

        Raises:
            SourceUnavailable: the system refuses the sockets that `verify` needs.
        """
        self._index = index
        self._uplink.moves.inherit(handover.kept(self._kept_as))
        self._mark = DaemonMark(index)
        if self._mark.taken:
            self._uplink.log.logger.warning("another ndpresponder answers on this interface: each answer is sent twice")
        self._follow_verify()

    def check(self) -> None:
        """Find out, rather than when there is a link, whether what is asked for can be had.

        Raises:
            PermissionMissing, SystemRefused: the fast path cannot be had, and a certain one was asked for.
        """
        if self.fastpath is not None:
            self.fastpath.follow_link(0, None)

    def follow_link(self, link: Link, state: UplinkState | None) -> None:
        """Adapt to the link, and to the state it is answered on in, None while it is not.

        Raises:
            LinkNotReady: the link is gone.
            PermissionMissing, SystemRefused: the fast path cannot be had, and a certain one was asked for.
        """
        # Of a port of a bridge or a bond the fast path would answer what belongs to that one, before it gets it
        self._state, self._fast_state = state, state if link.hears else None
        if self.fastpath is not None:
            self.fastpath.follow_link(link.index, self._fast_state)
        if self._presence is not None:
            self._presence.follow_link(link if state is not None else None)
        self._uplink.log.overlap(self._uplink.responder.table, link)
        self._uplink.moves.follow_link(link if state is not None else None)

    def set_table(self, table: TargetTable) -> None:
        """Go by the targets of `table`."""
        if self.fastpath is not None:
            self.fastpath.set_table(table)
        if self._presence is not None:
            # In a turn of its own: among thousands of targets this takes milliseconds, and solicitations wait
            _call_soon(partial(self._presence.set_table, table))
        if self._uplink.link is not None:
            self._uplink.log.overlap(table, self._uplink.link)
        _call_soon(partial(self._uplink.moves.set_table, table))

    def detach(self) -> None:
        """Let go of the link."""
        self._index, self._state, self._fast_state = 0, None, None
        if self._mark is not None:
            self._mark.close()
            self._mark = None
        if self.fastpath is not None:
            self.fastpath.detach()
        if self._presence is not None:
            self._presence.follow_link(None)
        self._uplink.moves.follow_link(None)
        self._end_verification()

    def collect(self) -> None:
        """Add what was answered elsewhere since the last call to the tally, and mend what can be mended."""
        if self.fastpath is not None:
            self.fastpath.collect()
            self.fastpath.heal()

    def close(self) -> None:
        """Let go of everything."""
        self._uplink.moves.close()
        if self.fastpath is not None:
            self.fastpath.close()

    # Verification

    def _follow_verify(self) -> None:
        if self.settings.verify and self.verifier is None and self._index:
            uplink = self._uplink
            self.verifier = open_verifier(
                self._index, uplink.finish, uplink.clock, uplink.uplinks, uplink.followed, uplink.unrouted_hosts
            )
            uplink.responder.is_there = self.verifier.is_there

    def _end_verification(self) -> None:
        if self.verifier is not None:
            self.verifier.close()
            self.verifier = None
            self._uplink.responder.is_there = None

    # Fast path

    def _make_fastpath(self) -> "FastPath | None":
        (interface, limits, _), uplink = self.settings, self._uplink
        if interface.fastpath == "off":
            return None
        from ndpresponder.offload.fastpath import FastPath  # late: who does without must not pay for it

        policy, tally, log = self.settings.policy, uplink.tally, uplink.log
        return FastPath(interface, limits, policy, tally, log, _call_soon, uplink.clock)

    def _change_fastpath(self, before: Settings) -> None:
        if _fastpath_settings(before) == _fastpath_settings(self.settings):
            return
        old, self.fastpath = self.fastpath, None
        if old is not None:
            old.detach()  # two cannot be attached; meanwhile every frame comes to the responder
        try:
            self.fastpath = self._make_fastpath()
            self._attach_fastpath()
        except NdpresponderError:
            if self.fastpath is not None:
                self.fastpath.close()
            self.fastpath = old
            self._attach_fastpath()
            raise
        if old is not None:
            old.close()

    def _attach_fastpath(self) -> None:
        if self.fastpath is not None:
            self.fastpath.leave_claimed(self._uplink.moves.expecting)
            self.fastpath.set_table(self._uplink.responder.table)
            if self._index:
                with contextlib.suppress(LinkNotReady):  # who follows the link will see
                    self.fastpath.follow_link(self._index, self._fast_state)

    # Presence

    def _make_presence(self) -> Presence | None:
        each, uplink = self.settings.interface, self._uplink
        if self.settings.dry_run:
            return None
        flags, never = uplink.responder.unsolicited_flags, lambda: uplink.gateways
        log = uplink.log.logger
        router, lately = each.mld_router, uplink.moves.lately
        return Presence(each.announce, each.mld_source, uplink.send_unasked, flags, log, never, router, lately)

    def _change_presence(self, before: Settings) -> None:
        if _presence_settings(before) == _presence_settings(self.settings):
            return
        old, self._presence = self._presence, self._make_presence()
        if self._presence is not None:
            self._presence.follow_link(self._uplink.link if self._state is not None else None)
            self._presence.set_table(self._uplink.responder.table)
        if old is not None:  # after the new one joined the groups, so that they are never left
            if self._presence is None or not self._presence.router.active:
                old.router.terminate()
            old.close()

    def say_farewell(self, handover: Handover) -> None:
        """Say what ends with this uplink, while there is a socket to say it; or have a successor know of it."""
        if handover.to_successor:
            if self._index:
                handover.keep(self._kept_as, self._uplink.moves.to_keep())
            return
        self._uplink.moves.say_farewell()
        if self._presence is not None:
            self._presence.router.terminate()

    # Moves

    def _configure_moves(self) -> None:
        each, dry_run = self.settings.interface, self.settings.dry_run
        self._uplink.moves.configure(silent=dry_run, speaks=each.announce == "live", takes_over=each.take_over)

    def _leave_claimed(self) -> None:
        if self.fastpath is not None:
            self.fastpath.leave_claimed(self._uplink.moves.expecting)


def _call_soon(work: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(work)


def _fastpath_settings(settings: Settings) -> tuple[object, ...]:
    return settings.interface.fastpath, settings.verify, settings.policy, settings.limits


def _presence_settings(settings: Settings) -> tuple[object, ...]:
    each = settings.interface
    return each.announce, each.mld_source, each.mld_router, settings.dry_run
