"""Silence that a setting or the state of the link asks for, each counted under its own reason."""

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from daemon_process import Installed, received_as, total
from frames import TARGET, advertisement, option, solicitation
from peer import Flood, Peer, Wire
from requirements import require

from ndpresponder.lab import wait_until
from ndpresponder.outcome import Outcome

FOREIGN = "2001:db8:1::c1"
CONFIGURATION = """
version = 1
[[interface]]
name = "up0"
prefixes = ["2001:db8::/112"]
[[interface]]
name = "up1"
prefixes = ["2001:db8::/112"]
unicast = "never"
dad = "ignore"
[[interface]]
name = "up2"
prefixes = ["2001:db8::/112", "2001:db8::c2"]
announce = "never"
unicast = "live"
"""
NOISE = [
    advertisement(),
    solicitation(kind=133),
    solicitation(next_header=17),
    solicitation(next_header=44),
    solicitation(ether_type=0x0806),
    solicitation(FOREIGN),
    solicitation(hop_limit=1),
    solicitation(),
]


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    require("ip", "tc")
    with Wire("policy", cables=3) as wire:
        yield wire


@pytest.fixture(scope="module")
def daemon(wire, fastpath, tmp_path_factory) -> Iterator[Installed]:
    file = tmp_path_factory.mktemp("config") / "ndpresponder.toml"
    file.write_text(CONFIGURATION)
    with Installed(wire.near, "--config", str(file), *fastpath.flags(wire)) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def peers(wire, daemon) -> Iterator[list[Peer]]:
    with Peer(wire.far, "far0") as first, Peer(wire.far, "far1") as second, Peer(wire.far, "far2") as third:
        yield [first, second, third]


POLICIES = {
    "unicast never": (1, solicitation(destination=TARGET), Outcome.UNICAST_POLICY),
    "unicast live, of a claimed target": (2, solicitation(destination=TARGET), Outcome.UNICAST_POLICY),
    "dad ignore": (1, solicitation(source="::"), Outcome.DAD_POLICY),
}


@pytest.mark.parametrize(("number", "frame", "reason"), POLICIES.values(), ids=POLICIES)
def test_is_silent_as_configured(daemon, peers, number, frame, reason):
    answers: list[bytes] = []
    counted = daemon.caused(lambda: answers.extend(peers[number].ask(frame)), frames=2, interface=f"up{number}")
    assert not answers
    marker = Counter(["received multicast", "sent solicited"])
    assert counted == marker + Counter([received_as(frame), f"ignored {reason.label}"])


def test_a_link_that_carries_frames_but_is_not_up_is_silent(wire, daemon, peers):
    wire.near.ip("link set up1 mode dormant state dormant")  # as a link before 802.1X: frames come, IFF_RUNNING is off
    try:
        daemon.await_line("interface is down")
        counted = daemon.caused(lambda: peers[1].send(solicitation()), frames=1, interface="up1")
        assert counted == Counter(["received multicast", "ignored not_ready"])
        assert not peers[1].collect(1, 0)
    finally:
        wire.near.ip("link set up1 mode default state up")
    peers[1].await_answer()


def test_what_the_kernel_refuses_to_send_is_counted_as_that(wire, daemon, peers):
    left_to_us = solicitation(options=option(14, b"noncen"))  # by the fast path, which does not see what is refused
    wire.near.run("tc", "qdisc", "add", "dev", "up2", "root", "pfifo", "limit", "0")
    try:
        counted = daemon.caused(lambda: peers[2].send(*[left_to_us] * 10), frames=10, interface="up2")
    finally:
        wire.near.run("tc", "qdisc", "del", "dev", "up2", "root")
    assert counted == Counter({"received multicast": 10, "ignored send_failed": 10, "errors ENOBUFS": 10})
    assert [advertisement()] == peers[2].ask(solicitation())
    assert daemon.lines("refused to send")


def test_dry_run_decides_and_counts_and_sends_nothing(wire, peers):
    with Installed(wire.near, "-i", "up1", "-n", "2001:db8::/112", "--dad", "defend", "--dry-run") as daemon:
        peers[1].drain()
        frames = [solicitation(source="::"), solicitation(FOREIGN)]  # the other daemon ignores both on this link
        counted = daemon.caused(lambda: peers[1].send(*frames), frames=2, interface="up1")
        assert counted == Counter(["received dad", "received multicast", "ignored dry_run", "ignored not_ours"])
        assert not peers[1].collect(1, 0)


def test_the_rate_limit_holds_back_what_is_over_and_counts_it():
    burst, kept = 6, 3  # for reachability probes, whatever else is asked
    with (
        Wire("rated") as rated,
        Peer(rated.far) as peer,
        Installed(rated.near, "-i", "up0", "-n", "2001:db8::/112", "-r", f"1/{burst}") as daemon,
    ):
        start_s = time.monotonic()
        for frame, least in (solicitation(), burst - kept), (solicitation(destination=TARGET), kept):
            counted = daemon.caused(lambda frame=frame: peer.send(*[frame] * 40), frames=40)
            answers = peer.collect(40, 0)
            earned = time.monotonic() - start_s + 1  # a slow machine has time to earn more
            assert least <= len(answers) <= least + earned
            assert set(answers) == {advertisement()}
            assert counted == Counter(
                {
                    received_as(frame): 40,
                    "sent solicited": len(answers),
                    "ignored rate_limited": 40 - len(answers),
                }
            )


def test_nothing_is_answered_or_counted_wrongly_while_starting_under_a_flood():
    with (
        Wire("flood") as wire,
        Peer(wire.far) as peer,
        Flood(wire.far, NOISE) as flood,
        Installed(wire.near, "-i", "up0", "-n", "2001:db8::/112") as daemon,
    ):
        wait_until(lambda: total(daemon.counters(), "received") > 3000, 10, "three thousand frames")
        answers = peer.collect(1000)
        flood.stop()
        peer.await_answer()  # what the flood left in the ring comes before it; what is not ours was counted at once
        counted = daemon.counters()
    assert set(answers) == {advertisement()}
    # what was not judged, for want of room or of time, may have been any of them
    unjudged = counted.pop("drops", 0) + counted.pop("ignored overloaded", 0)
    assert set(counted) == {"received multicast", "sent solicited", "ignored not_ours", "ignored bad_hop_limit"}
    # each round of the flood has one of each
    assert abs(counted["sent solicited"] - counted["ignored not_ours"]) <= 2 + unjudged
    assert abs(counted["ignored bad_hop_limit"] - counted["ignored not_ours"]) <= 1 + unjudged
