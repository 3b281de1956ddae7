"""Count what one uplink receives and answers: plain ints, written by the frame path, read when a client asks."""

import bisect
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ndpresponder.outcome import Kind, Outcome

# Upper bounds in seconds of `response_duration_seconds`.
DURATION_BOUNDS_S = (10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 5e-3, 20e-3, 100e-3, 500e-3, 1.0)

_PLAUSIBLE_S: Final = 1.0  # a longer duration, or a negative one, is seldom: only then the clocks are compared
_STEP_S: Final = 0.5  # by which the wall clock must differ from the monotonic one to have been set
_DISTRUST_S: Final = 1.0  # frames stamped before a step are answered within that


@dataclass(slots=True)
class Durations:
    """A histogram of the time from the kernel's receive timestamp to the end of the send, sampled.

    The kernel stamps frames by the wall clock. A sample across a step of that clock would count for hours: it is
    left out.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS_S) + 1))
    sum_s: float = 0.0
    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    _offset_s: float = field(init=False)
    _distrusted_until_s: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self._offset_s = self.wall() - self.monotonic()

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        if not 0.0 <= seconds < _PLAUSIBLE_S:
            if self._was_set():
                return
            seconds = max(0.0, seconds)
        self.counts[bisect.bisect_left(DURATION_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def distrust(self) -> None:
        """Leave implausible samples out for a while: the clock was set."""
        self._distrusted_until_s = self.monotonic() + _DISTRUST_S

    def _was_set(self) -> bool:
        """Tell whether the wall clock was set since the last look at it, or a moment before."""
        now_s = self.monotonic()
        offset_s = self.wall() - now_s
        if abs(offset_s - self._offset_s) > _STEP_S:
            self.distrust()
        self._offset_s = offset_s
        return now_s < self._distrusted_until_s

    def cumulative(self) -> list[tuple[float, int]]:
        """Return (upper bound, observations at or below it), ending with +Inf."""
        bounds = (*DURATION_BOUNDS_S, float("inf"))
        return list(zip(bounds, itertools.accumulate(self.counts), strict=True))


@dataclass(slots=True)
class Tally:
    """What one uplink received, answered, ignored and failed to send since the start of the process.

    Invariant at every moment the event loop can observe:
    `sum(received) == sum(ended)`, that is received = answered + ignored over all reasons.
    """

    received: list[int] = field(default_factory=lambda: [0] * len(Kind))
    ended: list[int] = field(default_factory=lambda: [0] * len(Outcome))
    unsolicited: int = 0
    send_errors: dict[int, int] = field(default_factory=dict)  # errno -> count
    kernel_drops: int = 0
    up: bool = False
    stalled_s: float = 0.0  # for so long frames have waited and none was taken
    last_answer_s: float = 0.0  # Unix time; 0: none yet
    durations: Durations = field(default_factory=Durations)
