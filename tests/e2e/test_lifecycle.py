"""The daemon and its uplinks: whatever happens to a link, it answers again as soon as it can, and never ends of it."""

import time
from collections.abc import Callable, Iterator

import pytest
from daemon_process import COMMAND, FOLLOW_DEADLINE_S, Installed, within
from frames import TARGET, advertisement, lladdr, solicitation
from peer import Peer, Wire, await_running, seconds_until
from requirements import require

from ndpresponder.lab import wait_until

PREFIX = "2001:db8::/112"
FLAGS = ("-i", "up0", "-n", PREFIX)
OTHER_LLADDR = "02:00:00:00:00:99"


@pytest.fixture
def daemon(wire, fastpath) -> Iterator[Installed]:
    with Installed(wire.near, *FLAGS, *fastpath.flags()) as daemon:
        yield daemon


@pytest.fixture
def peer(daemon, peer) -> Peer:
    peer.await_answer()
    return peer


def until_answered(wire: Wire, peer: Peer, target: str = TARGET, interface: str = "up0") -> float:
    """Return how long after frames pass `target` is answered."""
    await_running(wire.near, interface)
    peer.drain()
    start = time.monotonic()
    peer.await_answer(target)
    return time.monotonic() - start


def test_it_is_ready_and_quiet_while_the_uplink_does_not_exist(fastpath):
    with Wire("absent", cables=0) as wire, Installed(wire.near, *FLAGS, *fastpath.flags()) as daemon:
        daemon.scrape()
        before = daemon.cpu_s()
        with pytest.raises(TimeoutError):
            daemon.await_line("answering", deadline_s=2)
        assert daemon.cpu_s() - before <= 0.03
        (line,) = daemon.lines("waiting for the interface")
        assert "level=warning" in line
        assert "interface=up0" in line


def test_an_uplink_that_comes_later_is_answered_at_once(fastpath):
    with Wire("later", cables=0) as wire, Installed(wire.near, *FLAGS, *fastpath.flags()) as daemon:
        pairs = iter(range(1, 20))

        def come_and_go() -> float:
            wire.plug(0, next(pairs))
            with Peer(wire.far) as peer:
                taken = until_answered(wire, peer)
            wire.near.ip("link del up0")
            return taken

        within(FOLLOW_DEADLINE_S, come_and_go)
        assert daemon.lines("answering")


def test_down_and_up_is_answered_at_once(wire, daemon, peer):
    def down_and_up() -> float:
        wire.near.ip("link set up0 down", "link set up0 up")
        return until_answered(wire, peer)

    within(FOLLOW_DEADLINE_S, down_and_up)


def test_staying_down_is_said_once_and_costs_nothing(wire, daemon, peer):
    wire.near.ip("link set up0 down")
    daemon.await_line("interface is down")
    before = daemon.cpu_s()
    with pytest.raises(TimeoutError):
        daemon.await_line("interface is up", deadline_s=1)
    assert daemon.cpu_s() - before <= 0.03
    wire.near.ip("link set up0 up")
    daemon.await_line("interface is up")
    peer.await_answer()
    assert len(daemon.lines("interface is down")) == 1


def test_a_router_that_goes_and_comes_is_answered_at_once(wire, daemon, peer):
    def unplug_and_plug() -> float:
        wire.far.ip("link set far0 down")
        daemon.await_line("interface is down")
        wire.far.ip("link set far0 up")
        return until_answered(wire, peer)

    within(FOLLOW_DEADLINE_S, unplug_and_plug)


def test_a_link_made_again_with_another_index_is_answered_at_once(wire, daemon):
    pairs = iter(range(11, 30))

    def remake() -> float:
        wire.near.ip("link del up0")
        wire.plug(0, next(pairs))
        with Peer(wire.far) as peer:
            return until_answered(wire, peer)

    within(FOLLOW_DEADLINE_S, remake)


def test_a_macvlan_made_again_is_answered_at_once(wire, fastpath):
    require("ip")
    wire.near.ip("link set up0 down", "link set up0 name nic", "link set nic up")
    make = f"link add up0 link nic address {OTHER_LLADDR} type macvlan mode vepa"
    wire.near.ip(make, "link set up0 up")
    with Installed(wire.near, *FLAGS, *fastpath.flags()) as daemon, Peer(wire.far) as peer:
        peer.await_answer()
        daemon.scrape()
        descriptors = daemon.descriptors()

        def remake() -> float:
            wire.near.ip("link del up0", make, "link set up0 up")
            return until_answered(wire, peer)

        within(FOLLOW_DEADLINE_S, remake)
        assert peer.await_answer()[6:12] == lladdr(OTHER_LLADDR)
        seconds_until(lambda: daemon.descriptors() <= descriptors, 5)


