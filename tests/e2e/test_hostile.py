"""What strangers send at full speed, and what a person may get wrong: nothing of it harms, or ends in a traceback."""

import random
import socket
from collections.abc import Iterator

import pytest
from daemon_process import COMMAND, Installed, clean_environment, total
from frames import TARGET, advertisement, internet_checksum, option, packed, solicitation, tagged
from peer import Flood, Peer, Wire, seconds_until
from requirements import require

from ndpresponder.lab import wait_until

PREFIX = "2001:db8::/112"
FLAGS = ("-i", "up0", "-n", PREFIX)
FRAMES = 4000
ENOUGH = 250_000
GROWTH_KB = 3000
QUESTIONS = 16
VALID = [
    solicitation(),
    solicitation(source="::"),
    solicitation(destination=TARGET),
    solicitation(slla=None),
    solicitation("2001:db8:1::c1"),
    solicitation(options=option(14, b"noncen") + option(11, bytes(300))),
]


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    require("ip")
    with Wire("hostile") as wire:
        yield wire


@pytest.fixture(scope="module")
def daemon(wire, fastpath) -> Iterator[Installed]:
    with Installed(wire.near, *FLAGS, *fastpath.flags()) as daemon:
        yield daemon


def noise(chance: random.Random) -> bytes:
    """Return random octets behind the EtherType."""
    return solicitation()[:14] + chance.randbytes(chance.choice([41, 63, 64, 72, 176, 400, 1500]))


def passing(frame: bytes) -> bytes:
    """Make a frame pass the kernel's filter, which is to see nothing but a solicitation."""
    frame = frame.ljust(55, b"\0")
    return frame[:12] + b"\x86\xdd" + frame[14:20] + b"\x3a" + frame[21:54] + b"\x87" + frame[55:]


def mutated(chance: random.Random) -> bytes:
    """Return a valid frame with a few octets changed, cut or added, its checksum mended in half of the cases."""
    frame = bytearray(chance.choice(VALID))
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(frame))
        match chance.randrange(4):
            case 0:
                frame[place] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
            case 1:
                del frame[place : place + chance.randrange(1, 9)]
            case 2:
                frame[place:place] = chance.randbytes(chance.randrange(1, 9))
            case 3:
                frame[place] ^= 1 << chance.randrange(8)
        if not frame:
            break
    mended = bytearray(passing(bytes(frame)))
    length = int.from_bytes(mended[18:20], "big")
    if chance.random() < 0.5 and 4 <= length <= len(mended) - 54:
        mended[56:58] = bytes(2)
        message = bytes(mended[54 : 54 + length])
        mended[56:58] = internet_checksum(bytes(mended[22:38]), bytes(mended[38:54]), message).to_bytes(2, "big")
    return bytes(mended)


def stranger(chance: random.Random) -> bytes:
    """Return a valid solicitation from a requester that is never seen again, for some target."""
    return solicitation(
        packed("2001:db8::")[:12] + chance.randrange(1 << 17).to_bytes(4, "big"),
        source=f"fe80::{chance.randrange(1 << 16):x}:{chance.randrange(1 << 16):x}",
        ethernet_source=b"\x02" + chance.randbytes(5),
    )


def tag(chance: random.Random) -> bytes:
    return tagged(chance.choice(VALID), vid=chance.randrange(4096), priority=chance.randrange(8))


FLOODS = {
    "random octets": lambda chance: passing(noise(chance)),
    "mutations of valid frames": mutated,
    "ever new requesters": stranger,
    "tags": tag,
}


def check_answer(frame: bytes) -> None:
    """Fail unless a frame is an advertisement as it should be, whoever it is for."""
    target = frame[62:78]
    assert len(frame) == 86
    assert target == frame[22:38]
    assert target[:14] == packed("2001:db8::")[:14]
    assert internet_checksum(target, frame[38:54], frame[54:]) == 0
    flags = {"solicited": False} if frame[38] == 0xFF else {}
    assert frame == advertisement(target, frame[38:54], ethernet_destination=frame[:6], **flags)


def is_served(peer: Peer) -> bool:
    """Tell whether user space answers all: nothing is held back any more because of a flood in the same name."""
    peer.drain()
    peer.send(*[solicitation(options=option(14, b"noncen"))] * QUESTIONS)  # what no fast path answers
    return len(peer.collect(QUESTIONS, deadline_s=0.2)) == QUESTIONS


