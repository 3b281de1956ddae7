"""Whatever sources say, fail and say again, each uplink ends with the union of what its sources said last."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ndpresponder.policy.table import EMPTY, Match, Prefix, TargetTable
from ndpresponder.targets.board import COALESCE_S, Entry, TargetBoard
from ndpresponder.targets.scope import EVERYTHING
from ndpresponder.targets.source import TargetSet

UPLINKS = ("eth0", "eth1")
EXCLUDED = {"eth0": frozenset({Prefix(0x20010DB8 << 96 | 1, 128)}), "eth1": frozenset[Prefix]()}
BASE = 0x20010DB8 << 96
hosts = st.frozensets(st.integers(0, 5).map(lambda host: (BASE + host).to_bytes(16, "big")))
target_sets = st.builds(
    TargetSet,
    live=hosts,
    claimed=st.frozensets(st.integers(0, 3).map(lambda net: Prefix(BASE + (net << 64), 64))),
    downstream=st.dictionaries(st.sampled_from(["br0", "br1"]), hosts, max_size=1),
    refused=st.just(frozenset[Prefix]()) | st.frozensets(st.integers(0, 3).map(lambda n: Prefix(BASE + (n << 72), 56))),
)
serving = st.sampled_from([None, frozenset({"eth0"}), frozenset({"eth1"}), frozenset(UPLINKS)])


class Named(NamedTuple):
    name: str
    uplinks: frozenset[str] | None
    kind: str = "test"

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        raise NotImplementedError


class Board(RuleBasedStateMachine):
    @initialize(served=st.lists(serving, min_size=1, max_size=4))
    def start(self, served: list[frozenset[str] | None]) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.now_s = self.rebuilt_s = 100.0
        self.tables = dict.fromkeys(UPLINKS, EMPTY)
        self.swaps = 0
        self.rebuilt = False
        self.board = TargetBoard(EXCLUDED, self.apply, self.call_later, lambda: 1.0, lambda: self.now_s)
        self.board.on_change(self.note_rebuild)
        self.board.rebuild()
        sources = [Named(f"s{number}", uplinks) for number, uplinks in enumerate(served)]
        self.board.entries = self.entries = [Entry(source, EVERYTHING) for source in sources]
        self.said = [TargetSet()] * len(sources)
        self.up = [False] * len(sources)

    def apply(self, uplink: str, table: TargetTable) -> None:
        assert table != self.tables[uplink], "swapped for an equal table"
        self.tables[uplink] = table
        self.swaps += 1

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        assert delay >= 0
        due_s = self.now_s + delay
        quiet_s = self.rebuilt_s + COALESCE_S
        assert due_s == pytest.approx(max(self.now_s, quiet_s)), "neither at once nor with the burst"
        self.timers.append((due_s, callback))

    def note_rebuild(self) -> None:
        self.rebuilt_s = self.now_s

    @rule(seconds=st.sampled_from([0.001, COALESCE_S / 2, COALESCE_S, 5.0]))
    def pass_time(self, seconds: float) -> None:
        """Timers may be late."""
        self.now_s += seconds

    def pick(self, data: st.DataObject) -> tuple[int, Entry]:
        number = data.draw(st.integers(0, len(self.entries) - 1))
        return number, self.entries[number]

    @rule(data=st.data(), said=target_sets)
    def publish(self, data: st.DataObject, said: TargetSet) -> None:
        number, entry = self.pick(data)
        self.board.publish(entry, said)
        self.said[number], self.up[number] = said, True

    @rule(data=st.data())
    def publish_the_same(self, data: st.DataObject) -> None:
        number, entry = self.pick(data)
        before = len(self.timers)
        self.board.publish(entry, self.said[number])
        self.up[number] = True
        assert len(self.timers) == before

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        number, entry = self.pick(data)
        self.board.fail(entry)
        self.up[number] = False

    @precondition(lambda self: self.timers)
    @rule()
    def expire(self) -> None:
        due_s, callback = self.timers.pop()
        self.now_s = max(self.now_s, due_s)
        callback()
        self.check_tables()

    @rule()
    def rebuild_at_once(self) -> None:
        """Start-up does not wait for the timer."""
        self.board.rebuild()
        self.check_tables()

    def check_tables(self) -> None:
        self.rebuilt = True
        for uplink in UPLINKS:
            live: set[bytes] = set()
            claimed: set[Prefix] = set()
            divided: list[tuple[frozenset[Prefix], frozenset[Prefix]]] = []
            for entry, targets in zip(self.entries, self.said, strict=True):
                if entry.source.uplinks is None or uplink in entry.source.uplinks:
                    live |= targets.live
                    if targets.refused:
                        divided.append((targets.claimed, targets.refused))
                    else:
                        claimed |= targets.claimed
            assert self.tables[uplink] == TargetTable.build(live, claimed, EXCLUDED[uplink], divided)
        self.check_downstream()

    def check_downstream(self) -> None:
        """Whoever is answered for on an uplink of its source is where the source says; the last one that says so."""
        said = {
            target: interface
            for entry, targets in zip(self.entries, self.said, strict=True)
            for interface, there in targets.downstream.items()
            for target in there
            if any(
                self.tables[uplink].match(target, int.from_bytes(target, "big")) is Match.LIVE
                for uplink in entry.source.uplinks or UPLINKS
            )
        }
        assert self.board.downstream() == said

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if hasattr(self, "board"):
            assert [entry.up for entry in self.entries] == self.up
            assert [entry.targets for entry in self.entries] == self.said
            assert self.board.generation == self.swaps

    def teardown(self) -> None:
        for _, callback in getattr(self, "timers", []):
            callback()
            self.rebuilt = True
        if getattr(self, "rebuilt", False):
            self.check_tables()


Board.TestCase.settings = settings(max_examples=settings.default.max_examples // 2, stateful_step_count=25)
TestBoard = Board.TestCase
