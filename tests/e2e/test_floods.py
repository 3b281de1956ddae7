"""Scans, made-up requesters and malformed frames, as fast as they can be sent (RFC 6583), while a router asks.

The router was there before, asks at its modest rate, and is answered; memory is flat, the log is quiet, and every frame
that was sent is counted once.
"""

import contextlib
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from daemon_process import ATTEMPTS, Installed, total
from frames import option, packed, solicitation
from peer import Flood, Wire
from requirements import require
from router import Router

from ndpresponder.lab import wait_until
from ndpresponder.linux.packet.ring import SLOTS
from ndpresponder.outcome import Outcome

PREFIX = "2001:db8::/64"
FLAGS = ("-i", "up0", "-n", PREFIX, "--log-format", "logfmt")
STRANGER, STRANGER_LLADDR = "fe80::666", "02:00:00:00:06:66"
ASKED = 1200
ANSWERED = 0.999
GROWTH_KB = 2000
PAUSES, PAUSE_S, PAUSED = 5, 0.1, 40  # a host takes a processor away for that long
GREETINGS = 64  # first answers that are logged at once, before it is one a second
FRAMES = 10_000


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    require("ip")
    with Wire("floods") as wire:
        yield wire


@pytest.fixture
def own_wire() -> Iterator[Wire]:
    """Return a wire on which the other tests' daemon does not answer too."""
    require("ip")
    with Wire("floods-own") as wire:
        yield wire


@pytest.fixture
def router(wire) -> Iterator[Router]:
    with Router(wire.far) as router:
        yield router


@pytest.fixture(scope="module")
def daemon(wire) -> Iterator[Installed]:
    with Installed(wire.near, *FLAGS) as daemon:
        daemon.go_first()
        yield daemon


def random_target(chance: random.Random, prefix: str = "2001:db8::") -> bytes:
    return packed(prefix)[:8] + chance.randbytes(8)


def scan(chance: random.Random, prefix: str) -> bytes:
    return solicitation(random_target(chance, prefix), STRANGER, ethernet_source=STRANGER_LLADDR)


def spoofed(chance: random.Random) -> bytes:
    source = packed("fe80::")[:8] + chance.randbytes(8)
    return solicitation(random_target(chance), source, ethernet_source=b"\x02" + chance.randbytes(5))


def malformed(chance: random.Random) -> bytes:
    wrong = chance.choice(
        [
            {"hop_limit": 64},
            {"checksum": 1},
            {"code": 1},
            {"payload_length": 16},
            {"slla": None, "options": b"\x0e\x00" + bytes(6)},
            {"options": option(14, chance.randbytes(6)), "checksum": chance.randrange(1 << 16)},
            {"ethernet_destination": "33:33:00:00:00:01", "destination": "ff02::1"},
        ]
    )
    return solicitation(random_target(chance), STRANGER, ethernet_source=STRANGER_LLADDR, **wrong)


FLOODS = {
    "a scan of our /64": lambda chance: scan(chance, "2001:db8::"),
    "a scan of another /64": lambda chance: scan(chance, "2001:db8:0:1::"),
    "ten thousand requesters": spoofed,
    "malformed frames": malformed,
}


def lines_by_cause(text: str) -> Counter[tuple[str, ...]]:
    """Count the lines of a log by what they say: the event, and the reason or error in it."""
    fields = (r'event=("[^"]*"|\S+)', r"(?:reason|error)=(\S+)")
    return Counter(tuple("".join(re.findall(field, line)[:1]) for field in fields) for line in text.splitlines())


