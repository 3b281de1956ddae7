"""Verification against the real kernel: what it finds behind the host, and what a scan can make it do."""

import contextlib
from collections import Counter
from collections.abc import Iterator

import pytest
from daemon_process import Installed, total
from frames import TARGET, advertisement, packed, solicitation
from peer import Peer, Wire, is_running
from requirements import OURS, require

from ndpresponder.lab import wait_until
from ndpresponder.lab.namespace import Namespace, create_all, delete_all, veth
from ndpresponder.linux.netlink.layout import CONFIRMED, NUD_FAILED
from ndpresponder.linux.netlink.resolver import Neighbor, Resolver, Unknown

NOBODY = "2001:db8::dead"
SCANNED = 3000
LINK = 150  # index of the downstream interface
CONTAINER = Namespace(f"{OURS}probe-c")
UPLINKS = (100, 101)  # indexes of up0 and up1


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """Return a wire whose near end has a neighbor behind it, on `down0`."""
    require("ip")
    with Wire("probe", cables=2) as wire:
        create_all([CONTAINER])
        try:
            for namespace in (wire.near, CONTAINER):
                namespace.sysctl({"ipv6/conf/default/accept_dad": 0, "ipv6/conf/default/router_solicitations": 0})
            pair = veth(50, (wire.near, "down0", "02:00:00:00:00:50"), (CONTAINER, "eth0", "02:00:00:00:00:51"))
            wire.near.ip(pair, "address add 2001:db8::1/112 dev down0 nodad", "link set down0 up")
            CONTAINER.ip(f"address add {TARGET}/112 dev eth0 nodad", "link set eth0 up")
            wait_until(lambda: wire.near.run("ping", "-c1", "-W1", TARGET, check=False).returncode == 0, 10, "the link")
            yield wire
        finally:
            delete_all([CONTAINER])


@pytest.fixture
def daemon(wire: Wire) -> Iterator[Installed]:
    flags = ("-i", "up0", "-n", "2001:db8::/112", "-n", "2001:db8::ffff", "--verify", "--announce", "never")
    with Installed(wire.near, *flags) as daemon:
        yield daemon


@pytest.fixture
def resolver(wire: Wire) -> Iterator[Resolver]:
    with wire.near.enter(), contextlib.closing(Resolver(lambda: UPLINKS)) as resolver:
        yield resolver


def neighbor_is(wire: Wire, state: str) -> None:
    """Set what the kernel knows of the target; "" is nothing."""
    wire.near.run("ip", "-6", "neigh", "flush", "dev", "down0")
    wire.near.run("ip", "-6", "neigh", "del", TARGET, "dev", "down0", check=False)
    if state:
        wire.near.ip(f"neigh replace {TARGET} lladdr 02:00:00:00:00:51 dev down0 nud {state}")


def hear(resolver: Resolver, state: int) -> Neighbor:
    """Wait until a neighbor is heard to be in `state`."""
    found: list[Neighbor] = []

    def heard() -> bool:
        found.extend(neighbor for neighbor, new in resolver.heard() if new & state)
        return bool(found)

    wait_until(heard, 5, "the kernel")
    return found[0]


@pytest.mark.parametrize(("state", "stale"), [("", False), ("failed", False), ("stale", True)])
def test_who_is_not_confirmed_must_be_asked_and_is_heard(wire, resolver, state, stale):
    neighbor_is(wire, state)
    unknown = resolver.look(packed(TARGET))
    assert isinstance(unknown, Unknown)
    assert ([*unknown.sources], unknown.stale) == ([(LINK, packed(TARGET))], stale)
    assert not resolver.ask(unknown)
    assert [*unknown.sources] == [hear(resolver, CONFIRMED)]


def test_a_wrong_advertisement_verifies_nobody(wire, resolver):
    frames = [
        advertisement(target, "2001:db8::1", ethernet_destination="02:00:00:00:00:50") for target in (NOBODY, TARGET)
    ]
    wrong = bytearray(frames[0])
    wrong[56] ^= 1  # the checksum
    with Peer(CONTAINER, "eth0") as stranger:
        stranger.send(bytes(wrong), frames[1])
    assert hear(resolver, CONFIRMED) == (LINK, packed(TARGET))


def test_the_answer_confirms_what_the_kernel_knows(wire, resolver):
    neighbor_is(wire, "stale")
    unknown = resolver.look(packed(TARGET))
    assert isinstance(unknown, Unknown)
    resolver.ask(unknown)
    wait_until(lambda: resolver.look(packed(TARGET)) is True, 5, "the kernel")


@pytest.mark.parametrize("state", ["reachable", "permanent", "noarp"])
def test_who_is_confirmed_is_there(wire, resolver, state):
    neighbor_is(wire, state)
    assert resolver.look(packed(TARGET)) is True


def test_who_the_kernel_gives_up_is_heard_to_fail(wire, resolver):
    wire.near.run("ping", "-6", "-c1", "-W0.1", NOBODY, check=False)
    assert hear(resolver, NUD_FAILED) == (LINK, packed(NOBODY))
    wire.near.run("ip", "-6", "neigh", "del", NOBODY, "dev", "down0", check=False)


