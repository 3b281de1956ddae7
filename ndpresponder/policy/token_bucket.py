"""A token bucket: so many a second, so many at once. Time is passed in by its clock."""

from collections.abc import Callable


class TokenBucket:
    """Holds at most `burst` tokens and gains `rate` of them a second; starts full."""

    __slots__ = ("_burst", "_clock", "_filled_s", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        """Limit to `rate` a second; `clock` returns seconds that never go back."""
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled_s = clock()

    def take(self, urgent: bool = True) -> bool:
        """Take one token, or return False when there is none; what is not urgent leaves half of the burst."""
        now_s = self._clock()
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._rate)
        self._filled_s = now_s
        if self._tokens < (1 if urgent else 1 + self._burst // 2):
            return False
        self._tokens -= 1
        return True

    def wait_s(self) -> float:
        """Return after how many seconds there is a token to take."""
        return max(0.0, (1 - self._tokens) / self._rate - (self._clock() - self._filled_s))
