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
from functools import partial
from typing import Final

from ndpresponder.linux.loop import read_frames, stop_reading
from ndpresponder.linux.packet.closing import close_in_thread
from ndpresponder.linux.packet.fanout import ZERO, Fanout, join_fanout
from ndpresponder.linux.packet.packet_socket import PacketSocket, open_packet_socket
from ndpresponder.linux.packet.ring import SLOTS
from ndpresponder.linux.packet.sender import BATCH
from ndpresponder.observe.tally import Tally
from ndpresponder.observe.uplink_log import UplinkLog
from ndpresponder.offload.counting_program import counting_program
from ndpresponder.offload.fanout_members import ALWAYS_COUNTED, COUNTED, READ_ALL
from ndpresponder.offload.flood_program import AT_LEAST, hold_back, left_in_flood
from ndpresponder.offload.reading import SETTLE_S, Reading
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
_FLOOD_PER_S: Final = 50_000  # frames: at 5 us for each unknown requester they leave no time for known ones


class Counting:
    """The unread solicitations of one uplink; `open` it with each packet socket, and `close` it before that."""

    def __init__(
        self,
        tally: Tally,
        overload: Overload,
        read_all: Callable[[], bool],
        log: UplinkLog,
        read: Callable[[PacketSocket], None],
    ) -> None:
        """Count in `tally`; read everything while `read_all` says so; `overload` knows the spared ones.

        `read` answers what waits in the second ring, which takes what is read of those that are not spared.
        """
        self._tally = tally
        self._read_all = read_all
        self._overload = overload
        self._log = log
        self._read = read
        self.second: PacketSocket | None = None  # from the first flood on
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
        self._reading = Reading(overload)
        self._look_s = 0.0  # when it is seen next whether the flood goes on
        self._held_back = 0  # so many were when it was seen last
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
            self._reading.begin_flood()
            self._rewrite_s, self._quiet = 0.0, 0
            self._begin_look()
            self._changed.set()
            self._log.limited(
                "in a flood: gateways and requesters that asked before are answered, most others are held back"
            )

    def resume(self, socket: PacketSocket, in_flood: bool) -> None:
        """Begin with a socket of a predecessor; after a flood its filter goes once the group has a program."""
        if in_flood and not self._read_all():
            self.flood()
            self._reading.shares = AT_LEAST  # a start takes time of its own
        elif in_flood:
            socket.set_filter(SOLICITATIONS)

    def leave(self, socket: PacketSocket) -> None:
        """Have a flood kept off `socket` until a successor reads: half a second would fill the ring."""
        if self._overload.would_fill_the_ring:
            with contextlib.suppress(OSError):  # then it fills the ring
                socket.set_filter(left_in_flood(self._overload.spared(self._reading.shares.others)))

    def collect(self) -> None:
        """Add to the tally what the kernel counted since the last call."""
        if self._read_all() != self._reads_all:
            self._changed.set()
        if self.second is not None:
            self._tally.kernel_drops += self.second.take_drops()
        if self._fanout is not None:
            for (kind, outcome), count in zip(COUNTED, self._fanout.take_counts(), strict=False):
                self._tally.received[kind] += count
                self._tally.ended[outcome] += count
                if outcome is Outcome.NOT_OURS:  # which the next process reads until it has a program
                    self._overload.read += count
        self._overload.measure()

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
        if (second := self.second) is not None:
            self.second = None
            stop_reading(second)
            with contextlib.suppress(OSError):  # then nothing waits
                second.set_filter(ZERO)
            for _ in range(SLOTS // BATCH):
                if second.waiting:
                    self._read(second)
            second.close()
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
        read = self._reading.look(asyncio.get_running_loop().time())
        held_back = self._tally.ended[Outcome.OVERLOADED] - self._held_back
        goes_on = read.crowded or held_back > _FLOOD_PER_S * read.at_s
        self._quiet = 0 if goes_on else self._quiet + 1
        self._overload.flooded = self._quiet < _QUIET_LOOKS
        if goes_on and self._reading.adapt(read):
            self._rewrite_s = 0.0
        if not self._overload.flooded:
            self._overload.forget()
        self._begin_look()

    def _begin_look(self, within_s: float = _LOOK_S) -> None:
        now_s = asyncio.get_running_loop().time()
        self._reading.look(now_s)
        self._look_s = now_s + within_s
        self._held_back = self._tally.ended[Outcome.OVERLOADED]

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
        self._reading.in_force = shares = self._reading.shares
        spared = self._overload.spared(shares.others)
        return await loop.run_in_executor(None, hold_back, self._written, shares, spared)

    async def _hand_over(self, program: Program, socket: PacketSocket, name: str) -> None:
        if self._reads_all:
            socket.set_filter(SOLICITATIONS)
        if program == self._program:
            return
        if self._fanout is None:
            self._fanout = join_fanout(socket.fileno(), name, ALWAYS_COUNTED)
        if self._overload.flooded:
            self._fanout.grow(len(COUNTED))
            if self.second is None:
                self.second = second = open_packet_socket(name, socket.index, ZERO)
                self._fanout.add(second)
                read_frames(second, partial(self._read, second))
        await asyncio.get_running_loop().run_in_executor(None, self._fanout.set_program, program)
        self._program = program
        self._complained = False
        if program != READ_ALL:  # forwarded frames are counted now; between two processes they must not fill the ring
            socket.set_filter(SOLICITATIONS_OF_THE_LINK)
        if self._overload.flooded:  # what waited before it was in force is not its fault
            await asyncio.sleep(SETTLE_S)
            self._begin_look(_FIRST_LOOK_S)