def test_renamed_away_it_is_silent_and_back_it_is_answered_at_once(wire, daemon, peer):
    def away_and_back() -> float:
        gone = len(daemon.lines("waiting for the interface"))
        wire.near.ip("link set up0 down", "link set up0 name away", "link set away up")
        await_running(wire.near, "away")
        wait_until(lambda: len(daemon.lines("waiting for the interface")) > gone, 5, "it to be missed")
        peer.drain()
        peer.send(solicitation())
        wire.near.ip("link set away down", "link set away name up0", "link set up0 up")
        assert not peer.collect(1, 0)
        return until_answered(wire, peer)

    within(FOLLOW_DEADLINE_S, away_and_back)


def test_another_link_may_take_the_name(wire, daemon, peer):
    wire.plug(1)
    wire.near.ip("link set up0 down", "link set up0 name old", "link set old up")
    wire.near.ip(
        "link set up1 down", "link set up1 name up0", f"link set up0 address {OTHER_LLADDR}", "link set up0 up"
    )
    with Peer(wire.far, "far1") as other:
        until_answered(wire, other)
        seconds_until(lambda: other.await_answer()[6:12] == lladdr(OTHER_LLADDR), 5)
    await_running(wire.near, "old")
    peer.drain()
    peer.send(solicitation())
    assert not peer.collect(1, 0.1)


def test_an_alternative_name_is_a_name(wire):
    wire.near.ip("link property add dev up0 altname wan")
    with Installed(wire.near, "-i", "wan", "-n", PREFIX), Peer(wire.far) as peer:
        assert peer.ask(solicitation()) == [advertisement()]


def test_nothing_is_left_open_after_many_changes(wire, daemon, peer):
    daemon.scrape()  # so that metrics are being listened for
    descriptors = daemon.descriptors()
    for number in range(5):
        wire.near.ip("link del up0")
        wire.plug(0, 40 + number % 2)
        with Peer(wire.far) as again:
            again.await_answer()
    seconds_until(lambda: daemon.descriptors() <= descriptors, 5)


def test_each_uplink_answers_for_its_own_prefixes(fastpath):
    with Wire("several", cables=3) as wire:
        flags = ("-n", f"{PREFIX}@up0", "-n", "2001:db8:1::/112@up1", "-n", "2001:db8:2::/112@up2", "-i", "up7")
        own = {0: TARGET, 1: "2001:db8:1::c1", 2: "2001:db8:2::c1"}
        with Installed(wire.near, *flags, "-n", "2001:db8:7::/112@up7", *fastpath.flags()) as daemon:
            for number, target in own.items():
                with Peer(wire.far, f"far{number}") as peer:
                    seconds_until(lambda peer=peer, target=target: bool(peer.await_answer(target)), 5)
                    peer.drain()
                    peer.send(*map(solicitation, own.values()))
                    assert peer.collect(1) == [advertisement(target)]
                counted = daemon.counters(f"up{number}")
                assert counted["ignored not_ours"] == 2
            assert not daemon.counters("up7")
            wire.near.ip("link del up0")
            with Peer(wire.far, "far1") as peer:
                _stays_answered(peer, own[1], lambda: len(daemon.lines("waiting for the interface")) >= 2)


def _stays_answered(peer: Peer, target: str, until: Callable[[], bool]) -> None:
    while not until():
        peer.drain()
        peer.send(solicitation(target))
        assert peer.collect(1) == [advertisement(target)]


def test_it_ends_at_once_and_says_so(wire, daemon, peer):
    assert daemon.stop() == 0
    daemon.await_notice("STOPPING=1", 1)
    assert daemon.lines("stopped")


def test_the_socket_begins_its_group_before_it_answers(wire, tmp_path):
    """A socket that begins a group is off the kernel's list for a moment: a frame that comes then is lost."""
    require("strace")
    trace = tmp_path / "trace"
    watched = "trace=setsockopt,sendto,sendmmsg"
    command = ("strace", "-D", "-f", "-qq", "-e", watched, "-o", str(trace), COMMAND)
    with Peer(wire.far) as peer, Installed(wire.near, *FLAGS, command=command, wait=False) as daemon:
        peer.await_answer(every_s=0.0002, deadline_s=10)
        daemon.await_ready()
    calls = trace.read_text().splitlines()
    groups = [number for number, call in enumerate(calls) if "PACKET_FANOUT, [" in call]
    answers = [number for number, call in enumerate(calls) if ", 86, 0, NULL, 0)" in call or "sendmmsg(" in call]
    assert groups[0] < answers[0], calls[answers[0] : groups[0] + 1]
