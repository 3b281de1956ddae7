"""The parts of an uplink beside its frames: made from its settings, told of each event, replaced as settings change.

Settings change while frames are answered. Parts whose settings stay go on as they are. If the system refuses one part,
the old parts come back and nothing has changed.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, cast
from zlib import crc32

from ndpresponder.config import InterfaceConfig, LimitsConfig
from ndpresponder.errors import LinkNotReady, NdpresponderError
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.other_responders import DaemonMark
from ndpresponder.linux.packet.handover import Handover
from ndpresponder.observe.uplink_log import UplinkLog
from ndpresponder.observe.uplink_part import UplinkPart
from ndpresponder.policy.requester import Policy, UplinkState
from ndpresponder.policy.table import Prefix, TargetTable
from ndpresponder.policy.token_bucket import rate_limit
from ndpresponder.targets.sources.unrouted_hosts import UnroutedHosts
from ndpresponder.targets.verify import open_verifier
from ndpresponder.unsolicited.moved_targets import MovedTargets
from ndpresponder.unsolicited.unsolicited import Unsolicited
from ndpresponder.uplink.frames import Frames

if TYPE_CHECKING:
    from ndpresponder.offload.fastpath import FastPath


_VERIFICATION: Final = "verification"
_FASTPATH: Final = "fast path"
_UNSOLICITED: Final = "unsolicited"
_MOVED: Final = "moved targets"
_SECOND_DAEMON: Final = "second daemon"


class Settings(NamedTuple):
    """The settings of one uplink."""

    interface: InterfaceConfig
    limits: LimitsConfig
    dry_run: bool = False

    @property
    def policy(self) -> Policy:
        """What the responder goes by."""
        each = self.interface
        return Policy(each.router_flag, each.override, each.unicast, each.dad, self.dry_run)

    @property
    def verify(self) -> bool:
        """Whether claimed targets are looked for first."""
        return self.interface.verify and not self.dry_run

    def parts(self) -> dict[str, tuple[object, ...]]:
        """Return the names of the parts that they ask for, and the settings that each part depends on."""
        each, found = self.interface, dict[str, tuple[object, ...]]()
        if self.verify:
            found[_VERIFICATION] = ()
        if each.fastpath != "off":
            found[_FASTPATH] = each.fastpath, self.verify, self.policy, self.limits
        if not self.dry_run:
            found[_UNSOLICITED] = each.announce, each.mld_source, each.mld_router
        return found


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an uplink is given of the daemon and of the other uplinks."""

    handover: Handover
    indexes: Callable[[], Collection[int]] = tuple  # of the links of all uplinks: no target is behind one
    followed: Callable[[], Collection[int]] = tuple  # indexes of links on which hosts without a route are found
    unrouted_hosts: UnroutedHosts | None = None  # takes those hosts
    on_lost: Callable[[], None] = lambda: None  # called when the link went from under the socket
    claimers: Callable[[Prefix], str] = lambda _: ""  # returns the sources of a claimed prefix


