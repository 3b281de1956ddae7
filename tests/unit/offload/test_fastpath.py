"""What becomes of the fast path when the kernel refuses: the program is taken away, and somebody is told."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from sample_link import LINK
from sample_responder import make_responder, uplink_state

from ndpresponder.config import InterfaceConfig, LimitsConfig
from ndpresponder.errors import LinkNotReady, NdpresponderError, PermissionMissing, SystemRefused
from ndpresponder.linux.bpf.syscall import Hook
from ndpresponder.observe.tally import Tally
from ndpresponder.observe.uplink_part import UplinkContext
from ndpresponder.offload import kernel_program as in_kernel
from ndpresponder.offload import map_entries
from ndpresponder.offload.fastpath import FastPath
from ndpresponder.outcome import Kind, Outcome
from ndpresponder.policy.requester import Policy
from ndpresponder.policy.table import TargetTable

TABLE = make_responder().table
STATE = uplink_state()
REFUSED = SystemRefused("no such thing")
SHORT = SystemRefused("no room")
SHORT.__cause__ = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
FAILED = "the fast path failed: every frame is left to user space"
OFF = "no fast path: every frame is left to user space"


class Log:
    """Remembers what is said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **facts: Any) -> None:
        self.said.append((event, facts))

    warning = info


class Kernel:
    """Stands in for `KernelProgram`: refuses what it is told to."""

    def __init__(self) -> None:
        self.attached = False
        self.steps = 0  # that are still to be told
        self.other_map = True
        self.refuse: dict[str, NdpresponderError] = {}
        self.rows: list[tuple[int, int, int]] = []
        self.dropped = 0  # by the driver since that was asked
        self.loaded = 0
        self.setup = b""

    @property
    def complete(self) -> bool:
        return not self.steps

    def _may(self, what: str) -> None:
        if what in self.refuse:
            raise self.refuse[what]

    def tell(self, table: TargetTable) -> bool:
        self._may("tell")
        self.steps = max(0, self.steps - 1)
        return self.other_map

    def load(self, setup: bytes, own: object) -> int:
        self._may("load")
        self.loaded += 1
        self.setup = setup
        return os.open(os.devnull, os.O_RDONLY)  # the caller closes it

    def exchange(self, program: int) -> None:
        self._may("exchange")

    def attach(self, program: int, index: int, native: bool) -> str:
        self._may("attach")
        self.attached = True
        return "tcx"

    def lost(self) -> int:
        lost, self.dropped = self.dropped, 0
        return lost

    def counts(self) -> list[tuple[int, int, int]]:
        return self.rows

    def detach(self) -> None:
        self.attached = False

    def close(self) -> None:
        self.detach()


class Case:
    """A fast path over a stand-in for the kernel, with the table told and the uplink up."""

    def __init__(self, mode: Literal["auto", "tcx"] = "tcx", **limits: int) -> None:
        self.log, self.tally, self.kernel = Log(), Tally(), Kernel()
        log: Any = SimpleNamespace(logger=self.log, limited=self.log.warning)
        config = InterfaceConfig("up0", fastpath=mode)
        self.now_s = 1000.0
        limited = LimitsConfig(**limits)
        self.soon: list[Callable[[], None]] = []
        context = UplinkContext(self.tally, log, lambda: self.now_s, lambda _: None)
        self.path = FastPath(context, config, limited, Policy(), self.soon.append)
        self.path._program = self.kernel  # type: ignore[assignment]
        self.path.set_table(TABLE)

    def said(self) -> list[str]:
        return [event for event, _ in self.log.said]


def attached(mode: Literal["auto", "tcx"] = "tcx") -> Case:
    case = Case(mode)
    case.path.follow_link(LINK, STATE)
    assert case.kernel.attached
    assert case.said() == ["fast path attached"]
    return case


@pytest.mark.parametrize("step", ["tell", "load", "exchange"])
def test_a_table_that_cannot_be_told_ends_it_until_one_can(step: str) -> None:
    case = attached()
    case.kernel.refuse[step] = REFUSED
    case.path.set_table(TABLE)
    assert not case.kernel.attached
    assert case.said()[-1] == FAILED
    case.kernel.refuse.clear()
    case.path.set_table(TABLE)
    assert case.kernel.attached


