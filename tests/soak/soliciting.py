"""Solicits the same targets for ever, at a steady rate, as routers that come and go, and tells what was not answered.

usage: soliciting.py INTERFACE RATE COUNT      on SIGTERM, one JSON object on stdout

It asks for 2001:db8:1::1 and up. An answer counts once, for the router and the target it was asked by and for; one that
nobody waits for is unexpected. A frame that the kernel could not take is not asked.
"""

import errno
import json
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from frames import packed, solicitation

ROUTERS = 64  # at a time
POOL = 128  # of all: what is remembered of a router is bounded, but a short run must reach the bound
STAY_S = 8.0  # of each router; then another takes its place
FIRST = "2001:db8:1::"
STATION = bytes.fromhex("02aa")
BATCH = 64
LAG_MAX_S = 0.1  # what could not be sent for so long is not asked any more
SETTLE_S = 3.0  # for the last answers

SOL_PACKET, PACKET_STATISTICS, PACKET_IGNORE_OUTGOING, SO_RCVBUFFORCE = 263, 6, 23, 33
ETH_P_IPV6 = 0x86DD


def questions(router: int, count: int) -> list[tuple[bytes, bytes]]:
    """Return what one router asks, and by what its answers are known: its link-layer address and the target."""
    station, source = STATION + struct.pack("!I", router), packed("fe80::aa:0:0")[:12] + struct.pack("!I", router)
    targets = [packed(FIRST)[:12] + struct.pack("!I", number) for number in range(1, count + 1)]
    return [(solicitation(target, source, ethernet_source=station), station + target) for target in targets]


def open_socket(interface: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    wire.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    wire.bind((interface, ETH_P_IPV6))
    return wire


class Asking:
    """What was asked, and what of it is not answered yet."""

    def __init__(self, wire: socket.socket, count: int) -> None:
        self._wire = wire
        self._count = count
        self._waiting: dict[bytes, int] = {}
        self._pool = [questions(router, count) for router in range(POOL)]
        self._routers = deque(self._pool[:ROUTERS])
        self._next_router = ROUTERS
        self._place = 0
        self.asked = self.answered = self.unexpected = 0

    def ask(self, number: int) -> int:
        """Ask so many questions, each of another router; return how many the kernel took."""
        waiting = self._waiting
        for done in range(number):
            self._place += 1
            frame, key = self._routers[self._place % ROUTERS][self._place // ROUTERS % self._count]
            try:
                self._wire.send(frame)
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.EAGAIN):
                    raise
                return done
            self.asked += 1
            waiting[key] = waiting.get(key, 0) + 1
        return number

    def replace_a_router(self) -> None:
        """Have one router go and another come."""
        self._routers.popleft()
        self._routers.append(self._pool[self._next_router % POOL])
        self._next_router += 1

    def hear(self) -> None:
        """Take all answers that have come."""
        waiting, receive = self._waiting, self._wire.recv
        while True:
            try:
                frame = receive(2048)
            except BlockingIOError:
                return
            if frame[:2] != STATION or len(frame) != 86 or frame[54] != 136:
                continue
            key = frame[:6] + frame[62:78]
            left = waiting.pop(key, 0) - 1
            if left < 0:
                self.unexpected += 1
                continue
            self.answered += 1
            if left:
                waiting[key] = left

    @property
    def lost(self) -> int:
        """How many questions have no answer."""
        return sum(self._waiting.values())


def main() -> None:
    interface, rate, count = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    stop: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    with open_socket(interface) as wire:
        asking = Asking(wire, count)
        print("ready", flush=True)
        start_s = at_s = time.monotonic()
        due_from_s, replaced_s = at_s, at_s
        while not stop:
            at_s = time.monotonic()
            due_from_s = max(due_from_s, at_s - LAG_MAX_S)
            due_from_s += asking.ask(min(BATCH, int((at_s - due_from_s) * rate))) / rate
            asking.hear()
            if at_s - replaced_s > STAY_S / ROUTERS:
                replaced_s = at_s
                asking.replace_a_router()
            if (at_s - due_from_s) * rate < BATCH // 4:
                select.select([wire], [], [], 0.0005)
        end_s = at_s + SETTLE_S
        while asking.lost and time.monotonic() < end_s:
            select.select([wire], [], [], 0.1)
            asking.hear()
        statistics = wire.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
    report = {
        "seconds": at_s - start_s,
        "asked": asking.asked,
        "answered": asking.answered,
        "unexpected": asking.unexpected,
        "lost": asking.lost,
        "missed": struct.unpack("=II", statistics)[1],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
