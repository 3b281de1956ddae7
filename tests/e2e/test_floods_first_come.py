"""Strangers who ask before the gateway does, flood in its name, or go on through a restart do not take its answers."""

import random
import signal
from collections.abc import Callable, Iterator

import pytest
from daemon_process import ATTEMPTS, Installed
from frames import packed, solicitation
from peer import Flood, Wire
from requirements import require
from router import ROUTER, ROUTER_LLADDR, Router

from ndpresponder.lab import wait_until
from ndpresponder.linux.packet.ring import SLOTS
from ndpresponder.outcome import Outcome

OWN, GLOBAL = "2001:db8:0:0:ffff::2", "2001:db8:0:0:ffff::1"
FLAGS = ("-i", "up0", "-n", "2001:db8::/64", "--log-format", "logfmt")
ASKED = 1200
ANSWERED = 0.999
FRAMES = 10_000
NEW_ROUTERS = 3
FLOOD = SLOTS * 4  # frames that are held back: it is one


def random_target(chance: random.Random) -> bytes:
    return packed("2001:db8::")[:8] + chance.randbytes(8)


def stations(count: int) -> Callable[[], list[bytes]]:
    def made_up() -> list[bytes]:
        """Frames of so many stations, each with a source of its own."""
        chance = random.Random(count)
        return [
            solicitation(
                random_target(chance),
                packed("fe80::bad:0:0")[:12] + (number % count).to_bytes(4, "big"),
                ethernet_source=b"\x02\xbb" + (number % count).to_bytes(4, "big"),
            )
            for number in range(max(FRAMES, 2 * count))
        ]

    return made_up


def gateways_address() -> list[bytes]:
    chance = random.Random(2)
    return [
        solicitation(random_target(chance), ROUTER, ethernet_source=b"\x02" + chance.randbytes(5))
        for _ in range(FRAMES)
    ]


def gateways_station() -> list[bytes]:
    chance = random.Random(3)
    return [
        solicitation(random_target(chance), packed("fe80::")[:8] + chance.randbytes(8), ethernet_source=ROUTER_LLADDR)
        for _ in range(FRAMES)
    ]


def gateways_address_and_station() -> list[bytes]:
    chance = random.Random(4)
    return [solicitation(random_target(chance), ROUTER, ethernet_source=ROUTER_LLADDR) for _ in range(FRAMES)]


FIRST = {
    "80 stations": stations(80),
    "4,200 stations": stations(4200),
    "ten thousand stations": stations(10_000),
    "the gateway's IPv6 address": gateways_address,
    "the gateway's link-layer address": gateways_station,
    "the gateway's address and link-layer address": gateways_address_and_station,
}


MADE_UP = {name: FIRST[name] for name in ("80 stations", "4,200 stations")}
RESTARTED = {name: FIRST[name] for name in ("4,200 stations", "the gateway's IPv6 address")}


@pytest.fixture
def wire() -> Iterator[Wire]:
    require("ip")
    with Wire("first") as wire:
        wire.near.ip(
            f"route add default via {ROUTER} dev up0",
            f"neighbour replace {ROUTER} lladdr {ROUTER_LLADDR} dev up0 nud reachable",
        )
        yield wire