def test_a_state_that_cannot_be_told_ends_it() -> None:
    case = attached()
    case.kernel.refuse["load"] = REFUSED
    case.path.follow_link(LINK, uplink_state(forwarding=True))
    assert not case.kernel.attached


@pytest.mark.parametrize("step", ["tell", "load", "attach"])
@pytest.mark.parametrize("error", [REFUSED, PermissionMissing("who are you")], ids=["refused", "forbidden"])
def test_what_was_asked_for_and_never_worked_is_an_error(step: str, error: NdpresponderError) -> None:
    case = Case()
    case.kernel.refuse[step] = error
    with pytest.raises(type(error)):
        case.path.follow_link(LINK, STATE)
    assert not case.kernel.attached


@pytest.mark.parametrize("step", ["tell", "load", "attach", "exchange"])
def test_auto_gives_up_once_and_for_all_and_says_so_once(step: str) -> None:
    case = attached("auto") if step == "exchange" else Case("auto")
    case.kernel.refuse[step] = REFUSED
    for forwarding in (True, False, True):
        case.path.follow_link(LINK, uplink_state(forwarding=forwarding))
        case.path.set_table(TABLE)
    assert not case.kernel.attached
    assert case.said().count(OFF) == 1


@pytest.mark.parametrize("step", ["tell", "load", "attach", "exchange"])
def test_a_shortage_is_no_reason_for_auto_to_give_up(step: str) -> None:
    case = attached("auto") if step == "exchange" else Case("auto")
    case.kernel.refuse[step] = SHORT
    case.path.follow_link(LINK, uplink_state(forwarding=True))
    assert (case.kernel.attached, case.said()[-1], OFF in case.said()) == (False, FAILED, False)
    case.kernel.refuse.clear()
    case.path.set_table(TABLE)
    assert case.kernel.attached


@pytest.mark.parametrize(("mode", "error"), [("auto", SHORT), ("tcx", SHORT), ("tcx", REFUSED)])
def test_what_failed_is_tried_again_though_nothing_changes_but_not_at_once(
    mode: Literal["auto", "tcx"], error: NdpresponderError
) -> None:
    case = attached(mode)
    case.kernel.refuse["load"] = error
    case.path.set_table(TABLE)
    for pause_s in (1, 9.5, 1, 9.5):
        case.now_s += pause_s
        case.path.collect()
    assert case.said().count(FAILED) == 3
    case.kernel.refuse.clear()
    case.path.collect()
    assert not case.kernel.attached
    case.now_s += 11
    case.path.collect()
    assert case.kernel.attached
    loaded = case.kernel.loaded
    case.now_s += 11
    case.path.collect()
    assert case.kernel.loaded == loaded


def test_until_all_is_told_what_is_claimed_is_left_to_user_space_and_the_loop_has_its_turns() -> None:
    case = attached()
    case.kernel.steps = 4
    case.path.set_table(TABLE)
    assert case.kernel.setup == map_entries.setup(STATE, Policy(), claimed=False)
    case.kernel.other_map = False
    loaded = case.kernel.loaded
    case.path.set_table(TABLE)
    for left in (1, 0):
        assert case.kernel.loaded == loaded
        (go_on,) = case.soon
        case.soon.clear()
        go_on()
        assert case.kernel.steps == left
    assert (case.kernel.loaded, case.soon) == (loaded + 1, [])
    assert case.kernel.setup == map_entries.setup(STATE, Policy(), claimed=True)


def test_what_is_refused_later_ends_it_as_well() -> None:
    case = attached()
    case.kernel.steps = 9
    case.path.set_table(TABLE)
    case.kernel.refuse["tell"] = SHORT
    case.soon.pop()()
    assert (case.kernel.attached, case.said()[-1], case.soon) == (False, FAILED, [])


def test_without_a_link_no_more_is_told_until_there_is_one() -> None:
    case = attached()
    case.kernel.steps = 9
    case.path.set_table(TABLE)
    case.path.lose_link()
    loaded = case.kernel.loaded
    case.soon.pop()()
    assert (case.kernel.loaded, case.soon) == (loaded, [])
    case.path.follow_link(LINK, STATE)
    assert (case.kernel.attached, len(case.soon)) == (True, 1)