@pytest.mark.parametrize("make", FLOODS.values(), ids=FLOODS)
def test_every_frame_is_counted_and_a_flood_leaves_no_trace(wire, daemon, peer, make):
    chance = random.Random(1)  # the same frames each time
    frames = [make(chance)[:1514] for _ in range(FRAMES)]
    counted = daemon.caused(lambda: peer.send(*frames), FRAMES)
    assert (total(counted, "received"), total(counted, "drops")) == (FRAMES, 0)
    before = total(daemon.counters(), "received")
    with Flood(wire.far, frames):
        wait_until(lambda: total(daemon.counters(), "received") - before > ENOUGH / 2, 30, "half of the flood")
        memory = daemon.rss_kb()
        wait_until(lambda: total(daemon.counters(), "received") - before > ENOUGH, 30, "the flood")
        daemon.check_sums()
    assert daemon.rss_kb() - memory < GROWTH_KB
    assert "Traceback" not in daemon.log()
    for answer in peer.advertisements(0):
        check_answer(answer)
    peer.await_answer()
    wait_until(lambda: is_served(peer), 5, "all to be answered")
    seconds_until(lambda: peer.ask(solicitation()) == [advertisement()], 5)  # what was queued is answered first
    daemon.check_sums()


def test_a_scan_does_not_flood_the_log(daemon, peer):
    peer.send(*(solicitation(f"2001:db8::{number:x}") for number in range(0x4000, 0x4000 + 5000)))
    peer.await_answer()
    before = len(daemon.log().splitlines())
    peer.send(*(solicitation(f"2001:db8::{number:x}") for number in range(0x8000, 0x8000 + 5000)))
    peer.await_answer()
    assert len(daemon.log().splitlines()) - before < 20


def test_debug_logging_under_a_flood_is_limited_too(wire):
    with Installed(wire.near, *FLAGS, "--log-level", "debug") as daemon, Flood(wire.far, VALID):
        wait_until(lambda: total(daemon.counters(), "received") > 5000, 30, "the flood")
        assert len(daemon.log().splitlines()) < 300
        assert "suppressed=" in daemon.log()


WRONG = {
    "not Ethernet": (["-i", "lo", "-n", PREFIX], 78, "'lo' is not Ethernet"),
    "not Ethernet among others": (["-n", f"{PREFIX}@up0", "-n", "2001:db8:1::/64@lo"], 78, "'lo' is not Ethernet"),
    "host bits": (["-i", "up0", "-n", "2001:db8::1/112"], 78, "2001:db8::/112"),
    "everything": (["-i", "up0", "-n", "::/0"], 78, "::/0"),
    "link-local": (["-i", "up0", "-n", "fe80::/64"], 78, "link-local"),
    "multicast": (["-i", "up0", "-n", "ff02::/64"], 78, "multicast"),
    "no such directory": ([*FLAGS, "-m", "unix:/nonexistent/metrics"], 71, "/nonexistent/metrics"),
    "a port in use": ([*FLAGS, "-m", "127.0.0.1:9846"], 71, "127.0.0.1:9846"),
    "no prefix": (["-i", "up0"], 78, "prefix"),
}


@pytest.mark.parametrize(("flags", "code", "says"), WRONG.values(), ids=WRONG)
def test_a_mistake_ends_in_a_message_and_its_exit_code(wire, flags, code, says):
    with wire.near.enter():
        taken = socket.create_server(("127.0.0.1", 9846))
    with taken:
        check_refusal(wire, [COMMAND, *flags], code, says)


def check_refusal(wire: Wire, argv: list[str], code: int, says: str) -> None:
    environment = [f"{name}={value}" for name, value in clean_environment().items()]
    ended = wire.near.run("env", "-i", *environment, *argv, check=False)
    assert (code, "") == (ended.returncode, ended.stdout), ended.stderr
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_the_capability_it_says_which_and_how(wire):
    without = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", COMMAND, *FLAGS]
    check_refusal(wire, without, 77, "CAP_NET_RAW")
    check_refusal(wire, without, 77, "AmbientCapabilities=CAP_NET_RAW")
