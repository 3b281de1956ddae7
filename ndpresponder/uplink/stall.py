"""Tell whether the frames that wait in a ring are taken out of it: a turning event loop does not show this.

A stall begins when frames are first seen waiting, and ends when none waits or any was taken. A stall that lasts is
logged, the beginning of the ring is searched anew, and the daemon stops its heartbeat. The service manager then
replaces the daemon, and the successor goes on in the same ring.
"""

import time
from collections.abc import Callable
from typing import Final

from ndpresponder.linux.packet.packet_socket import PacketSocket
from ndpresponder.observe.uplink_log import UplinkLog

TOLERATED_S: Final = 0.5  # a requester repeats its solicitation after 1 s (RFC 4861 10, RetransTimer)


class Stall:
    """The liveness of one uplink's ring."""

    def __init__(self, log: UplinkLog, clock: Callable[[], float] = time.monotonic) -> None:
        """Say to `log` when frames are left waiting; `clock` is a monotonic one, in seconds."""
        self._log = log
        self._clock = clock
        self._since_s: float | None = None
        self._moved = 0  # slots that were taken by then

    def look(self, socket: PacketSocket | None) -> float:
        """Return for how many seconds frames have waited in the ring of `socket`, which is read, and none was taken."""
        if socket is None or not socket.waiting:
            self._since_s = None
            return 0.0
        now_s = self._clock()
        if self._since_s is None or socket.slots_taken != self._moved:
            self._since_s, self._moved = now_s, socket.slots_taken
        stalled_s = now_s - self._since_s
        if stalled_s > TOLERATED_S:
            self._log.limited("frames wait in the ring and are not taken out", seconds=round(stalled_s, 1))
            socket.seek_anew()
        return stalled_s