class Parts:
    """The parts of one uplink."""

    def __init__(self, settings: Settings, frames: Frames, surroundings: Surroundings) -> None:
        """Make the parts of an uplink that has no link yet."""
        self.settings = settings
        self.moved = MovedTargets(frames.context, frames.responder)
        self._frames = frames
        self._surroundings = surroundings
        self._link: Link | None = None  # with a socket
        self._state: UplinkState | None = None
        self._take: Callable[[bool], bool] | None = None
        frames.on_answered = self.moved.note
        self.moved.on_expecting = self._leave_claimed
        self.moved.recent.spared = lambda: frames.requesters.confirmed.stations
        self.moved.elsewhere = lambda: self._fastpath.recent() if self._fastpath else []
        self._parts: dict[str, UplinkPart] = {name: self._make(name) for name in settings.parts()}
        self._parts |= {_MOVED: self.moved, _SECOND_DAEMON: _SecondDaemon(frames.context.log)}
        self._configure_responder(None)

    def configure(self, settings: Settings) -> None:
        """Change the settings, from the next frame on.

        Raises:
            SourceUnavailable: the system refuses the sockets that `verify` needs; nothing was changed.
            PermissionMissing, SystemRefused: the system refuses the fast path; nothing was changed.
        """
        before, self.settings = self.settings, settings
        had, wanted = before.parts(), settings.parts()
        changed = [name for name in (_VERIFICATION, _FASTPATH, _UNSOLICITED) if had.get(name) != wanted.get(name)]
        old = {name: self._parts.pop(name) for name in changed if name in self._parts}
        try:
            if _FASTPATH in old:
                old[_FASTPATH].lose_link()  # two cannot be attached; until then the responder answers
            for name in changed:
                if name in wanted and name != _UNSOLICITED:
                    self._add(name, self._make(name))
        except NdpresponderError:
            self.settings = before
            for name in changed:
                if name in self._parts:
                    self._parts.pop(name).close()
            self._parts |= old
            if _FASTPATH in old:
                self._add(_FASTPATH, old[_FASTPATH])
            raise
        self._configure_responder(before)
        if _UNSOLICITED in changed and _UNSOLICITED in wanted:  # before the old one is closed: no group is ever left
            self._add(_UNSOLICITED, self._make(_UNSOLICITED))
        if _UNSOLICITED in old and not (self._unsolicited and self._unsolicited.router.active):
            cast(Unsolicited, old[_UNSOLICITED]).router.terminate()
        for part in old.values():
            part.close()

    def _add(self, name: str, part: UplinkPart) -> None:
        """Have a part that begins now know the link and the targets."""
        self._parts[name] = part
        part.set_table(self._frames.responder.table)
        if self._link is not None:
            part.open(self._link)
            with contextlib.suppress(LinkNotReady):  # the watcher of the links will see
                part.follow_link(self._link, self._state)

    def _configure_responder(self, before: Settings | None) -> None:
        """Give the responder its policy, and a rate limit that begins anew only if it differs."""
        each, limits = self.settings.interface, self.settings.limits
        if before is None or before.limits != limits:
            self._take = rate_limit(limits.rate, limits.burst, self._frames.context.clock) if limits.rate else None
        self._frames.responder.configure(self.settings.policy, self._take)
        self.moved.configure(self.settings.dry_run, speaks=each.announce == "live", takes_over=each.take_over)

    # Events

    def open(self, link: Link) -> None:
        """Begin with a packet socket on `link`.

        Raises:
            SourceUnavailable: the system refuses the sockets that `verify` needs.
        """
        self._link = link
        self.moved.inherit(self._surroundings.handover.kept(self._kept_as))
        for part in self._parts.values():
            part.open(link)

    def follow_link(self, link: Link, state: UplinkState | None) -> None:
        """Adapt to the link, and to the state it is answered on in, None while it is not.

        Raises:
            LinkNotReady: the link is gone.
            PermissionMissing, SystemRefused: the system refuses the fast path that was asked for.
        """
        self._link, self._state = link, state
        for part in self._parts.values():
            part.follow_link(link, state)
        self._frames.context.log.overlap(self._frames.responder.table, link)

    def lose_link(self) -> None:
        """Let go of the link, before its socket is closed."""
        self._link = self._state = None
        for part in self._parts.values():
            part.lose_link()

    def check(self) -> None:
        """Find out, rather than when there is a link, whether the system refuses what is asked for.

        Raises:
            PermissionMissing, SystemRefused: it refuses the fast path.
        """
        if self._fastpath is not None:
            self._fastpath.check()

    def set_table(self, table: TargetTable) -> None:
        """Go by the targets of `table`: the fast path at once, the others in turns of their own.

        Among thousands of targets a part takes milliseconds, and solicitations wait.
        """
        for name, part in self._parts.items():
            if name == _FASTPATH:
                part.set_table(table)
            else:
                asyncio.get_running_loop().call_soon(part.set_table, table)
        if self._link is not None:
            self._frames.context.log.overlap(table, self._link)

    def collect(self) -> None:
        """Add to the tally what was answered elsewhere since the last call, and try again what failed."""
        for part in self._parts.values():
            part.collect()

    def say_farewell(self) -> None:
        """Say what ends with this uplink, while there is a socket to say it; or have a successor know of it."""
        handover = self._surroundings.handover
        if not handover.to_successor:
            self.moved.say_farewell()
            if self._unsolicited is not None:
                self._unsolicited.router.terminate()
        elif self._link is not None:
            handover.keep(self._kept_as, self.moved.to_keep())

    def close(self) -> None:
        """Give back everything."""
        for part in self._parts.values():
            part.close()

    # How each part is made

    def _make(self, name: str) -> UplinkPart:
        context, each, around = self._frames.context, self.settings.interface, self._surroundings
        if name == _VERIFICATION:
            return _Verification(self._frames, around)
        if name == _UNSOLICITED:
            requesters, flags = self._frames.requesters, self._frames.responder.unsolicited_flags
            return Unsolicited(context, each, flags, lambda: frozenset(requesters.gateways.seen_s), self.moved.lately)
        from ndpresponder.offload.fastpath import FastPath  # late: an uplink without one must not pay for it

        made = FastPath(context, each, self.settings.limits, self.settings.policy, _call_soon)
        made.leave_claimed(self.moved.expecting)
        return made

    @property
    def _fastpath(self) -> "FastPath | None":
        return cast("FastPath | None", self._parts.get(_FASTPATH))

    @property
    def _unsolicited(self) -> Unsolicited | None:
        return cast(Unsolicited | None, self._parts.get(_UNSOLICITED))

    @property
    def _kept_as(self) -> str:
        """Under which name the answered targets are kept: systemd takes no colons and only ASCII."""
        return f"recent-{crc32(self.settings.interface.name.encode()):08x}"

    def _leave_claimed(self) -> None:
        if self._fastpath is not None:
            self._fastpath.leave_claimed(self.moved.expecting)


def _call_soon(work: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(work)


class _Verification(UplinkPart):
    """The verification of claimed targets, while there is a link."""

    def __init__(self, frames: Frames, surroundings: Surroundings) -> None:
        self._frames = frames
        self._surroundings = surroundings

    def open(self, link: Link) -> None:
        frames, around = self._frames, self._surroundings
        frames.verifier = verifier = open_verifier(
            link.index, frames.finish, frames.context.clock, around.indexes, around.followed, around.unrouted_hosts
        )
        frames.responder.is_there = verifier.is_there

    def close(self) -> None:
        frames = self._frames
        if frames.verifier is not None:
            frames.verifier.close()
            frames.verifier = frames.responder.is_there = None


class _SecondDaemon(UplinkPart):
    """The warning that another of our daemons answers on the same interface."""

    def __init__(self, log: UplinkLog) -> None:
        self._log = log
        self._mark: DaemonMark | None = None

    def open(self, link: Link) -> None:
        self._mark = DaemonMark(link.index)
        if self._mark.taken:
            self._log.logger.warning("another ndpresponder answers on this interface: each answer is sent twice")

    def close(self) -> None:
        if self._mark is not None:
            self._mark.close()
            self._mark = None
