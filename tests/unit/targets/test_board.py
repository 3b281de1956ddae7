"""The board hands each uplink the union of what its sources said last, once for each burst of changes."""

from collections.abc import Callable
from typing import Any

import pytest
from sample_responder import addresses, prefixes

from ndpresponder.policy.table import TargetTable
from ndpresponder.targets.board import COALESCE_S, Entry, TargetBoard
from ndpresponder.targets.scope import EVERYTHING
from ndpresponder.targets.source import TargetSet


class Named:
    """A source that says what the test makes it say."""

    kind = "test"

    def __init__(self, name: str = "a", uplinks: frozenset[str] | None = None) -> None:
        self.name = name
        self.uplinks = uplinks

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        raise NotImplementedError


class Bench:
    """A board, the timers it set, and the tables it handed over."""

    def __init__(self, **excluded: Any) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.applied: list[tuple[str, TargetTable]] = []
        self.now_s = 1000.0
        self.monotonic_s = 77.0
        self.board = TargetBoard(
            excluded or {"eth0": frozenset()},
            lambda uplink, table: self.applied.append((uplink, table)),
            lambda delay, callback: self.timers.append((delay, callback)),
            lambda: self.now_s,
            lambda: self.monotonic_s,
        )

    def add(self, *arguments: Any) -> Entry:
        self.board.entries.append(Entry(Named(*arguments), EVERYTHING))
        return self.board.entries[-1]

    def expire(self) -> None:
        timers, self.timers = self.timers, []
        for delay, callback in timers:
            self.monotonic_s += delay
            callback()


ONE = TargetSet(addresses("2001:db8::1"))
TWO = TargetSet(addresses("2001:db8::2"))
CLAIM = TargetSet(claimed=frozenset(prefixes("2001:db8:1::/64")))


def test_the_first_change_after_a_quiet_while_is_applied_at_once_in_a_turn_of_its_own() -> None:
    bench = Bench()
    bench.board.publish(bench.add(), ONE)
    assert [delay for delay, _ in bench.timers] == [0.0]
    assert bench.applied == []
    bench.expire()
    assert bench.applied == [("eth0", TargetTable.build(ONE.live))]


@pytest.mark.parametrize(
    ("since_s", "pause_s"), [(0.0, COALESCE_S), (COALESCE_S / 2, COALESCE_S / 2), (COALESCE_S, 0.0), (9.0, 0.0)]
)
def test_what_follows_waits_for_the_rest_of_the_burst(since_s: float, pause_s: float) -> None:
    bench = Bench()
    entry = bench.add()
    bench.board.rebuild()
    bench.monotonic_s += since_s
    bench.board.publish(entry, ONE)
    assert [delay for delay, _ in bench.timers] == pytest.approx([pause_s])


def test_a_burst_sets_one_timer_and_only_its_end_is_applied() -> None:
    bench = Bench()
    entry = bench.add()
    bench.board.rebuild()
    for number in range(1000):
        bench.board.publish(entry, TargetSet(addresses(f"2001:db8::{number:x}")))
    assert [delay for delay, _ in bench.timers] == pytest.approx([COALESCE_S])
    bench.expire()
    assert bench.applied == [("eth0", TargetTable.build(addresses("2001:db8::3e7")))]


def test_each_change_starts_a_burst_anew() -> None:
    bench = Bench()
    entry = bench.add()
    for targets in (ONE, TWO):
        bench.board.publish(entry, targets)
        bench.expire()
    assert [table.live for _, table in bench.applied] == [ONE.live, TWO.live]
    assert bench.board.generation == 2


def test_the_same_set_again_is_no_change() -> None:
    bench = Bench()
    entry = bench.add()
    bench.board.publish(entry, ONE)
    bench.expire()
    bench.board.publish(entry, TargetSet(frozenset(ONE.live)))
    assert bench.timers == []


def test_a_burst_that_ends_where_it_began_is_no_change() -> None:
    bench = Bench()
    entry = bench.add()
    for targets in (ONE, TargetSet()):
        bench.board.publish(entry, targets)
    bench.expire()
    assert bench.applied == []
    assert bench.board.generation == 0


def test_sources_add_up() -> None:
    bench = Bench()
    for targets in (ONE, TWO, CLAIM):
        bench.board.publish(bench.add(), targets)
    bench.expire()
    assert bench.applied == [("eth0", TargetTable.build(ONE.live | TWO.live, CLAIM.claimed))]


def test_what_two_sources_say_stays_until_neither_says_it() -> None:
    bench = Bench()
    first, second = bench.add("a"), bench.add("b")
    bench.board.publish(first, ONE)
    bench.board.publish(second, ONE)
    bench.board.rebuild()
    bench.board.publish(first, TargetSet())
    bench.board.rebuild()
    assert len(bench.applied) == 1
    bench.board.publish(second, TargetSet())
    bench.board.rebuild()
    assert bench.applied[-1] == ("eth0", TargetTable.build())


