"""One uplink's life: its socket comes and goes with the link, its frames go through the responder, all is counted.

The frame path runs inside one event loop callback: no task, queue or await per frame, nothing logged unless
asked for, nothing that grows with what strangers send.
"""

import errno
import os
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

from ndpresponder.config import InterfaceConfig, LimitsConfig
from ndpresponder.errors import LinkNotReady, SourceUnavailable
from ndpresponder.linux.loop import read_frames, stop_reading
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.packet.handover import Handover
from ndpresponder.linux.packet.packet_socket import PacketSocket
from ndpresponder.linux.packet.ring import SLOTS
from ndpresponder.linux.packet.sender import BATCH
from ndpresponder.linux.systemd import Notifier
from ndpresponder.observe.logs import Logs
from ndpresponder.observe.tally import Tally
from ndpresponder.observe.uplink_log import UplinkLog
from ndpresponder.offload.counting import Counting
from ndpresponder.outcome import Kind, Outcome
from ndpresponder.policy.known_requesters import KnownRequesters
from ndpresponder.policy.requester import Policy, UplinkState
from ndpresponder.policy.responder import Responder
from ndpresponder.policy.table import Match, TargetTable
from ndpresponder.targets.sources.unrouted_hosts import UnroutedHosts
from ndpresponder.targets.verify import Kept
from ndpresponder.unsolicited.moved_targets import Moves
from ndpresponder.uplink import backlog
from ndpresponder.uplink.parts import Equipment, Settings
from ndpresponder.uplink.requesters import Requesters
from ndpresponder.uplink.send_failures import count_refused, send_unasked
from ndpresponder.uplink.stall import TOLERATED_S, Stall
from ndpresponder.wire.solicitation import kind_of

_MORE_BATCHES: Final = 7  # in one turn of the event loop, some 0.5 ms in all
_FLOOD_S: Final = SLOTS / 2 / 100_000  # half of the ring fills within that at 100,000 a second, faster than it is read
_NOT_VERIFIED: Final = Outcome.NOT_VERIFIED
_ANSWERED: Final = tuple(zip(Kind, Outcome, strict=False))  # they mirror each other


