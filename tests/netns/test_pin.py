"""Whom the pin believes: the gateway that answers, not who says so unasked, nor a second one that answers as well."""

import select
import threading
from collections.abc import Callable

import pytest
from frames import ROUTER_LLADDR, UPLINK_LLADDR, advertisement, packed
from harness import Installed
from peer import Peer, Wire

from ndpresponder.lab.topology import wait_until

OWN, GATEWAY, SECOND = "2001:db8:0:0:ffff::2", "2001:db8:0:0:ffff::1", "2001:db8:0:0:ffff::9"
STRANGER_LLADDR = "02:00:00:00:00:66"
FLAGS = ("-i", "up0", "-n", "2001:db8::/112", "--pin-gateway")


@pytest.fixture
def wire(wire) -> Wire:
    wire.near.ip(f"address add {OWN}/64 dev up0 nodad", f"route add default via {GATEWAY}")
    return wire


class Gateway:
    """Answers every solicitation for the gateway with the frames given, while the context is open."""

    def __init__(self, wire: Wire, *answers: bytes) -> None:
        self._peer = Peer(wire.far)
        self.answers = answers
        self.solicited = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._answer)

    def __enter__(self) -> "Gateway":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._peer.__exit__(None, None, None)

    def say(self, frame: bytes) -> None:
        self._peer.send(frame)

    def _answer(self) -> None:
        while not self._over.is_set():
            if not select.select([self._peer.socket], [], [], 0.02)[0]:
                continue
            frame = self._peer.socket.recv(2048)
            if frame[12:14] == b"\x86\xdd" and frame[22:38] == packed(OWN) and frame[54] == 135:
                self.solicited += frame[62:78] == packed(GATEWAY)
                self._peer.send(*self.answers)


def answer(station: str, destination: str = OWN, **flags: bool) -> bytes:
    return advertisement(
        GATEWAY, destination, ethernet_source=station, ethernet_destination=UPLINK_LLADDR, router=True, **flags
    )


def pinned(wire: Wire) -> Callable[[], str]:
    """Return what tells the link-layer address that the gateway is pinned to."""

    def told() -> str:
        shown = wire.near.run("ip", "-6", "neigh", "show", GATEWAY, "nud", "permanent", "dev", "up0").stdout.split()
        return shown[shown.index("lladdr") + 1] if "lladdr" in shown else ""

    return told


def test_what_is_said_unasked_is_not_believed_but_makes_it_ask(wire):
    told = pinned(wire)
    with Gateway(wire, answer(ROUTER_LLADDR)) as gateway, Installed(wire.near, *FLAGS):
        wait_until(lambda: told() == ROUTER_LLADDR, 5, "the pin")
        for stranger in (
            answer(STRANGER_LLADDR, solicited=False),
            answer(STRANGER_LLADDR, "ff02::1", solicited=False, override=True),
            answer(STRANGER_LLADDR, SECOND),
        ):
            solicited = gateway.solicited
            gateway.say(stranger)
            wait_until(lambda before=solicited: gateway.solicited > before, 2, "a solicitation")
            assert told() == ROUTER_LLADDR


def test_a_second_station_that_answers_as_well_does_not_take_over(wire):
    told = pinned(wire)
    with Gateway(wire, answer(ROUTER_LLADDR)) as gateway, Installed(wire.near, *FLAGS) as daemon:
        wait_until(lambda: told() == ROUTER_LLADDR, 5, "the pin")
        gateway.answers = (answer(STRANGER_LLADDR), answer(ROUTER_LLADDR))
        solicited = gateway.solicited
        wait_until(lambda: gateway.solicited > solicited + 1, 10, "two rounds")
        assert told() == ROUTER_LLADDR
        assert len(daemon.lines("gateway pinned")) == 1
        gateway.answers = (answer(STRANGER_LLADDR),)
        wait_until(lambda: told() == STRANGER_LLADDR, 10, "the one that is left")


def test_a_silent_gateway_is_asked_every_second_and_no_more(wire):
    with Gateway(wire) as gateway, Installed(wire.near, *FLAGS) as daemon:
        wait_until(lambda: gateway.solicited >= 3, 5, "three solicitations")
        assert pinned(wire)() == ""
        assert daemon.is_alive()
        assert gateway.solicited <= 4