def ask_twice(daemon: Installed, router: Router, frames: list[bytes]) -> None:
    """Ask all of that twice, no faster than it is answered."""
    for start in range(0, len(frames), SLOTS // 4):
        some = frames[start : start + SLOTS // 4]
        for _ in range(2):
            before = daemon.counters()
            router.send(*some)
            wait_until(lambda before=before, some=some: received(daemon, before) >= len(some), 5, "them to be answered")


def received(daemon: Installed, before) -> int:
    counters = daemon.counters() - before
    return sum(count for name, count in counters.items() if name.startswith("received")) + counters["drops"]


def overloaded(daemon: Installed) -> int:
    return daemon.counters()[f"ignored {Outcome.OVERLOADED.label}"]


@pytest.fixture
def global_gateway(wire) -> None:
    """Have the default route lead to another address of the router than the one from which it asks."""
    wire.near.ip(
        f"address add {OWN}/64 dev up0 nodad",
        f"route replace default via {GLOBAL} dev up0",
        f"neighbour delete {ROUTER} dev up0",
        f"neighbour replace {GLOBAL} lladdr {ROUTER_LLADDR} dev up0 nud reachable",
    )


@pytest.mark.usefixtures("global_gateway")
@pytest.mark.parametrize("make", MADE_UP.values(), ids=MADE_UP)
def test_a_confirmed_gateway_that_asks_from_another_address_keeps_its_answers_too(wire, make):
    keep_answers(wire, make())


@pytest.mark.parametrize("make", FIRST.values(), ids=FIRST)
def test_the_confirmed_gateway_keeps_its_answers_from_strangers_who_came_first(wire, make):
    keep_answers(wire, make())


def keep_answers(wire: Wire, frames: list[bytes]) -> None:
    """Flood with frames that were asked before the gateway asked for anything; fail if that one misses any answer."""
    with Installed(wire.near, *FLAGS) as daemon, Router(wire.far) as router:
        daemon.go_first()
        ask_twice(daemon, router, frames)
        shares: list[float] = []
        while not shares or shares[-1] < ANSWERED:
            assert len(shares) < ATTEMPTS, f"answered: {shares}; {daemon.counters()}"
            before = overloaded(daemon)
            with Flood(wire.far, frames, at_once=True):
                wait_until(lambda before=before: overloaded(daemon) - before > FLOOD, 10, "the flood to come")
                shares.append(router.go_on_asking(ASKED) / ASKED)


@pytest.mark.parametrize("case", FIRST)
def test_a_new_router_is_answered_within_its_three_attempts(wire, case):
    frames = FIRST[case]()
    with Installed(wire.near, *FLAGS) as daemon, Router(wire.far) as first:
        daemon.go_first()
        ask_twice(daemon, first, frames)
        tried: list[list[float | None]] = []
        while not tried or None in tried[-1]:
            assert len(tried) < ATTEMPTS, f"answered after {tried} s; {daemon.counters()}"
            before = overloaded(daemon)
            with Flood(wire.far, frames, at_once=True):
                wait_until(lambda before=before: overloaded(daemon) - before > FLOOD, 10, "the flood to come")
                tried.append([resolve(wire, 16 * len(tried) + number) for number in range(NEW_ROUTERS)])


def resolve(wire: Wire, number: int) -> float | None:
    """Return after how long a router that is new here was answered."""
    with Router(wire.far, f"fe80::22:{number:x}", f"02:00:00:00:22:{number:02x}") as router:
        return router.resolve()


@pytest.mark.parametrize("make", RESTARTED.values(), ids=RESTARTED)
def test_the_confirmed_gateway_keeps_its_answers_over_an_upgrade_in_the_midst_of_a_flood(wire, make):
    frames = make()
    with Installed(wire.near, *FLAGS) as daemon, Router(wire.far) as router:
        daemon.go_first()
        ask_twice(daemon, router, frames)
        shares: list[float] = []
        while not shares or shares[-1] < ANSWERED:
            assert len(shares) < ATTEMPTS, f"answered: {shares}; {daemon.counters()}"
            before, upgrades = overloaded(daemon), len(daemon.lines("replaced by the installed version"))
            with Flood(wire.far, frames, at_once=True):
                wait_until(lambda before=before: overloaded(daemon) - before > FLOOD, 10, "the flood to come")
                answered = router.go_on_asking(ASKED // 4)
                daemon.process.send_signal(signal.SIGUSR2)
                while len(daemon.lines("replaced by the installed version")) == upgrades:
                    answered += router.go_on_asking(ASKED // 40) - ASKED // 40
                answered += router.go_on_asking(ASKED)
            shares.append(answered / (ASKED + ASKED // 4))
