"""The fast path of one uplink: tell the kernel's program what it may answer by itself, and count its answers.

The program answers the plain case where the frame arrives. The responder gets every other frame, and every frame while
the program is not attached. A program that cannot be told of a change is taken away: it must not answer what is no
longer true. After a shortage the next change, or a pause, brings another try.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable
from typing import Final

from ndpresponder.config import InterfaceConfig, LimitsConfig
from ndpresponder.errors import LinkNotReady, NdpresponderError, is_shortage
from ndpresponder.linux.bpf.syscall import Hook
from ndpresponder.linux.netlink import Link
from ndpresponder.observe.uplink_part import UplinkContext, UplinkPart
from ndpresponder.offload import map_entries
from ndpresponder.offload.kernel_program import KernelProgram
from ndpresponder.outcome import Kind, Outcome
from ndpresponder.policy.requester import Policy, UplinkState
from ndpresponder.policy.table import EMPTY, TargetTable

_RETRY_S: Final = 10.0
_OFF: Final = "no fast path: every frame is left to user space"
_NONE_LEFT: Final = (
    "the driver sends no answer of the fast path, user space does now: the far end of a veth needs an XDP program, or "
    "GRO, for the fast path xdp-native; use xdp or tcx"
)
_KINDS: Final = ((Kind.MULTICAST, Outcome.ANSWERED_MULTICAST), (Kind.UNICAST, Outcome.ANSWERED_UNICAST))


class FastPath(UplinkPart):
    """The kernel's program of one uplink, told what the responder is told; `collect` counts its answers."""

    def __init__(
        self,
        context: UplinkContext,
        config: InterfaceConfig,
        limits: LimitsConfig,
        policy: Policy,
        call_soon: Callable[[Callable[[], None]], object],
    ) -> None:
        """Prepare for the uplink that `config` names; nothing is loaded yet. `call_soon` is the event loop's."""
        self._config = config
        self._policy = policy
        self._tally = context.tally
        self._log = context.log
        self._clock = context.clock
        self._call_soon = call_soon
        self._program = KernelProgram(config.name, Hook.XDP if config.fastpath.startswith("xdp") else Hook.TCX_INGRESS)
        self._table: TargetTable = EMPTY
        self._state: UplinkState | None = None
        self._loaded: tuple[UplinkState | None, bool] | None = None  # the state, and whether claimed targets count
        self._goes_on = False  # in the next turn of the event loop
        self._index = 0
        self._tried = False
        self._worked = False
        self._failed_s: float | None = None  # when it did, if that may heal
        self._counted = (0, 0)
        self._leaves_claimed = False
        self._lost = 0  # answers that the driver did not send and that are to be counted as such
        self._deaf = False  # the link's far end: it takes nothing that a program of ours sends
        # A program could count neither what a limit holds back nor what would have been answered
        why_not = "`rate` limits the answers" if limits.rate else "this is a dry run" if policy.dry_run else ""
        self._off = bool(why_not)
        if why_not:
            self._log.logger.info(_OFF, why=why_not)

    def set_table(self, table: TargetTable) -> None:
        """Answer for none but the targets of `table` from the next frame on, for all of them soon."""
        self._table = table
        self._steer_again()

    def leave_claimed(self, leaves: bool) -> None:
        """Leave claimed targets to the responder while their answers are waited for, or answer them again."""
        self._leaves_claimed = leaves
        self._steer_again()

    def follow_link(self, link: Link, state: UplinkState | None) -> None:
        """Answer on `link` in `state`; for nothing while there is none.

        Raises:
            PermissionMissing, SystemRefused: the fast path cannot be had, and a certain one was asked for.
            LinkNotReady: the interface is gone.
        """
        if link.index != self._index:
            self.lose_link()
        # Of a port of a bridge or a bond the fast path would answer what belongs to that one, before it gets it
        state = state if link.hears else None
        if link.index != self._index or state is None:
            self._deaf = False  # another far end, or one that was prepared meanwhile
        if self._tried and self._program.attached == (state is not None) and state == self._state:
            return
        self._index, self._state = link.index, state
        self._steer()

    def check(self) -> None:
        """Find out, while there is no link, whether the system refuses what is asked for.

        Raises:
            PermissionMissing, SystemRefused: it does, and a certain fast path was asked for.
        """
        self._index, self._deaf = 0, False
        if not self._tried:
            self._steer()

    def collect(self) -> None:
        """Count what the kernel answered since the last call, and try again what failed some time ago."""
        self._count()
        if self._failed_s is not None and self._clock() - self._failed_s > _RETRY_S:
            self._steer_again()

    def _count(self) -> None:
        """Add what the kernel answered since the last call to the tally, and end it if none of that left."""
        self._lost += self._program.lost()  # first: each was counted before
        rows = self._program.counts()
        if not rows:
            return
        before, self._counted = self._counted, (sum(row[0] for row in rows), sum(row[1] for row in rows))
        answered = sum(self._counted) - sum(before)
        if answered > self._lost:
            ago_s = max(0.0, time.monotonic() - max(row[2] for row in rows) / 1e9)
            self._tally.last_answer_s = max(self._tally.last_answer_s, time.time() - ago_s)
        none_left = 0 < answered <= self._lost
        for (kind, outcome), number in zip(_KINDS, map(int.__sub__, self._counted, before), strict=True):
            self._add(kind, outcome, number)
        if none_left and self._program.attached:
            self._program.detach()
            self._deaf = True
            self._log.logger.warning(_NONE_LEFT, lost=answered)

    def _add(self, kind: Kind, outcome: Outcome, number: int) -> None:
        """Count so many answers, and which of them the driver lost."""
        lost = min(self._lost, number)
        self._lost -= lost
        tally = self._tally
        tally.received[kind] += number
        tally.ended[outcome] += number - lost
        if lost:
            tally.ended[Outcome.SEND_FAILED] += lost
            tally.send_errors[errno.ENXIO] = tally.send_errors.get(errno.ENXIO, 0) + lost

    def recent(self) -> list[bytes]:
        """Return the claimed targets that the kernel answered for lately, the latest first; none if it cannot tell."""
        try:
            return self._program.recent()
        except OSError as error:
            self._log.limited("what the fast path answered lately cannot be read", error=error.strerror)
            return []

    def lose_link(self) -> None:
        """Leave everything to user space, and count what the kernel answered until now."""
        self._program.detach()
        self._state = None
        self._count()

    def close(self) -> None:
        """Leave everything to user space for good."""
        self.lose_link()
        self._program.close()

    def _steer_again(self) -> None:
        """Follow a change while the link is there; its end shows in `follow_link`."""
        if self._state is not None:
            with contextlib.suppress(LinkNotReady):
                self._steer()

    def _steer(self) -> None:
        """Bring the kernel to what is to be answered now, or leave that to user space and say why."""
        if self._off or self._deaf:
            return
        self._failed_s = None
        try:
            self._try()
        except LinkNotReady:
            self._program.detach()
            raise
        except NdpresponderError as error:
            self._program.detach()
            auto = self._config.fastpath == "auto"
            if auto and not is_shortage(error):
                self._off = True
                self._log.logger.info(_OFF, why=str(error))
            elif auto or self._worked:
                self._failed_s = self._clock()
                self._log.limited("the fast path failed: every frame is left to user space", error=str(error))
            else:
                raise
        self._tried = True

    def _try(self) -> None:
        program = self._program
        other_map = program.tell(self._table)
        wanted = self._state, program.complete and not self._config.verify and not self._leaves_claimed
        if other_map or not program.attached or wanted != self._loaded:
            self._load(*wanted)
            self._loaded = wanted
        if not (program.complete or self._goes_on):
            self._goes_on = True
            self._call_soon(self._go_on)

    def _go_on(self) -> None:
        """Tell what could not be told at once."""
        self._goes_on = False
        if not self._program.complete:
            self._steer_again()

    def _load(self, state: UplinkState | None, claimed: bool) -> None:
        program = self._program.load(map_entries.setup(state, self._policy, claimed), map_entries.own_entries(state))
        try:
            if self._program.attached:
                self._program.exchange(program)
            elif state is not None:
                hook = self._program.attach(program, self._index, native=self._config.fastpath == "xdp-native")
                self._worked = True
                targets = "live ones only, claimed ones are verified" if self._config.verify else "live and claimed"
                self._log.logger.info("fast path attached", hook=hook, targets=targets)
        finally:
            os.close(program)
