"""Have the kernel count solicitations that the daemon does not need to read, so that a flood of them is nearly free.

The kernel counts solicitations for foreign targets and forwarded ones always, in a flood most of unknown requesters as
well. `counting_program` and `flood_program` write the programs that choose. `linux.packet.fanout` gives them to the
kernel. This module follows the table, the uplink and the flood, and adds the kernel's counters to the tally. It must
never decide what is answered: when the kernel cannot count, or debug logging is on, the daemon reads every frame.

A new program takes the kernel some 10 ms, and a large table as long to write it: both happen in a thread, one at a
time. Until then a new target is not answered for. The responder's own table silences a target that went at once.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from ndpresponder.linux.loop import waited_s
from ndpresponder.linux.packet.closing import close_in_thread
from ndpresponder.linux.packet.fanout import Fanout, join_fanout
from ndpresponder.linux.packet.packet_socket import PacketSocket
from ndpresponder.linux.packet.sender import BATCH
from ndpresponder.observe.tally import Tally
from ndpresponder.observe.uplink_log import UplinkLog
from ndpresponder.offload.counting_program import counting_program
from ndpresponder.offload.fanout_members import ALWAYS_COUNTED, COUNTED, READ_ALL
from ndpresponder.offload.flood_program import AT_LEAST, Shares, hold_back, left_in_flood
from ndpresponder.outcome import Outcome
from ndpresponder.policy.overload import Overload
from ndpresponder.policy.requester import UplinkState
from ndpresponder.policy.table import EMPTY, TargetTable
from ndpresponder.wire.classic_bpf import Program
from ndpresponder.wire.filters import SOLICITATIONS, SOLICITATIONS_OF_THE_LINK

_AGAIN_S: Final = 10.0  # after the kernel refused, for want of memory or descriptors mostly
_LOOK_S: Final = 0.1  # how often it is seen whether a flood goes on
_FIRST_LOOK_S: Final = 0.03  # how soon after a program is in force
_QUIET_LOOKS: Final = 5  # after which it is over: one that pauses for less would fill the ring anew each time
_REWRITE_S: Final = 0.5  # between two programs in a flood, unless the last one had too much read
_SETTLE_S: Final = 0.02  # a full ring is read by then
_FLOOD_PER_S: Final = 50_000  # frames: at 5 us for each unknown requester they leave no time for known ones
_BUSY: Final = 0.9  # of what can be read at most known requesters that flood are given as soon as that is measured
_WAKING: Final = 4  # frames take as long as to wait for them and to wake up
_FIRST_SHARES: Final = Shares(1 / 8, 1 / 8, 1 / 8)
_LESS: Final = 1 / 2  # when the ring was filled faster than it was read
_LESS_OF_ALL: Final = 3 / 4  # likewise: of known requesters that flood alone
_MORE: Final = 1.1  # after that: what others take from this process may have been the reason
_MORE_AT_FIRST: Final = 1.5  # before that, and when more requesters are known to flood
_MOST_AT_ONCE: Final = 8.0  # times as much, when a turn finds few frames
_AT_ONCE: Final = 1.25  # a change of so many times is not left to the next program


class Counting:
    """The unread solicitations of one uplink; `open` it with each packet socket, and `close` it before that."""

    def __init__(self, tally: Tally, overload: Overload, read_all: Callable[[], bool], log: UplinkLog) -> None:
        """Count in `tally`; read everything while `read_all` says so; `overload` knows the spared ones."""
        self._tally = tally
        self._read_all = read_all
        self._overload = overload
        self._log = log
        self._table: TargetTable = EMPTY
        self._state: UplinkState | None = None
        self._changed = asyncio.Event()
        self.settled = asyncio.Event()  # the kernel has its first program, or has refused it
        self._task: asyncio.Task[None] | None = None
        self._fanout: Fanout | None = None
        self._program = READ_ALL  # that in force
        self._written = READ_ALL  # without a flood
        self._written_for: tuple[TargetTable, UplinkState | None] = EMPTY, None
        self._reads_all = False  # because debug logging shows every frame
        self._complained = False
        self._again_s: float | None = None  # when it is tried again although nothing has changed
        self._shares = _FIRST_SHARES
        self._in_force = self._shares  # by the program
        self._more = _MORE_AT_FIRST
        self._growth = 1.0  # of what is read, allowed since the program is in force
        self._frames = self._batches = self._from_known = self._from_guarded = 0  # so many were read at the last look
        self._began_s = self._waited_s = 0.0  # when that was, and for how long the loop had had nothing to do by then
        self._is_first = False  # the next program of a flood: it comes too soon to know which requesters flood
        self._look_s = 0.0  # when it is seen next whether the flood goes on
        self._held_back = self._thinned = self._flooding = 0  # so many were when it was seen last
        self._quiet = 0  # looks since the flood went on
        self._rewrite_s = 0.0  # when the program may be written anew because a flood goes on

    def open(self, socket: PacketSocket, name: str) -> None:
        """Count beside `socket`, bound to the link `name`, from when the uplink is ready."""
        self._task = asyncio.get_running_loop().create_task(self._keep(socket, name))

    def set_table(self, table: TargetTable) -> None:
        """Read all solicitations for a target of `table`."""
        self._table = table
        self._changed.set()

    def set_state(self, state: UplinkState | None) -> None:
        """Read all that the responder ends for another reason in this state of the uplink; everything if it is None."""
        if state != self._state:
            self._state = state
            self._changed.set()

    def flood(self) -> None:
        """Hold back some of those that are not spared, until few are held back and the ring is read as it is filled."""
        if not self._overload.flooded:
            self._overload.flooded = True
            self._shares = _FIRST_SHARES._replace(
                known=max(_FIRST_SHARES.known, self._shares.known)
            )  # as the last time
            self._more = _MORE_AT_FIRST
            self._rewrite_s, self._quiet = 0.0, 0
            self._begin_look()
            self._is_first = True
            self._changed.set()
            self._log.limited(
                "in a flood: gateways and requesters that asked before are answered, most others are held back"
            )

    def resume(self, socket: PacketSocket, in_flood: bool) -> None:
        """Begin with a socket of a predecessor; after a flood its filter goes once the group has a program."""
        if in_flood and not self._read_all():
            self.flood()
            self._shares = AT_LEAST  # a start takes time of its own
        elif in_flood:
            socket.set_filter(SOLICITATIONS)

    def leave(self, socket: PacketSocket) -> None:
        """Have a flood kept off `socket` until a successor reads: half a second would fill the ring."""
        if self._overload.would_fill_the_ring:
            with contextlib.suppress(OSError):  # then it fills the ring
                socket.set_filter(left_in_flood(self._overload.spared(self._shares.others)))

    def collect(self) -> None:
        """Add to the tally what the kernel counted since the last call."""
        if self._read_all() != self._reads_all:
            self._changed.set()
        if self._fanout is not None:
            for (kind, outcome), count in zip(COUNTED, self._fanout.take_counts(), strict=False):
                self._tally.received[kind] += count
                self._tally.ended[outcome] += count
                if outcome is Outcome.NOT_OURS:  # which the next process reads until it has a program
                    self._overload.note(count)

    def close(self) -> None:
        """Count for the last time and give back what was opened."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._state = None
        self._leave()

    def _leave(self) -> None:
        fanout = self._fanout
        with contextlib.suppress(OSError):  # what cannot be counted now never is
            self.collect()
        self._fanout, self._program = None, READ_ALL
        if fanout is not None:
            close_in_thread(fanout.close)

    async def _keep(self, socket: PacketSocket, name: str) -> None:
        """Hand over a program whenever another one is wanted, and some time after that has failed."""
        self._changed.set()
        while True:
            try:
                await self._wait()
                await self._hand_over(await self._wanted(), socket, name)
            except Exception as error:  # whatever it is: what was in force would keep new targets from being read
                self._give_up(socket, error)
            if self._state is not None:
                self.settled.set()

    def _give_up(self, socket: PacketSocket, error: Exception) -> None:
        """Have all read until it is tried again; in a shortage any of these steps can fail as well."""
        self._again_s = asyncio.get_running_loop().time() + _AGAIN_S
        with contextlib.suppress(OSError):  # then frames that a router forwarded are not counted
            socket.set_filter(SOLICITATIONS)
        self._leave()
        if self._state is not None and not self._complained:
            self._complained = True
            self._log.logger.info("reading foreign solicitations instead of counting them", why=str(error))

    async def _wait(self) -> None:
        """Wait until something has changed, a flood is to be looked at, or what has failed is tried again."""
        try:
            async with asyncio.timeout_at(self._look_s if self._overload.flooded else self._again_s):
                await self._changed.wait()
        except TimeoutError:
            if self._overload.flooded:
                self._look()
        self._again_s = None
        self._changed.clear()

    def _look(self) -> None:
        """See whether the flood goes on, and how much the daemon reads of it from now on."""
        self.collect()
        thinned = self._overload.total > self._thinned
        passed_s = asyncio.get_running_loop().time() - self._began_s
        goes_on = thinned or self._tally.ended[Outcome.OVERLOADED] - self._held_back > _FLOOD_PER_S * passed_s
        self._quiet = 0 if goes_on else self._quiet + 1
        self._overload.flooded = self._quiet < _QUIET_LOOKS
        if self._overload.flooding > self._flooding:
            self._more = _MORE_AT_FIRST
        if thinned:
            self._more = _MORE
        if goes_on and self._overload.frames > self._frames:  # else it pauses, and how busy this is says nothing of it
            self._growth *= self._more
            times = _LESS if thinned else self._growth
            all_times = _LESS_OF_ALL if thinned else self._growth
            if self._more == _MORE_AT_FIRST:
                all_times = max(all_times, min(_MOST_AT_ONCE, _BUSY / self._busy))
            self._shares = self._in_force.changed(times, all_times, self._parts)
            changes = [new / old for new, old in zip(self._shares, self._in_force, strict=True)]
            if thinned or max(changes) > _AT_ONCE or min(changes) < 1 / _AT_ONCE:
                self._rewrite_s = 0.0
        self._flooding = self._overload.flooding
        if not self._overload.flooded:
            self._overload.forget()
        self._begin_look()

    @property
    def _busy(self) -> float:
        """Return how much was read since the last look, as a part of what can be read.

        That is the part of the time in which the loop had something to do, but for what it takes to wake up: at more
        frames a second each time finds more of them.
        """
        passed_s = asyncio.get_running_loop().time() - self._began_s
        frames = max(1.0, (self._overload.frames - self._frames) / max(1, self._overload.batches - self._batches))
        busy = 1 - (waited_s() - self._waited_s) / max(_SETTLE_S, passed_s)
        return max(1 / _MOST_AT_ONCE, busy * (1 + _WAKING / BATCH) / (1 + _WAKING / frames))

    @property
    def _parts(self) -> Shares:
        """Return which part of what was read since the last look came from those that each share is for."""
        frames = max(1, self._overload.frames - self._frames)
        known = (self._overload.from_known - self._from_known) / frames
        guarded = (self._overload.from_guarded - self._from_guarded) / frames
        return Shares(known, guarded, 1 - known - guarded)

    def _begin_look(self, within_s: float = _LOOK_S) -> None:
        self._began_s, self._waited_s = asyncio.get_running_loop().time(), waited_s()
        self._look_s = self._began_s + within_s
        overload = self._overload
        self._frames, self._batches = overload.frames, overload.batches
        self._from_known, self._from_guarded = overload.from_known, overload.from_guarded
        self._held_back = self._tally.ended[Outcome.OVERLOADED]
        self._thinned = self._overload.total

    async def _wanted(self) -> Program:
        self._reads_all = self._read_all()
        table, state = self._table, None if self._reads_all else self._state
        if state is None:
            return READ_ALL
        if self._written_for[0] is not table or self._written_for[1] != state:
            self._written = await asyncio.get_running_loop().run_in_executor(None, counting_program, table, state)
            self._written_for = table, state
        if not self._overload.flooded:
            return self._written
        loop = asyncio.get_running_loop()
        if loop.time() < self._rewrite_s:
            return self._program
        self._rewrite_s = loop.time() + _REWRITE_S
        self._in_force, self._growth = self._shares, 1.0
        spared = self._overload.spared(self._shares.others)
        return await loop.run_in_executor(None, hold_back, self._written, self._shares, spared)

    async def _hand_over(self, program: Program, socket: PacketSocket, name: str) -> None:
        if self._reads_all:
            socket.set_filter(SOLICITATIONS)
        if program == self._program:
            return
        if self._fanout is None:
            self._fanout = join_fanout(socket.fileno(), name, ALWAYS_COUNTED)
        if self._overload.flooded:
            self._fanout.grow(len(COUNTED))
        await asyncio.get_running_loop().run_in_executor(None, self._fanout.set_program, program)
        self._program = program
        self._complained = False
        if program != READ_ALL:  # forwarded frames are counted now; between two processes they must not fill the ring
            socket.set_filter(SOLICITATIONS_OF_THE_LINK)
        if self._overload.flooded:  # what waited before it was in force is not its fault
            await asyncio.sleep(_SETTLE_S)
            self._begin_look(_FIRST_LOOK_S)
            if self._is_first:
                self._is_first, self._rewrite_s = False, 0.0
                self._changed.set()
