"""Whom the pin believes: the gateway that answers, not who says so unasked, nor a second one that answers as well."""

import os
import select
import signal
import threading
import time
from collections.abc import Callable

import pytest
from daemon_process import Installed
from frames import ROUTER_LLADDR, UPLINK_LLADDR, advertisement, lladdr, packed
from peer import Flood, Peer, Wire

from ndpresponder.lab.topology import wait_until

OWN, GATEWAY, SECOND = "2001:db8:0:0:ffff::2", "2001:db8:0:0:ffff::1", "2001:db8:0:0:ffff::9"
STRANGER_LLADDR = "02:00:00:00:00:66"
SECOND_LLADDR = "02:00:00:00:00:99"
STRANGERS = [f"02:00:00:00:06:{number:02x}" for number in range(4)]
AWAY_S = 0.001
PROBES = 3  # MAX_UNICAST_SOLICIT, RFC 4861 10
ROUNDS = 4
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
        self.solicited = self.probed = 0
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
                self.probed += frame[:6] == lladdr(ROUTER_LLADDR)
                time.sleep(AWAY_S)
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


def test_a_flood_of_solicited_answers_from_four_stations_does_not_crowd_the_gateways_out(wire):
    told = pinned(wire)
    floods = [answer(stranger, override=True) for stranger in STRANGERS]
    with Gateway(wire, answer(ROUTER_LLADDR)) as gateway, Installed(wire.near, *FLAGS) as daemon:
        wait_until(lambda: told() == ROUTER_LLADDR, 5, "the pin")
        with Flood(wire.far, floods, at_once=True):
            for _ in range(ROUNDS):
                solicited = gateway.solicited
                wait_until(lambda before=solicited: gateway.solicited > before, 10, "a solicitation")
                assert told() == ROUTER_LLADDR
        assert told() == ROUTER_LLADDR
        assert not daemon.lines("moved")


def test_of_a_crowd_that_answers_the_station_that_the_kernel_has_confirmed_is_pinned(wire):
    wire.near.ip(f"neighbour replace {GATEWAY} lladdr {ROUTER_LLADDR} dev up0 nud reachable")
    told = pinned(wire)
    answers = [*(answer(stranger) for stranger in STRANGERS), answer(ROUTER_LLADDR)]
    with Gateway(wire, *answers), Installed(wire.near, *FLAGS):
        wait_until(lambda: bool(told()), 5, "the pin")
        assert told() == ROUTER_LLADDR


def test_a_pin_moves_only_after_probes_of_its_station_have_failed_and_that_is_a_warning(wire):
    told = pinned(wire)
    with Gateway(wire, answer(ROUTER_LLADDR)) as gateway, Installed(wire.near, *FLAGS) as daemon:
        wait_until(lambda: told() == ROUTER_LLADDR, 5, "the pin")
        solicited = gateway.solicited
        wait_until(lambda: gateway.probed > 0 and gateway.solicited > solicited, 10, "a probe that is answered")
        gateway.answers, before = (answer(SECOND_LLADDR),), gateway.probed
        wait_until(lambda: told() == SECOND_LLADDR, 15, "the station that is left")
        assert gateway.probed - before >= PROBES
        (line,) = daemon.lines("moved")
        assert "warning" in line.lower() or "WARN" in line
        assert SECOND_LLADDR in line
        assert ROUTER_LLADDR in line


def test_a_link_made_again_at_once_with_the_same_index_is_heard_and_its_gateway_pinned(wire):
    """Nothing that the daemon sees of it differs, but the socket that heard the answers is dead."""
    told = pinned(wire)
    with Installed(wire.near, *FLAGS) as daemon:
        with Gateway(wire) as silent:
            wait_until(lambda: silent.solicited, 5, "a solicitation")
        os.kill(daemon.process.pid, signal.SIGSTOP)
        wire.near.ip("link del up0")
        wire.plug()
        wire.near.ip(f"address add {OWN}/64 dev up0 nodad", f"route add default via {GATEWAY}")
        os.kill(daemon.process.pid, signal.SIGCONT)
        with Gateway(wire, answer(ROUTER_LLADDR)):
            wait_until(lambda: told() == ROUTER_LLADDR, 10, "the pin")
