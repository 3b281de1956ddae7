"""Solicitations for what is not ours: the kernel counts them and nobody reads them, so that a flood is nearly free.

What may go unread is `wire.steering`'s to say, how the kernel is told is `linux.fanout`'s. This keeps the program in
step with the table and the uplink, and adds to the tally what the kernel counted. It must never decide what is
answered: when the kernel cannot count, or somebody wants to see every frame, all are read and end in the responder.

A new program takes the kernel some 10 ms, and a large table as long to write it, so both are done in a thread, one at a
time. Until then a new target is not answered for; a target that went is silent at once, by the responder's own table.
"""

import asyncio
from collections.abc import Callable

from ndpresponder.linux.fanout import Fanout, join_fanout
from ndpresponder.linux.packet_socket import PacketSocket
from ndpresponder.observe.logs import Logger
from ndpresponder.observe.tally import Tally
from ndpresponder.outcome import Kind, Outcome
from ndpresponder.requester import UplinkState
from ndpresponder.targets.table import EMPTY, TargetTable
from ndpresponder.wire.bpf_writer import Program
from ndpresponder.wire.steering import NEVER_READ, READ_ALL, steer


class ForeignCounter:
    """The unread solicitations of one uplink; `open` it with each packet socket, and `close` it before that."""

    def __init__(self, tally: Tally, read_all: Callable[[], bool], log: Logger) -> None:
        """Count in `tally`; nothing goes unread while `read_all` says so."""
        self._tally = tally
        self._read_all = read_all
        self._log = log
        self._table: TargetTable = EMPTY
        self._state: UplinkState | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._fanout: Fanout | None = None
        self._program = READ_ALL  # that in force
        self._reads_all = False  # because somebody wants to see every frame
        self._complained = False

    def open(self, socket: PacketSocket, name: str) -> None:
        """Count beside `socket`, bound to the link `name`, from when the uplink is ready."""
        self._task = asyncio.get_running_loop().create_task(self._keep(socket.fileno(), name))

    def apply(self, table: TargetTable) -> None:
        """Have all read that is for a target of `table`."""
        self._table = table
        self._changed.set()

    def follow(self, state: UplinkState | None) -> None:
        """Have all read that ends for another reason in this state of the uplink: everything if it is None."""
        if state != self._state:
            self._state = state
            self._changed.set()

    def collect(self) -> None:
        """Add to the tally what the kernel counted since the last call."""
        if self._read_all() != self._reads_all:
            self._changed.set()
        if self._fanout is not None:
            for kind, count in zip(Kind, self._fanout.take_counts(), strict=True):
                self._tally.received[kind] += count
                self._tally.ended[Outcome.NOT_OURS] += count

    def close(self) -> None:
        """Count for the last time and give back what was opened."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._state = None
        self._leave()

    def _leave(self) -> None:
        if self._fanout is not None:
            self.collect()
            try:
                asyncio.get_running_loop().run_in_executor(None, self._fanout.close)
            except RuntimeError:  # the system has no thread left
                self._fanout.close()
        self._fanout = None
        self._program = READ_ALL

    async def _keep(self, descriptor: int, name: str) -> None:
        """Hand over a program whenever another one is wanted."""
        loop = asyncio.get_running_loop()
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._reads_all = self._read_all()
            state = None if self._reads_all else self._state
            try:
                program = await loop.run_in_executor(None, program_for, self._table, state) if state else READ_ALL
                if program == self._program:
                    continue
                if self._fanout is None:
                    self._fanout = join_fanout(descriptor, name, len(NEVER_READ))
                await loop.run_in_executor(None, self._fanout.steer, program)
                self._program = program
            except Exception as error:  # whatever it is: what was in force would keep new targets from being read
                self._leave()
                if self._state is not None and not self._complained:
                    self._complained = True
                    self._log.info("reading foreign solicitations instead of counting them", why=str(error))


def program_for(table: TargetTable, state: UplinkState) -> Program:
    """Return the program that has read all but what a responder with these ends as `not_ours`."""
    never = [(int.from_bytes(address, "big"), 0) for address in state.own_addresses | state.gateways]
    lengths = (*table.claims(), *table.excluded)
    prefixes = [(network << free, free) for free, networks in lengths for network in networks]
    return steer(table.live, [*prefixes, *never], state.lladdr, state.own_addresses)
