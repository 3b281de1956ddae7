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
    assert durations.sum_s == seconds


def test_buckets_add_up() -> None:
    durations = Durations()
    for seconds in (15e-6, 15e-6, 3.0):
        durations.observe(seconds)

    counts = [count for _, count in durations.cumulative()]
    assert counts == [0, *[2] * (len(DURATION_BOUNDS_S) - 1), 3]
    assert durations.sum_s == pytest.approx(3.00003)
