"""The counters of one uplink: plain ints, written by the frame path, read by the exporter at scrape time."""

import bisect
import itertools
from dataclasses import dataclass, field

from ndpresponder.outcome import Kind, Outcome

# Upper bounds in seconds of `response_duration_seconds`.
DURATION_BOUNDS_S = (10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 5e-3, 20e-3, 100e-3, 500e-3, 1.0)


@dataclass(slots=True)
class Durations:
    """A histogram of the time from the kernel's receive timestamp to the end of the send, sampled."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS_S) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect.bisect_left(DURATION_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

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