@pytest.mark.parametrize("make", FLOODS.values(), ids=FLOODS)
def test_in_a_flood_the_router_is_answered_memory_is_flat_and_every_frame_is_counted(wire, daemon, router, make):
    chance = random.Random(6583)  # the same frames each time
    frames = [make(chance) for _ in range(FRAMES)]
    assert router.go_on_asking(16) == 16
    meet(daemon, router, frames)
    shares: list[float] = []
    while not shares or shares[-1] < ANSWERED:
        assert len(shares) < ATTEMPTS, f"answered: {shares}; {daemon.counters()}"
        before, log_before, start_s = daemon.counters(), len(daemon.log()), time.monotonic()
        with Flood(wire.far, frames) as flood:
            await_received(daemon, before, 2 * FRAMES)
            answered = router.go_on_asking(ASKED // 2)
            memory_kb = daemon.rss_kb()
            answered += router.go_on_asking(ASKED // 2)
            growth_kb = daemon.rss_kb() - memory_kb
        shares.append(answered / ASKED)
        await_counted(daemon, before, flood.sent + ASKED)
        assert growth_kb < GROWTH_KB
        seconds = time.monotonic() - start_s
        for cause, count in lines_by_cause(daemon.log()[log_before:]).items():
            assert count <= seconds + 1 + ("first answer" in cause[0]) * GREETINGS, cause
    daemon.check_sums()


def meet(daemon: Installed, router: Router, frames: list[bytes]) -> None:
    """Ask all of that twice, and no faster than it is answered: it fills whatever it can fill."""
    for start in range(0, len(frames), SLOTS // 4):
        before, some = daemon.counters(), frames[start : start + SLOTS // 4]
        router.send(*[frame for frame in some for _ in range(2)])
        await_counted(daemon, before, 2 * len(some))


def await_received(daemon: Installed, before: Counter[str], count: int) -> None:
    """Wait until a flood has come."""
    wait_until(lambda: total(daemon.counters() - before, "received") > count, 10, "the flood to come")


def await_counted(daemon: Installed, before: Counter[str], sent: int) -> None:
    """Wait until each frame that was sent is received, and then answered or ignored, or dropped by the kernel."""

    def counted() -> int:
        counters = daemon.counters() - before
        return total(counters, "received") + counters["drops"]

    with contextlib.suppress(TimeoutError):
        wait_until(lambda: counted() >= sent, 5, "all frames")
    assert counted() == sent
    daemon.check_sums()


def test_what_is_more_than_can_be_answered_is_answered_to_who_is_known(wire, daemon, router):
    strangers = [spoofed(random.Random(number)) for number in range(SLOTS - SLOTS // 4)]
    assert router.go_on_asking(16) == 16
    before = daemon.counters()
    daemon.process.send_signal(signal.SIGSTOP)
    router.send(*strangers, router.question())
    daemon.process.send_signal(signal.SIGCONT)
    assert len(router.collect(1)) == 1
    await_counted(daemon, before, len(strangers) + 1)
    assert overloaded(daemon.counters() - before) > len(strangers) // 2
    router.send(*strangers[:100])
    await_counted(daemon, before, len(strangers) + 101)
    assert total(daemon.counters() - before, "sent") >= 101


def test_a_pause_of_the_daemon_in_a_flood_of_a_known_requester_costs_a_router_no_answer(own_wire):
    scanning = [scan(random.Random(number), "2001:db8::") for number in range(FRAMES)]
    with Installed(own_wire.near, *FLAGS) as daemon, Router(own_wire.far) as router:
        daemon.go_first()
        assert router.go_on_asking(16) == 16
        meet(daemon, router, scanning)
        with Flood(own_wire.far, scanning, at_once=True):
            wait_until(lambda: router.go_on_asking(50) == 50, 10, "the flood to be held back")
            drops = daemon.counters()["drops"]
            for _ in range(PAUSES):
                daemon.process.send_signal(signal.SIGSTOP)
                router.send(*[router.question()] * PAUSED)
                time.sleep(PAUSE_S)
                daemon.process.send_signal(signal.SIGCONT)
                assert len(router.collect(PAUSED)) == PAUSED
                assert router.go_on_asking(50) == 50
        assert daemon.counters()["drops"] - drops > SLOTS, "the pauses were too short for this"


def test_in_a_flood_that_lasts_strangers_go_unread_until_it_is_over(own_wire):
    strangers = [spoofed(random.Random(number)) for number in range(FRAMES)]
    more = strangers * 3

    def go_unread() -> bool:
        """Tell whether nothing is dropped although nobody reads: three times of what the ring holds."""
        begin_flood(daemon, own_wire, strangers)
        before = daemon.counters()
        daemon.process.send_signal(signal.SIGSTOP)
        router.send(*more)
        daemon.process.send_signal(signal.SIGCONT)
        await_counted(daemon, before, len(more))
        return not (daemon.counters() - before)["drops"]

    with Installed(own_wire.near, *FLAGS) as daemon, Router(own_wire.far) as router:
        daemon.go_first()
        wait_until(go_unread, 30, "strangers to go unread")
        wait_until(lambda: router.go_on_asking(16) == 16, 10, "the flood to be over")


def test_who_asks_for_the_first_time_in_a_flood_is_answered_in_the_end(own_wire):
    scanning = [scan(random.Random(number), "2001:db8::") for number in range(FRAMES)]
    with Installed(own_wire.near, *FLAGS) as daemon, Router(own_wire.far) as router:
        daemon.go_first()
        with Flood(own_wire.far, scanning, at_once=True):
            daemon.await_line("in a flood")
            wait_until(lambda: router.go_on_asking(50) == 50, 20, "the router to be known")


def begin_flood(daemon: Installed, wire: Wire, frames: list[bytes]) -> None:
    """Flood until strangers are held back, which they are for a moment after that."""
    before = daemon.counters()
    with Flood(wire.far, frames, at_once=True) as flood:
        wait_until(lambda: overloaded(daemon.counters() - before) > 4 * SLOTS, 10, "the flood to come")
    await_counted(daemon, before, flood.sent)


def overloaded(counters: Counter[str]) -> int:
    return counters[f"ignored {Outcome.OVERLOADED.label}"]


RATE, BURST = 100, 40
PROBES, PROBED_PER_S = 40, 40
LOST_IN_THE_RING = PROBES // 8  # where the machine is so busy that the flood fills it


def test_a_rate_limits_what_a_scan_gets_and_leaves_their_share_to_reachability_probes(own_wire):
    with Router(own_wire.far) as router, Installed(own_wire.near, *FLAGS, "--rate", f"{RATE}/{BURST}") as daemon:
        daemon.go_first()
        start_s = time.monotonic()
        router.send(*[router.question()] * (2 * BURST))
        await_counted(daemon, Counter(), 2 * BURST)
        assert BURST // 2 <= total(daemon.counters(), "sent") <= BURST // 2 + RATE * (time.monotonic() - start_s) + 1
        before, start_s = daemon.counters(), time.monotonic()
        with Flood(own_wire.far, [scan(random.Random(number), "2001:db8::") for number in range(1000)]) as flood:
            wait_until(lambda: (daemon.counters() - before)["ignored rate_limited"] > 1000, 10, "the flood to come")
            router.drain()
            answered = router.go_on_asking(PROBES, PROBED_PER_S, probe=True)
        await_counted(daemon, before, flood.sent + PROBES)
        counted = daemon.counters() - before
        assert answered == counted["received unicast"]
        assert PROBES - LOST_IN_THE_RING * bool(counted["drops"]) <= answered <= PROBES
        assert total(daemon.counters() - before, "sent") <= BURST + RATE * (time.monotonic() - start_s) + 1


def test_debug_logging_says_each_reason_once_a_second(own_wire):
    chance = random.Random(7)
    frames = [make(chance) for make in FLOODS.values() for _ in range(500)]
    with Installed(own_wire.near, *FLAGS, "-l", "debug") as daemon:
        start_s = time.monotonic()
        with Flood(own_wire.far, frames):
            wait_until(lambda: total(daemon.counters(), "received") > 20_000, 20, "the flood")
        seconds = time.monotonic() - start_s
        causes = lines_by_cause(daemon.log())
        assert sum("ignored" in event for event, _ in causes) > 4
        for cause, count in causes.items():
            assert count <= seconds + 1 + ("first answer" in cause[0]) * GREETINGS, cause
