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

    def take(self, leave: float = 0) -> bool:
        """Take one token, or return False when there would not be `leave` of them left."""
        now_s = self._clock()
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._rate)
        self._filled_s = now_s
        if self._tokens < 1 + leave:
            return False
        self._tokens -= 1
        return True

    def spend(self, urgent: bool) -> bool:
        """Take one token; what is not urgent leaves half a burst."""
        return self.take(0 if urgent else self._burst // 2)

    def wait_s(self) -> float:
        """Return after how many seconds there is a token to take."""
        return max(0.0, (1 - self._tokens) / self._rate - (self._clock() - self._filled_s))