def test_without_a_link_it_is_tried_but_not_attached() -> None:
    case = Case()
    case.path.check()
    assert (case.kernel.loaded, case.kernel.attached) == (1, False)
    case.path.check()
    assert case.kernel.loaded == 1


def test_a_link_that_goes_meanwhile_is_for_its_follower_to_see() -> None:
    case = attached()
    case.kernel.refuse["exchange"] = LinkNotReady("gone")
    case.path.set_table(TABLE)
    assert not case.kernel.attached
    case.kernel.refuse["attach"] = LinkNotReady("gone")
    with pytest.raises(LinkNotReady):
        case.path.follow_link(LINK, uplink_state(forwarding=True))


def test_down_it_stays_attached_and_another_link_is_another_attachment() -> None:
    case = attached()
    case.path.follow_link(LINK, None)
    assert case.kernel.attached
    case.path.follow_link(replace(LINK, index=LINK.index + 1), STATE)
    assert case.said() == ["fast path attached"] * 2


def test_what_changed_nothing_loads_nothing() -> None:
    case = attached()
    case.path.follow_link(LINK, STATE)
    assert case.kernel.loaded == 1


def test_the_counts_of_all_processors_go_to_the_tally_once() -> None:
    case = attached()
    case.kernel.rows = [(3, 1, 5), (4, 0, 9)]
    for _ in range(2):
        case.path.collect()
    case.kernel.rows = [(3, 1, 5), (5, 2, 9)]
    case.path.close()
    assert case.tally.received[Kind.MULTICAST] == case.tally.ended[Outcome.ANSWERED_MULTICAST] == 8
    assert case.tally.received[Kind.UNICAST] == case.tally.ended[Outcome.ANSWERED_UNICAST] == 3
    assert case.tally.last_answer_s > 0


def test_a_limit_leaves_it_off() -> None:
    case = Case(rate=10)
    case.path.follow_link(LINK, STATE)
    assert (case.kernel.loaded, case.said()) == (0, ["no fast path: every frame is left to user space"])


def test_without_clang_at_the_build_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_kernel, "OBJECT", "never-built.o")
    with pytest.raises(SystemRefused, match="install clang"):
        in_kernel.read_object(Hook.XDP)


def test_who_does_without_does_not_pay_for_it() -> None:
    listing = "import ndpresponder.daemon.daemon, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", listing], check=True, capture_output=True, text=True).stdout
    assert [name for name in loaded.split() if "fastpath" in name or name.endswith("bpf_object")] == []


def test_what_the_driver_lost_is_not_answered_whenever_it_says_so() -> None:
    case = attached()
    case.kernel.rows, case.kernel.dropped = [(10, 5, 5)], 11  # 11 of 15
    case.path.collect()
    case.kernel.dropped = 3  # it tells of them later
    case.path.collect()
    case.kernel.rows = [(14, 5, 5)]
    case.path.collect()
    ended = case.tally.ended
    assert (ended[Outcome.ANSWERED_MULTICAST], ended[Outcome.ANSWERED_UNICAST]) == (1, 4)
    assert ended[Outcome.SEND_FAILED] == case.tally.send_errors[errno.ENXIO] == 14
    assert sum(case.tally.received) == sum(ended) == 19
    assert case.kernel.attached


def test_a_driver_that_sends_nothing_is_not_left_to_answer_until_the_link_comes_back() -> None:
    case = attached()
    case.kernel.rows, case.kernel.dropped = [(10, 0, 5)], 10
    case.path.collect()
    assert (case.kernel.attached, case.tally.last_answer_s) == (False, 0.0)
    assert case.said()[-1].startswith("the driver sends no answer")
    case.path.set_table(TABLE)
    case.path.collect()
    case.path.follow_link(LINK, uplink_state(forwarding=True))
    assert not case.kernel.attached
    case.path.follow_link(LINK, None)
    case.path.follow_link(LINK, STATE)
    assert case.kernel.attached
