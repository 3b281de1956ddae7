"""The frames of one uplink: each batch is read from the packet socket, decided, answered and counted.

All of it runs inside one callback of the event loop: no task, queue or await per frame, nothing logged unless asked
for, nothing that grows with what requesters send.

Frames may have waited in a socket that a predecessor left. A requester solicits three times, a second apart, and then
gives up: a solicitation that waited longer is counted, not answered.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from ndpresponder.linux.loop import read_frames, stop_reading
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.packet.fanout import begin_group
from ndpresponder.linux.packet.handover import Handover
from ndpresponder.linux.packet.packet_socket import PacketSocket
from ndpresponder.linux.packet.ring import SLOTS
from ndpresponder.linux.packet.sender import BATCH
from ndpresponder.linux.packet.timestamps import has_waited
from ndpresponder.observe.logs import Logs
from ndpresponder.observe.tally import Tally
from ndpresponder.observe.uplink_log import UplinkLog
from ndpresponder.observe.uplink_part import UplinkContext
from ndpresponder.offload.counting import Counting
from ndpresponder.outcome import Outcome
from ndpresponder.policy.known_requesters import KnownRequesters
from ndpresponder.policy.requester import Policy, UplinkState
from ndpresponder.policy.responder import Responder
from ndpresponder.targets.verify import Verifier
from ndpresponder.uplink.requesters import Requesters
from ndpresponder.wire.layout import ICMP_TYPE, NEIGHBOR_ADVERTISEMENT
from ndpresponder.wire.solicitation import kind_of

BACKLOG_S: Final = 3.0
STALL_TOLERATED_S: Final = 0.5  # a requester repeats its solicitation after 1 s (RFC 4861 10, RetransTimer)
_MORE_BATCHES: Final = 7  # in one turn of the event loop, some 0.5 ms in all
_FLOOD_S: Final = SLOTS / 2 / 100_000  # half of the ring fills within that at 100,000 a second, faster than it is read
_NOT_VERIFIED: Final = Outcome.NOT_VERIFIED
_USUAL: Final = Outcome.ANSWERED_MULTICAST


class Frames:
    """The packet socket of one uplink, open while there is a link, and the responder that decides on its frames."""

    def __init__(self, log: UplinkLog, logs: Logs, handover: Handover, clock: Callable[[], float]) -> None:
        """Log each frame while `logs` asks for that; `handover` opens the sockets."""
        self.tally = tally = Tally()
        self._log = log
        self.context = UplinkContext(tally, log, clock, self.send_unasked)
        known = KnownRequesters(clock)
        self.responder = Responder(Policy(), known=known)
        self.responder.on_defence = log.defended
        self.requesters = Requesters(known, self.responder.recall, tally, clock)
        self.counting = Counting(tally, self.requesters.overload, lambda: logs.debug, log, self._read)
        self.verifier: Verifier | None = None  # keeps frames until their targets are verified
        self.on_answered: Callable[[list[bytes], float], None] = lambda *_: None  # told of each batch, and when
        self.on_lost: Callable[[], None] = lambda: None  # called when the link went from under the socket
        self.socket: PacketSocket | None = None
        self.handover = handover
        self._logs = logs
        self._stalls = Stall(log, clock), Stall(log, clock)
        self._rests = False  # the socket was taken over, and nothing is read yet
        self.state: UplinkState | None = None

    def open(self, link: Link) -> None:
        """Open a socket on `link`, and read it unless it was taken over.

        Raises:
            LinkNotReady, SourceUnavailable, PermissionMissing, SystemRefused: it cannot be opened, or read, now.
        """
        self.socket, self._rests = self.handover.open(link, self.requesters.was_flooded)
        self.counting.open(self.socket, link.device)
        if not self._rests:
            read_frames(self.socket, partial(self._read, self.socket))

    def set_state(self, state: UplinkState | None) -> None:
        """Answer for an uplink in `state`; None while it cannot be answered on."""
        self.state = state
        if state is not None and self.socket is not None:
            with contextlib.suppress(OSError):  # then `counting` reads everything, and says why
                begin_group(self.socket.fileno())
        self.responder.set_state(state)
        if not self._rests:
            self.counting.set_state(state)

    def resume(self) -> None:
        """Read a socket that was taken over: all that is ours is known."""
        if self._rests and self.socket is not None:
            self.counting.resume(self.socket, self.requesters.was_flooded)
            read_frames(self.socket, self._on_backlog)
            self._rests = False
            self.counting.set_state(self.state)

    def collect(self) -> None:
        """Add to the tally what the kernel counted and dropped since the last call, and whether frames are left."""
        rings = None if self._rests else self.socket, self.counting.second
        self.tally.stalled_s = max(stall.look(ring) for stall, ring in zip(self._stalls, rings, strict=True))
        if self.socket is None:
            return
        self.counting.collect()
        drops = self.socket.take_drops()
        self.tally.kernel_drops += drops
        if drops:
            self._log.limited("the kernel dropped solicitations: the ring was full", drops=drops)

    def close(self) -> None:
        """Close the socket, after the counters beside it."""
        if self.socket is None:
            return
        self.collect()
        if self.handover.leaving:
            self.counting.leave(self.socket)
        self.counting.close()
        stop_reading(self.socket)
        self.handover.close(self.socket)
        self.socket = None

    def send_unasked(self, frames: list[bytes]) -> None:
        """Send what nobody solicited, announcements, solicitations and reports, and count the advertisements."""
        if self.socket is None:
            return
        for frame in frames:
            if error := self.socket.sender.send_one(frame):
                self._count_refused(error)
            elif frame[ICMP_TYPE] == NEIGHBOR_ADVERTISEMENT:
                self.tally.unsolicited += 1

    def finish(self, kept: list[bytes], since_s: float) -> None:
        """Answer, or not, what waited for its target to be verified since `since_s` of the clock."""
        if self.socket is not None:
            self._answer(self.socket, kept, time.time() - (self.context.clock() - since_s))

    def _on_backlog(self) -> None:
        if (socket := self.socket) is None:
            return
        if begin_backlog(socket, self.tally, self.handover.step_s):
            read_frames(socket, partial(self._read, socket))
        else:
            self._take_error(socket)

    def _read(self, socket: PacketSocket) -> None:
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
            if socket.for_others:
                self._leave_to_others(socket)
            if socket.backlogged and not self.requesters.overload.flooded:
                was_full_s = time.time() - received_s  # within which half of the ring was filled, if this is the first
                if was_full_s < _FLOOD_S or max(socket.backlogged, self.requesters.overload.lately) > SLOTS:
                    self.counting.flood()
        finally:
            socket.release()
        return socket.taken

    def _leave_to_others(self, socket: PacketSocket) -> None:
        """Count what is for others, and why no host would have answered it; not so closely if there is no time."""
        for frame in socket.for_others:
            outcome = Outcome.OVERLOADED if socket.backlogged else self.responder.decide(frame, to_other_host=True)[0]
            self.tally.received[kind_of(frame)] += 1
            self.tally.ended[outcome] += 1
            if self._logs.debug:
                self._log.frame(outcome, frame)

    def _answer(self, socket: PacketSocket, frames: list[bytes], oldest_s: float) -> None:
        tally, debug = self.tally, self._logs.debug
        recall, decide = self.responder.recall, self.responder.decide
        verifier = self.verifier
        rarer: dict[int, Outcome] = {}
        advertisements: list[bytes] = []
        for frame in frames:
            outcome, advertisement = recall(frame) or decide(frame)
            if advertisement is not None:
                if outcome is not _USUAL:
                    rarer[len(advertisements)] = outcome
                advertisements.append(advertisement)
            elif outcome is _NOT_VERIFIED and verifier and verifier.keep(frame):
                continue  # it ends later, and is counted then
            else:
                tally.received[kind_of(frame)] += 1
                tally.ended[outcome] += 1
            if debug:
                self._log.frame(outcome, frame)
        if advertisements:
            refused = socket.sender.send(advertisements)
            usual = len(advertisements) - len(rarer)
            tally.received[_USUAL] += usual  # answers mirror kinds
            tally.ended[_USUAL] += usual
            for answered in rarer.values():
                tally.received[answered] += 1
                tally.ended[answered] += 1
            for position, error in refused:
                tally.ended[rarer.get(position, _USUAL)] -= 1
                tally.ended[Outcome.SEND_FAILED] += 1
                self._count_refused(error)
            if len(refused) < len(advertisements):
                tally.last_answer_s = now_s = time.time()
                tally.durations.observe(now_s - oldest_s)
            if not refused:
                self._log.first_answers(advertisements)
                self.on_answered(advertisements, now_s)

    def _count_refused(self, error: int) -> None:
        """Count and log that the kernel refused to send one frame."""
        self.tally.send_errors[error] = self.tally.send_errors.get(error, 0) + 1
        self._log.limited("the kernel refused to send", error=os.strerror(error))

    def _take_error(self, socket: PacketSocket) -> None:
        """Clear what made an empty socket readable, or the loop would spin on it."""
        error = socket.take_error()
        if not socket.bound:  # the link was deleted; another may have taken its place unnoticed
            self.on_lost()
        elif error not in (0, errno.ENETDOWN, errno.ENODEV):  # 0: the kernel is still filling the slot that comes next
            self._log.limited("the packet socket failed", error=os.strerror(error))


def begin_backlog(socket: PacketSocket, tally: Tally, step_s: float = 0.0) -> bool:
    """Go to the first frame that is to be answered, past those that waited for too long; return False if none waits.

    `step_s` is by how much the clock of the stamps was set since the frames began to wait.
    """
    if not socket.seek():
        return False
    if step_s:
        tally.durations.distrust()
    is_too_old = partial(has_waited, BACKLOG_S, time.time(), step_s)
    while count := socket.count_while(is_too_old, BATCH):
        for frame in socket.receive(count) + socket.for_others:
            tally.received[kind_of(frame)] += 1
            tally.ended[Outcome.TOO_OLD] += 1
        socket.release()
    return True


class Stall:
    """Tells whether the frames that wait in a ring are taken out of it: a turning event loop does not show this.

    A stall begins when frames are first seen waiting, and ends when none waits or any was taken. A stall that lasts is
    logged, the beginning of the ring is searched anew, and the daemon stops its heartbeat. The service manager then
    replaces the daemon, and the successor goes on in the same ring.
    """

    def __init__(self, log: UplinkLog, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._since_s: float | None = None
        self._moved = 0  # slots that were taken by then

    def look(self, socket: PacketSocket | None) -> float:
        """Return for how many seconds frames have waited in the ring of `socket`, which is read, and none was taken."""
        if socket is None or not socket.waiting:
            self._since_s = None
            return 0.0
        now_s = self._clock()
        if self._since_s is None or socket.slots_taken != self._moved:
            self._since_s, self._moved = now_s, socket.slots_taken
        stalled_s = now_s - self._since_s
        if stalled_s > STALL_TOLERATED_S:
            self._log.limited("frames wait in the ring and are not taken out", seconds=round(stalled_s, 1))
            socket.seek_anew()
        return stalled_s
