"""The clock by which the kernel stamps frames, and how far it was set between two processes.

The stamps are of the wall clock, which an administrator, NTP or a resumed virtual machine can set while frames wait.
Its offset to a clock that cannot be set, kept from one process to the next, tells by how much it was set.
"""

import math
import struct
import time
from typing import Final

_OFFSET: Final = struct.Struct("=d")

STEP_S: Final = 0.5  # NTP slews less than that within any restart; what differs by more was set
_SLACK_S: Final = 0.1


def _ahead_s() -> float:
    """Return how far the clock of the stamps is ahead of the one that cannot be set."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)  # both go on while the machine sleeps


def offset() -> bytes:
    """Return, for a successor, how far the clock of the stamps is ahead."""
    return _OFFSET.pack(_ahead_s())


def step_since(kept: bytes) -> float:
    """Return by how many seconds the clock was set since `offset` was `kept`; 0.0: it was not, or that is unknown."""
    if len(kept) != _OFFSET.size:
        return 0.0
    step_s: float = _ahead_s() - _OFFSET.unpack(kept)[0]
    return step_s if math.isfinite(step_s) and abs(step_s) > STEP_S else 0.0


def has_waited(longest_s: float, now_s: float, step_s: float, stamp_s: float) -> bool:
    """Tell whether a frame with the stamp `stamp_s` has waited for longer than `longest_s`.

    The clock, which says `now_s`, may have been set by `step_s` at an unknown moment while the frame waited. So the
    stamp was made before the step or after it, and the frame has waited for too long only if it has either way.
    """
    clocks_s = (now_s, now_s - step_s)
    if stamp_s > max(clocks_s) + _SLACK_S:
        return False  # from no time that is known: answered, rather than not
    return not any(clock_s - longest_s <= stamp_s <= clock_s + _SLACK_S for clock_s in clocks_s)
