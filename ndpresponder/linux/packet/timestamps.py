"""The clock by which the kernel stamps frames, and how far it was set between two processes.

Frames that waited are stamped with the wall clock, which an administrator, NTP or a resumed virtual machine can set.
Between processes the offset of that clock to one that nobody can set tells by how much.
"""

import math
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_SO_TIMESTAMPNS: Final = 35  # asm/socket.h
_TIMESPEC: Final = struct.Struct("@ll")
_OFFSET: Final = struct.Struct("=d")

STEP_S: Final = 0.5  # NTP slews less than that within any restart; what differs by more was set
_SLACK_S: Final = 0.1


def stamp_now() -> float:
    """Return the time by which the kernel would stamp a frame now, as Unix time: the kernel's own, not that of libc."""
    try:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with here, there:
            there.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            here.send(b"\0")
            _, ancillary, _, _ = there.recvmsg(1, socket.CMSG_SPACE(_TIMESPEC.size), socket.MSG_DONTWAIT)
            for _, _, data in ancillary:
                seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
                return float(seconds + nanoseconds * 1e-9)
    except (OSError, struct.error):  # no descriptors, no memory, a sandbox: libc's clock is nearly always the same
        return time.time()
    return time.time()


def _monotonic() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps, as the wall clock does


def offset(now: Callable[[], float] = stamp_now, monotonic: Callable[[], float] = _monotonic) -> bytes:
    """Return, for a successor, how far the clock of the stamps is ahead of the one that nobody can set."""
    return _OFFSET.pack(now() - monotonic())


def step_since(kept: bytes, now: Callable[[], float] = stamp_now, monotonic: Callable[[], float] = _monotonic) -> float:
    """Return by how many seconds the clock was set since `offset` was `kept`; 0.0: it was not, or nobody can tell."""
    if len(kept) != _OFFSET.size:
        return 0.0
    (before_s,) = _OFFSET.unpack(kept)
    step_s = now() - monotonic() - before_s
    return step_s if math.isfinite(step_s) and abs(step_s) > STEP_S else 0.0


@dataclass(frozen=True, slots=True)
class AgeLimit:
    """Which stamps are too old, when the clock may have been set while frames waited, and nobody knows when.

    A stamp was made before the step or after it. It is too old if its frame has waited for too long either way.
    """

    now_s: float
    step_s: float
    longest_s: float

    def is_old(self, stamp_s: float) -> bool:
        """Tell whether a frame with this stamp has waited for longer than `longest_s`."""
        if stamp_s > max(self.now_s, self.now_s - self.step_s) + _SLACK_S:
            return False  # from no time that is known: answered, rather than not
        return not any(now_s - self.longest_s <= stamp_s <= now_s + _SLACK_S for now_s in self._now())

    def _now(self) -> tuple[float, ...]:
        return (self.now_s, self.now_s - self.step_s) if self.step_s else (self.now_s,)