def test_asking_makes_no_entry_in_the_kernels_table(wire, resolver):
    unknown = resolver.look(packed(NOBODY))
    assert isinstance(unknown, Unknown)
    assert not resolver.ask(unknown)
    assert NOBODY not in wire.near.run("ip", "-6", "neigh").stdout


def test_the_hosts_own_addresses_are_there(resolver):
    assert resolver.look(packed("2001:db8::1")) is True


ROUTES = {
    "no route at all": ("", "2001:db8:1::1"),
    "the uplink": ("2001:db8:2::/64 dev up0", "2001:db8:2::1"),
    "another uplink": ("2001:db8:7::/64 dev up1", "2001:db8:7::1"),
    "unreachable": ("unreachable 2001:db8:3::/64", "2001:db8:3::1"),
    "blackhole": ("blackhole 2001:db8:4::/64", "2001:db8:4::1"),
}


@pytest.mark.parametrize(("route", "target"), ROUTES.values(), ids=ROUTES)
def test_what_leads_nowhere_behind_the_host_is_not_there(wire, resolver, route, target):
    if route:
        wire.near.ip(f"route replace {route}")
    assert resolver.look(packed(target)) is False


def test_behind_a_router_it_is_the_router_that_must_be_there(wire, resolver):
    wire.near.ip(f"route replace 2001:db8:5::/64 via {TARGET}")
    neighbor_is(wire, "failed")
    unknown = resolver.look(packed("2001:db8:5::1"))
    assert isinstance(unknown, Unknown)
    assert [*unknown.sources] == [(LINK, packed(TARGET))]
    assert not resolver.ask(unknown)
    assert [*unknown.sources] == [hear(resolver, CONFIRMED)]


def test_where_there_are_no_link_layer_addresses_nobody_is_waited_for(wire, resolver):
    wire.near.ip("tuntap add tun0 mode tun", "link set tun0 up", "route replace 2001:db8:6::/64 dev tun0")
    unknown = resolver.look(packed("2001:db8:6::1"))
    assert unknown is True or resolver.ask(unknown)


def test_a_solicitation_of_who_is_there_is_answered_once_and_counted_once(wire, daemon, peer):
    neighbor_is(wire, "")
    counted = daemon.caused(lambda: peer.send(solicitation()), frames=1)
    assert [advertisement()] == peer.collect(1)
    assert counted == Counter(["received multicast", "sent solicited"])


def test_who_is_beyond_another_uplink_is_not_answered_for(wire, peer):
    beyond = "2001:db8:8::1"
    wire.near.ip(
        "route replace 2001:db8:8::/64 dev up1",
        f"neigh replace {beyond} lladdr 02:00:00:00:00:01 dev up1 nud permanent",
    )
    flags = ("-i", "up0", "-i", "up1", "-n", "2001:db8:8::/64", "--verify", "--announce", "never")
    with Installed(wire.near, *flags) as daemon:
        counted = daemon.caused(lambda: peer.send(solicitation(beyond)), frames=1)
    assert counted == Counter(["received multicast", "ignored not_verified"])


def test_solicitations_wait_for_who_is_slow_and_are_answered_once_and_counted_once(wire, daemon, peer):
    sources = [f"fe80::{number}" for number in range(1, 4)]

    def ask_and_appear() -> None:
        peer.send(*(solicitation(NOBODY, source=source) for source in sources))
        wire.near.ip(f"neigh replace {NOBODY} lladdr 02:00:00:00:00:51 dev down0 nud reachable")

    counted = daemon.caused(ask_and_appear, frames=3)
    wire.near.ip(f"neigh del {NOBODY} dev down0")
    assert [packed(source) for source in sources] == [frame[38:54] for frame in peer.collect(3)]
    assert counted == Counter({"received multicast": 3, "sent solicited": 3})


def test_of_one_target_only_so_many_solicitations_wait(wire, daemon, peer):
    counted = daemon.caused(lambda: peer.send(*[solicitation(NOBODY)] * 20), frames=20)
    assert counted == Counter({"received multicast": 20, "ignored not_verified": 20})


def test_what_waits_when_the_link_goes_down_is_counted(wire, daemon, peer):
    before = daemon.counters()
    peer.send(solicitation(NOBODY))
    wire.near.ip("link set up0 down")
    try:
        wait_until(lambda: total(daemon.counters() - before, "ignored") >= 1, 5, "the frame to end")
    finally:
        wire.near.ip("link set up0 up")
        wait_until(lambda: is_running(wire.near, "up0"), 5, "the link")


def test_a_scan_is_bounded_and_crowds_out_nobody_who_is_there(wire, daemon, peer):
    assert peer.await_answer() == advertisement()
    before_kb = daemon.rss_kb()
    scan = [solicitation(f"2001:db8::{0x1000 + number:x}") for number in range(SCANNED)]
    counted = daemon.caused(lambda: peer.send(*scan, solicitation()), frames=SCANNED + 1)
    assert counted == Counter({"received multicast": SCANNED + 1, "sent solicited": 1, "ignored not_verified": SCANNED})
    known = wire.near.run("ip", "-6", "neigh", "show", "dev", "down0").stdout.splitlines()
    assert len(known) <= 10
    assert daemon.rss_kb() - before_kb < 4096