def test_a_source_that_fails_keeps_its_last_set_and_is_down() -> None:
    bench = Bench()
    entry = bench.add()
    bench.board.publish(entry, ONE)
    bench.board.fail(entry)
    bench.board.rebuild()
    assert not entry.up
    assert bench.applied == [("eth0", TargetTable.build(ONE.live))]


def test_a_source_serves_its_uplinks_and_one_without_serves_all() -> None:
    bench = Bench(eth0=frozenset(), eth1=frozenset())
    bench.board.publish(bench.add("a", frozenset({"eth1"})), ONE)
    bench.board.publish(bench.add("b"), TWO)
    bench.board.rebuild()
    assert dict(bench.applied) == {
        "eth0": TargetTable.build(TWO.live),
        "eth1": TargetTable.build(ONE.live | TWO.live),
    }


def test_only_the_uplink_whose_table_changed_is_told() -> None:
    bench = Bench(eth0=frozenset(), eth1=frozenset())
    bench.board.publish(bench.add("a", frozenset({"eth1"})), ONE)
    bench.board.rebuild()
    assert [uplink for uplink, _ in bench.applied] == ["eth1"]


def test_each_uplink_has_its_own_exclusions() -> None:
    excluded = frozenset(prefixes("2001:db8:1::/112"))
    bench = Bench(eth0=excluded, eth1=frozenset())
    bench.board.publish(bench.add(), CLAIM)
    bench.board.rebuild()
    assert dict(bench.applied) == {
        "eth0": TargetTable.build(claimed=CLAIM.claimed, excluded=excluded),
        "eth1": TargetTable.build(claimed=CLAIM.claimed),
    }


@pytest.mark.parametrize(
    ("resyncs", "steps"),
    [
        ({}, ""),
        ({"start": 1}, "p"),
        ({"start": 1, "change": 2}, "ppp"),
        ({"start": 1, "recovery": 1, "change": 1}, "pfpp"),
        ({"start": 1, "recovery": 1}, "pffp"),
        ({"start": 1}, "fp"),
    ],
)
def test_why_a_source_was_read_is_counted(resyncs: dict[str, int], steps: str) -> None:
    bench = Bench()
    entry = bench.add()
    for step in steps:
        if step == "p":
            bench.board.publish(entry, ONE)
        else:
            bench.board.fail(entry)
    assert entry.resyncs == resyncs


def test_when_a_source_was_read_last_is_known() -> None:
    bench = Bench()
    entry = bench.add()
    assert entry.last_sync_s == 0
    bench.board.publish(entry, ONE)
    bench.now_s = 1060.0
    bench.board.fail(entry)
    assert entry.last_sync_s == 1000.0


def test_downstream_interfaces_are_known_for_live_targets_that_are_answered_for() -> None:
    bench = Bench(eth0=frozenset(prefixes("2001:db8::bad/128")), eth1=frozenset())
    near = TargetSet(
        live=addresses("2001:db8::1", "2001:db8::bad"),
        downstream={"br0": addresses("2001:db8::1", "2001:db8::bad"), "br1": addresses("2001:db8::9")},
    )
    bench.board.publish(bench.add("a", frozenset({"eth0"})), near)
    bench.board.publish(bench.add("b", frozenset({"eth1"})), TWO)
    bench.expire()
    assert bench.board.downstream() == dict.fromkeys(addresses("2001:db8::1"), "br0")


def test_a_rebuild_is_told_even_when_no_table_differs() -> None:
    told: list[int] = []
    bench = Bench()
    bench.board.on_change(lambda: told.append(1))
    bench.board.rebuild()
    assert told == [1]


def test_a_table_that_an_uplink_could_not_take_is_handed_over_again_and_the_others_get_theirs() -> None:
    bench = Bench(eth0=frozenset(), eth1=frozenset())
    failing = [ZeroDivisionError()]

    def apply(uplink: str, table: TargetTable) -> None:
        if failing:
            raise failing.pop()
        bench.applied.append((uplink, table))

    bench.board._set_table = apply
    bench.board.publish(bench.add(), ONE)
    with pytest.raises(ZeroDivisionError):
        bench.expire()
    assert [uplink for uplink, _ in bench.applied] == ["eth1"]
    bench.expire()
    bench.expire()
    assert bench.applied == [(uplink, TargetTable.build(ONE.live)) for uplink in ("eth1", "eth0")]


def test_the_set_of_the_only_source_is_looked_up_itself_and_not_a_copy_of_it() -> None:
    bench = Bench()
    bench.board.publish(bench.add(), ONE)
    bench.add()
    bench.expire()
    assert bench.applied[0][1].live is ONE.live


def test_an_address_that_can_never_be_ours_is_in_no_table() -> None:
    bench = Bench()
    bench.board.publish(bench.add(), TargetSet(addresses("2001:db8::1", "fe80::1", "::1")))
    bench.expire()
    assert bench.applied[0][1].live == addresses("2001:db8::1")
