"""Whatever comes and goes, and however late the caller is: three announcements a second apart, and never a burst."""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ndpresponder.unsolicited.announcements import BURST, INTERVAL_S, REPEATS, TARGETS_PER_S, Announcer

TARGETS = [bytes(15) + bytes((number,)) for number in range(40)]
EPSILON = 1e-6
LONG_S = 100.0


class AnnouncerMachine(RuleBasedStateMachine):
    """The model: for each live target, when it was announced since it appeared or the link did."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.announcer = Announcer(lambda: self.now_s)
        self.live: frozenset[bytes] = frozenset()
        self.times: dict[bytes, list[float]] = defaultdict(list)
        self.owed: set[bytes] = set()  # targets whose three announcements are not over yet
        self.all_times: list[float] = []

    def call(self) -> None:
        """Let the announcer speak now, as `Unsolicited` does after each change and whenever it is due."""
        for target in self.announcer.due():
            assert target in self.owed
            times = self.times[target]
            assert not times or self.now_s - times[-1] >= INTERVAL_S - EPSILON
            times.append(self.now_s)
            self.all_times.append(self.now_s)
            if len(times) == REPEATS:
                self.owed.discard(target)

    def expect(self, targets: frozenset[bytes]) -> None:
        for target in targets:
            self.times[target] = []
        self.owed |= targets

    @rule(live=st.sets(st.sampled_from(TARGETS)))
    def follow(self, live: set[bytes]) -> None:
        self.announcer.change(frozenset(live), self.live - live, live - self.live)
        self.owed &= live
        self.expect(frozenset(live) - self.live)
        self.live = frozenset(live)
        self.call()

    @rule()
    def link_comes_up(self) -> None:
        self.announcer.restart()
        self.expect(self.live)
        self.call()

    @rule()
    def link_goes_down(self) -> None:
        self.announcer.stop()
        self.owed.clear()
        self.call()

    @rule(pause_s=st.floats(0, 3))
    def time_passes(self, pause_s: float) -> None:
        self.now_s += pause_s
        self.call()

    @rule()
    def caller_comes_when_told(self) -> None:
        wait_s = self.announcer.wait_s()
        if wait_s is not None:
            assert wait_s <= INTERVAL_S + EPSILON
            self.now_s += wait_s
            self.call()

    @rule()
    def long_after_nobody_is_owed_anything(self) -> None:
        end_s = self.now_s + LONG_S
        while self.now_s < end_s and (wait_s := self.announcer.wait_s()) is not None:
            self.now_s += max(wait_s, 0.001)
            self.call()
        assert self.owed == set()

    @invariant()
    def asks_to_be_called_exactly_while_something_is_owed(self) -> None:
        assert (self.announcer.wait_s() is not None) == bool(self.owed)

    @invariant()
    def the_pace_holds_in_every_window(self) -> None:
        times = self.all_times[-200:]
        for first, start_s in enumerate(times):
            count = len(times) - first
            assert count <= BURST + (times[-1] - start_s) * TARGETS_PER_S + 1 + EPSILON


AnnouncerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_announcer = AnnouncerMachine.TestCase
