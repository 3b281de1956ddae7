"""The clock by which the kernel stamps frames, and how far it was set between two processes.

The stamps are of the wall clock, which an administrator, NTP or a resumed virtual machine can set while frames wait.
Its offset to a clock that cannot be set, kept from one process to the next, tells by how much it was set.
"""

import math
import socket
import struct
import time
from collections.abc import Callable
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
            _, _, data = ancillary[0]
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return float(seconds + nanoseconds * 1e-9)
    except (OSError, IndexError, struct.error):  # a shortage, a sandbox: libc's clock is nearly always the same
        return time.time()


def _boot_time() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps, as the wall clock does


def offset(now: Callable[[], float] = stamp_now, monotonic: Callable[[], float] = _boot_time) -> bytes:
    """Return, for a successor, how far the clock of the stamps is ahead of the one that cannot be set."""
    return _OFFSET.pack(now() - monotonic())


def step_since(kept: bytes, now: Callable[[], float] = stamp_now, monotonic: Callable[[], float] = _boot_time) -> float:
    """Return by how many seconds the clock was set since `offset` was `kept`; 0.0: it was not, or that is unknown."""
    if len(kept) != _OFFSET.size:
        return 0.0
    step_s: float = now() - monotonic() - _OFFSET.unpack(kept)[0]
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
