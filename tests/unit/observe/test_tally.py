"""The histogram counts each duration once, in the right bucket."""

import pytest

from ndpresponder.observe.tally import DURATION_BOUNDS_S, Durations


@pytest.mark.parametrize(
    ("first_bound_at_or_above", "seconds"),
    [(10e-6, 0.0), (10e-6, 10e-6), (20e-6, 10.1e-6), (1.0, 1.0), (float("inf"), 1.1), (10e-6, -1.0)],
)
def test_a_duration_is_counted_from_its_bound_up(first_bound_at_or_above: float, seconds: float) -> None:
    durations = Durations()
    durations.observe(seconds)

    assert durations.cumulative() == [
        (bound, int(bound >= first_bound_at_or_above)) for bound in (*DURATION_BOUNDS_S, float("inf"))
    ]
    assert durations.sum_s == max(0.0, seconds), "the sum is a counter: it never goes down"


def test_buckets_add_up() -> None:
    durations = Durations()
    for seconds in (15e-6, 15e-6, 3.0):
        durations.observe(seconds)

    counts = [count for _, count in durations.cumulative()]
    assert counts == [0, *[2] * (len(DURATION_BOUNDS_S) - 1), 3]
    assert durations.sum_s == pytest.approx(3.00003)


class Clocks:
    def __init__(self) -> None:
        self.monotonic_s, self.wall_s = 100.0, 1_800_000_000.0

    def run(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.wall_s += seconds


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 30.0, -30.0, 2.0])
def test_a_sample_across_a_step_of_the_clock_is_left_out(step_s: float) -> None:
    clocks = Clocks()
    durations = Durations(wall=lambda: clocks.wall_s, monotonic=lambda: clocks.monotonic_s)
    clocks.run(50)
    clocks.wall_s += step_s
    for _ in range(100):  # batches that waited meanwhile
        durations.observe(step_s + 0.2)
        clocks.run(0.001)
    durations.observe(0.0001)
    assert (durations.cumulative()[-1][1], durations.sum_s) == (1, 0.0001)
    clocks.run(10)
    durations.observe(4.0)
    assert durations.sum_s == 4.0001, "what really took long is counted again"


def test_a_step_before_this_process_began_is_told_and_not_found() -> None:
    durations = Durations()
    durations.distrust()
    durations.observe(3600.0)
    durations.observe(0.5)
    assert durations.sum_s == 0.5
