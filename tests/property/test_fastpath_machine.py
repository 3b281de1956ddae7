"""Whatever tables follow one another, and whatever the kernel refuses: it answers what the table in force says.

It may leave a frame to the responder; but not for long. Between any two system calls each target is answered as the old
table or the new one has it, and a change of prefixes is seen as a whole. The maps are told in very small slices here.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import sample_responder
from frames import solicitation
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from kernel_runs import Unlinked, require_bpf
from sample_link import LINK
from small_prefixes import SPACE, divisions, sets

from ndpresponder.config import InterfaceConfig, LimitsConfig
from ndpresponder.linux.bpf import syscall
from ndpresponder.linux.bpf.syscall import Hook
from ndpresponder.observe.tally import Tally
from ndpresponder.observe.uplink_part import UplinkContext
from ndpresponder.offload import kernel_maps
from ndpresponder.offload.fastpath import FastPath
from ndpresponder.policy.responder import Policy
from ndpresponder.policy.table import EMPTY, Match, TargetTable

ASKED = {value: solicitation(value.to_bytes(16, "big")) for value in SPACE[::3]}
STATE = sample_responder.uplink_state()
SAID = (None, Match.CLAIMED, Match.LIVE)
OVERRIDE = 0x20
some = st.frozensets(st.sampled_from(SPACE[::3]), max_size=12)
places = st.lists(st.integers(0, 11), min_size=1, max_size=2)
call = syscall.call


class Steering(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(kernel_maps, "SLICE", 3)
        self.patch.setattr(kernel_maps, "_LEAST_ROOM", 4)
        self.patch.setattr(syscall, "call", self.call)
        self.soon: list[Callable[[], None]] = []
        self.now_s = 1000.0
        self.old = self.table = EMPTY
        self.up = True
        self.calls_left: int | None = None  # until the kernel refuses one
        log: Any = SimpleNamespace(logger=SimpleNamespace(info=lambda *_, **__: None), limited=lambda *_, **__: None)
        config, limits = InterfaceConfig("none", fastpath="tcx"), LimitsConfig()
        context = UplinkContext(Tally(), log, lambda: self.now_s, lambda _: None)
        self.path = FastPath(context, config, limits, Policy(), self.soon.append)
        self.kernel = Unlinked("none", Hook.TCX_INGRESS)
        self.path._program = self.kernel

    def teardown(self) -> None:
        self.patch.undo()
        self.path.close()

    def call(self, command: int, attribute: Any) -> int:
        """Make a call of bpf(2), or refuse it, and see what is answered after it."""
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        result = call(command, attribute)
        self.check(between=True)
        return result

    def check(self, between: bool) -> None:
        if not self.kernel.attached:
            return
        old_only = new_only = False
        for value, frame in ASKED.items():
            answer = self.kernel.answer(frame)
            if answer is None:
                assert between or self.soon or not self.up or not self.said(self.table, value)
                continue
            assert between or self.up
            told = Match.LIVE if answer[58] & OVERRIDE else Match.CLAIMED
            old, new = self.said(self.old, value), self.said(self.table, value)
            assert told == new or (between and told == old)
            old_only |= told != new
            new_only |= told != old
        if replace(self.old, live=self.table.live) != self.table:
            assert not (old_only and new_only)

    def said(self, table: TargetTable, value: int) -> Match | None:
        match = table.match(octets(value), value)
        return match if match in SAID else None

    def apply(self, table: TargetTable) -> None:
        self.old, self.table = self.table, table
        self.path.set_table(table)
        self.old = table
        assert self.kernel.attached or not self.up or self.calls_left is not None

    @initialize()
    def start(self) -> None:
        self.path.follow_link(LINK, STATE)
        assert self.kernel.attached

    @rule(live=some, claimed=sets, excluded=sets, divided=divisions)
    def say_something_else(self, live, claimed, excluded, divided) -> None:
        self.apply(TargetTable.build(map(octets, live), claimed, excluded, divided))

    @rule(come=some, go=places)
    def change_live(self, come: frozenset[int], go: list[int]) -> None:
        before = sorted(self.table.live)
        stay = self.table.live - {before[place % len(before)] for place in go if before}
        self.apply(replace(self.table, live=stay | set(map(octets, come))))

    @rule(claimed=sets, excluded=sets)
    def change_prefixes(self, claimed, excluded) -> None:
        self.apply(replace(TargetTable.build((), claimed, excluded), live=self.table.live))

    @precondition(lambda self: self.up)
    @rule(come=some, go=places, claimed=st.none() | sets, calls=st.integers(0, 12))
    def refuse(self, come, go, claimed, calls) -> None:
        """Refuse one call of those that another table takes, if it takes so many."""
        self.calls_left = calls
        if claimed is None:
            self.change_live(come, go)
        else:
            self.say_something_else(come, claimed, (), ())
        while self.soon and self.calls_left >= 0:
            self.turn()
        assert self.kernel.attached == (self.calls_left >= 0)
        self.calls_left = None

    @precondition(lambda self: self.soon)
    @rule()
    def turn(self) -> None:
        self.soon.pop()()

    @rule()
    def heal(self) -> None:
        self.now_s += 11
        self.path.collect()
        assert self.kernel.attached or not self.up

    @rule(index=st.integers(1, 2))
    def come_up(self, index: int) -> None:
        self.up = True
        self.path.follow_link(replace(LINK, index=index), STATE)
        assert self.kernel.attached

    @precondition(lambda self: self.up)
    @rule(is_gone=st.booleans())
    def go_down(self, is_gone: bool) -> None:
        self.up = False
        if is_gone:
            self.path.lose_link()
        else:
            self.path.follow_link(LINK, None)

    @invariant()
    def what_is_answered_is_right(self) -> None:
        self.check(between=False)


def octets(value: int) -> bytes:
    return value.to_bytes(16, "big")


def test_what_the_kernel_answers_is_right_at_every_moment() -> None:
    require_bpf()
    run_state_machine_as_test(Steering, settings=settings(stateful_step_count=25))