class Uplink:
    """Answers on one interface. Tell it what the kernel says (`follow_link`) and what is ours (`set_table`)."""

    def __init__(
        self,
        config: InterfaceConfig,
        limits: LimitsConfig,
        logs: Logs,
        dry_run: bool = False,
        clock: Callable[[], float] = time.monotonic,
        uplinks: Callable[[], Collection[int]] = tuple,
        handover: Handover | None = None,
    ) -> None:
        """Prepare an uplink that has no socket yet; `uplinks` returns the indexes of all that there are.

        `handover` opens its sockets; one that comes from a predecessor is read only once `resume` is called.
        """
        self.name = config.name
        self.tally = Tally()
        self.link: Link | None = None
        self.log = UplinkLog(config, clock)
        self.clock = clock
        self.uplinks = uplinks
        known = KnownRequesters(clock)
        self.responder = Responder(Policy(), known=known)
        self.requesters = Requesters(known, self.responder.recall, self.tally, clock)
        self.unrouted_hosts: UnroutedHosts | None = None  # takes those that `verify` finds on the links `followed`
        self.followed: Callable[[], Collection[int]] = tuple
        self.on_lost: Callable[[], None] = lambda: None  # called when the link went from under the socket
        self.moves = Moves(self.send_unasked, self.responder, self.log.logger)
        self._logs = logs
        self._stall = Stall(self.log, clock)
        self._counting = Counting(self.tally, self.requesters.overload, lambda: logs.debug, self.log)
        self._handover = handover or Handover(Notifier({}), {}, lambda *_: None)
        self._socket: PacketSocket | None = None
        self._rests = False  # the socket was taken over, and nothing is read yet
        self._state: UplinkState | None = None
        self._equipment = Equipment(self, Settings(config, limits, dry_run))

    @property
    def settings(self) -> Settings:
        """What it goes by."""
        return self._equipment.settings

    def configure(self, settings: Settings) -> None:
        """Change the settings, from the next frame on; what does not differ goes on as it is.

        Raises:
            SourceUnavailable, PermissionMissing, SystemRefused: the system refuses what they need; nothing was changed.
        """
        self._equipment.change(settings)
        self.log.configure(settings.interface)

    @property
    def ready(self) -> bool:
        """Whether solicitations are being answered."""
        return self.tally.up and not self.stalled

    @property
    def stalled(self) -> bool:
        """Whether frames wait and none is taken, as of the last `collect`."""
        return self.tally.stalled_s > TOLERATED_S

    async def settle(self) -> None:
        """Wait until all that is counted is counted where it is for good; at once while nothing is answered here."""
        if self.tally.up:
            await self._counting.settled.wait()

    @property
    def gateways(self) -> frozenset[bytes]:
        """Every default gateway that was ever seen here."""
        return frozenset(self.requesters.gateways)

    def knows(self, target: bytes) -> bool | None:
        """Tell whether a target was verified of late; None where nothing is verified."""
        verifier = self._equipment.verifier
        return verifier.knows(target) if verifier else None

    def is_ours(self, target: bytes) -> bool:
        """Tell whether a target is answered for, by what the sources say."""
        return self.responder.table.match(target, int.from_bytes(target, "big")) in (Match.CLAIMED, Match.LIVE)

    def set_table(self, table: TargetTable) -> None:
        """Answer for the targets of `table` from the next frame on."""
        self.responder.table = table
        self._counting.set_table(table)
        self._equipment.set_table(table)

    def follow_link(self, link: Link | None) -> None:
        """Adapt to what the kernel says of the link now.

        Raises:
            LinkNotReady: it changed since; try again.
            PermissionMissing, SystemRefused: as `open_packet_socket`.
        """
        if link is None or not link.ethernet:
            self._close()
            self._equipment.check()
            self.log.missing(link)
            self.link = None
            return
        if self._socket is not None and (self._socket.index != link.index or not self._socket.bound):
            self._close()
        if self._socket is None:
            self._open(link)
        link = self.requesters.follow_link(link)
        now = UplinkState(link.lladdr, link.addresses, self.gateways, link.forwarding, link.anycast, link.index)
        self._state = state = now if link.up else None
        self.responder.set_state(state)
        if not self._rests:
            self._counting.set_state(state)
        self.tally.up = link.up and link.hears
        self._equipment.follow_link(link, state)
        self.log.follow_link(self.link, link)
        self.link = link

    def resume(self) -> None:
        """Read a socket that was taken over: all that is ours is known."""
        if self._rests and self._socket is not None:
            self._counting.resume(self._socket, self.requesters.was_flooded)
            read_frames(self._socket, self._on_backlog)
            self._rests = False
            self._counting.set_state(self._state)

    def close(self) -> None:
        """Stop answering."""
        self._equipment.say_farewell(self._handover)
        self._close()
        self._equipment.close()

    def collect(self) -> None:
        """Add what the kernel counted, dropped and answered by itself since the last call to the tally."""
        self._equipment.collect()
        self.tally.stalled_s = self._stall.look(None if self._rests else self._socket)
        if self._socket is None:
            return
        self._counting.collect()
        drops = self._socket.take_drops()
        self.tally.kernel_drops += drops
        if drops:
            self.log.limited("the kernel dropped solicitations: the ring was full", drops=drops)

    def _open(self, link: Link) -> None:
        self._socket, self._rests = self._handover.open(link, self.requesters.was_flooded)
        self._counting.open(self._socket, link.device)
        try:
            if not self._rests:
                read_frames(self._socket, self._on_readable)
            self._equipment.open(link.index, self._handover)
        except (LinkNotReady, SourceUnavailable):
            self._close()
            raise

    def _close(self) -> None:
        self.tally.up = False
        self.responder.set_state(None)
        self._equipment.detach()
        if self._socket is not None:
            self.collect()
            if self._handover.leaving:
                self._counting.leave(self._socket)
            self._counting.close()
            if not self._rests:
                stop_reading(self._socket)
            self._handover.close(self._socket)
            self._socket = None

    # Frames

    def _on_backlog(self) -> None:
        """Begin to read a socket that was taken over."""
        if (socket := self._socket) is None:
            return
        if backlog.begin(socket, self.tally, self._handover.step_s):
            read_frames(socket, self._on_readable)
        else:
            self._take_error(socket)

    def _on_readable(self) -> None:
        if (socket := self._socket) is None:
            return
        taken = self._answer_batch(socket)
        if not taken:
            self._take_error(socket)
        more = _MORE_BATCHES
        while taken == BATCH and more:  # each turn of the event loop costs as much as some frames
            more -= 1
            taken = self._answer_batch(socket)

    def _answer_batch(self, socket: PacketSocket) -> int:
        """Answer what waits, a batch at most; return how many slots of the ring that took."""
        try:
            frames, received_s = socket.receive(), socket.received_s
            admitted = self.requesters.admit(frames, bool(socket.backlogged))
            self._answer(socket, admitted, received_s)
            if socket.backlogged and not self.requesters.overload.flooded:
                was_full_s = time.time() - received_s  # within which half of the ring was filled, if this is the first
                if was_full_s < _FLOOD_S or max(socket.backlogged, self.requesters.overload.lately) > SLOTS:
                    self._counting.flood()
        finally:
            socket.release()
        return socket.taken

    def _answer(self, socket: PacketSocket, frames: Iterable[Kept], oldest_s: float) -> None:
        tally, debug = self.tally, self._logs.debug
        recall, respond = self.responder.recall, self.responder.respond
        verifier = self._equipment.verifier
        outcomes: list[Outcome] = []
        advertisements: list[bytes] = []
        for frame, to_other_host in frames:
            outcome, advertisement = (None if to_other_host else recall(frame)) or respond(frame, to_other_host)
            if advertisement is not None:
                outcomes.append(outcome)
                advertisements.append(advertisement)
            elif outcome is _NOT_VERIFIED and verifier and verifier.keep(frame, to_other_host):
                continue  # it ends later, and is counted then
            else:
                tally.received[kind_of(frame)] += 1
                tally.ended[outcome] += 1
            if debug:
                self.log.frame(outcome, frame)
        if advertisements:
            refused = socket.sender.send(advertisements)
            for kind, answered in _ANSWERED:
                count = outcomes.count(answered)
                tally.received[kind] += count
                tally.ended[answered] += count
            if refused:
                count_refused(refused, outcomes, tally, self.log)
            if len(refused) < len(advertisements):
                tally.last_answer_s = now_s = time.time()
                tally.durations.observe(now_s - oldest_s)
            if not refused:
                self.log.first_answers(advertisements)
                self.moves.note(advertisements, now_s)

    def finish(self, kept: list[Kept], since_s: float) -> None:
        """Answer, or not, what waited for its target to be verified since `since_s` of the clock."""
        if self._socket is not None:
            self._answer(self._socket, kept, time.time() - (self.clock() - since_s))

    def send_unasked(self, frames: list[bytes]) -> None:
        """Send what nobody solicited: announcements, solicitations of ours, reports."""
        if self._socket is not None:
            send_unasked(self._socket.sender, frames, self.tally, self.log)

    def _take_error(self, socket: PacketSocket) -> None:
        """Clear what made an empty socket readable, or the loop would spin on it."""
        error = socket.take_error()
        if not socket.bound:  # the link was deleted; another may have taken its place unnoticed
            self.on_lost()
        elif error not in (0, errno.ENETDOWN, errno.ENODEV):  # 0: the kernel is still filling the slot that comes next
            self.log.limited("the packet socket failed", error=os.strerror(error))
