"""A token bucket gives out its burst at once and its rate from then on, and never more than both."""

import pytest

from ndpresponder.policy.token_bucket import TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now_s = 5.0

    def __call__(self) -> float:
        return self.now_s


def taken(bucket: TokenBucket, attempts: int) -> int:
    return sum(bucket.take() for _ in range(attempts))


@pytest.mark.parametrize("burst", [1, 5, 1000])
def test_a_new_bucket_holds_its_burst(burst: int) -> None:
    assert taken(TokenBucket(1, burst, Clock()), burst + 10) == burst


@pytest.mark.parametrize(("expected", "rate", "pause_s"), [(0, 10, 0.09), (1, 10, 0.11), (5, 10, 0.51), (2, 0.5, 4.1)])
def test_tokens_come_back_at_the_rate(expected: int, rate: float, pause_s: float) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, 100, clock)
    taken(bucket, 100)
    clock.now_s += pause_s
    assert taken(bucket, 100) == expected


def test_a_long_rest_fills_the_bucket_and_no_more() -> None:
    clock = Clock()
    bucket = TokenBucket(1000, 3, clock)
    taken(bucket, 3)
    clock.now_s += 3600
    assert taken(bucket, 100) == 3


def test_fractions_add_up_however_often_it_is_asked() -> None:
    clock = Clock()
    bucket = TokenBucket(1, 1, clock)
    bucket.take()
    for _ in range(15):
        clock.now_s += 1 / 16
        assert not bucket.take()
    clock.now_s += 1 / 16
    assert bucket.take()


def test_over_any_time_it_gives_its_burst_and_its_rate_at_most() -> None:
    clock = Clock()
    bucket = TokenBucket(100, 20, clock)
    given = 0
    for _ in range(1000):
        clock.now_s += 0.01
        given += taken(bucket, 3)
    assert given <= 20 + 100 * 10
    assert given >= 100 * 10 - 1


@pytest.mark.parametrize(("burst", "casual"), [(1, 1), (2, 1), (9, 5), (100, 50)])
def test_what_is_not_urgent_leaves_half_of_the_burst(burst: int, casual: int) -> None:
    take = TokenBucket(1, burst, Clock()).take
    assert [take(urgent=False) for _ in range(2 * burst)].count(True) == casual
    assert [take(urgent=True) for _ in range(2 * burst)].count(True) == burst - casual
