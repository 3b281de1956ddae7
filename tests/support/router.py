"""A router that asks again and again at the far end of a wire. Import it as `from router import Router`."""

import time

from frames import lladdr, solicitation
from peer import Peer

from ndpresponder.lab import Namespace
from ndpresponder.linux.packet.raw import attach_filter
from ndpresponder.wire.classic_bpf import JUMP_IF_EQUAL, LOAD_HALF, LOAD_WORD, RETURN, Instruction
from ndpresponder.wire.filters import WHOLE_FRAME

ROUTER, ROUTER_LLADDR = "fe80::11", "02:00:00:00:00:11"
ASKED_PER_S = 400
ATTEMPTS = 3  # MAX_MULTICAST_SOLICIT, RFC 4861 10


class Router(Peer):
    """A router that asks for its targets again and again, and hears its answers only."""

    def __init__(self, namespace: Namespace, address: str = ROUTER, station: str = ROUTER_LLADDR) -> None:
        super().__init__(namespace, "far0")
        self.address, self.station = address, station
        octets = lladdr(station)
        program = (
            Instruction(LOAD_WORD, 0, 0, 0),
            Instruction(JUMP_IF_EQUAL, 0, 3, int.from_bytes(octets[:4], "big")),
            Instruction(LOAD_HALF, 0, 0, 4),
            Instruction(JUMP_IF_EQUAL, 0, 1, int.from_bytes(octets[4:], "big")),
            Instruction(RETURN, 0, 0, WHOLE_FRAME),
            Instruction(RETURN, 0, 0, 0),
        )
        attach_filter(self.socket, program)

    def question(self, target: str = "2001:db8::c1", destination: str | None = None) -> bytes:
        return solicitation(target, self.address, destination, ethernet_source=self.station)

    def go_on_asking(self, count: int, per_s: float = ASKED_PER_S, probe: bool = False) -> int:
        """Ask `count` times at the router's rate for one of some targets; return how often it was answered."""
        targets = [f"2001:db8::c{number}" for number in range(8)]
        questions = [self.question(target, target if probe else None) for target in targets]
        answered = 0
        for number in range(count):
            self.send(questions[number % len(questions)])
            answered += sum(1 for _ in self.advertisements(1 / per_s))
        while answered < count and self.collect(1, deadline_s=1):
            answered += 1
        return answered

    def resolve(self, target: str = "2001:db8::c1", retransmit_s: float = 1.0) -> float | None:
        """Ask as RFC 4861 7.2.2 has it, once a second; return after how long it was answered, None if it was not."""
        began_s = time.monotonic()
        for _ in range(ATTEMPTS):
            self.send(self.question(target))
            if self.collect(1, deadline_s=retransmit_s):
                return time.monotonic() - began_s
        return None
