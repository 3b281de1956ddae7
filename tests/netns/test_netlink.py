"""The link watcher against the real kernel: what it says of an uplink is what is, soon after it is."""

import os
import threading
import time
from collections.abc import Iterator

import pytest
from daemon_process import FOLLOW_DEADLINE_S, within
from frames import UPLINK_LLADDR, advertisement, lladdr, packed
from peer import Peer, Wire
from watcher_thread import Watching

from ndpresponder.lab import wait_until
from ndpresponder.linux.netlink import Link, changes

OWN = "2001:db8::2"
ADDED = "2001:db8::99"
ADD, REMOVE = f"address add {ADDED}/64 dev up0 nodad", f"address del {ADDED}/64 dev up0"
OTHER_LLADDR = "02:00:00:00:00:99"


@pytest.fixture
def wire(wire) -> Wire:
    wire.near.ip(f"address add {OWN}/64 dev up0 nodad")
    return wire


@pytest.fixture
def watching(wire) -> Iterator[Watching]:
    with Watching(wire.near) as watching:
        yield watching


def test_the_first_thing_said_is_the_whole_state(wire):
    wire.near.sysctl({"ipv6/conf/up0/forwarding": 1})
    wire.near.ip("route add ::/0 via fe80::1 dev up0")
    with Watching(wire.near) as watching:
        expected = Link(
            name="up0",
            device="up0",
            index=100,
            lladdr=lladdr(UPLINK_LLADDR),
            hardware_type=1,
            up=True,
            forwarding=True,
            addresses=frozenset({packed(OWN), packed("fe80::ff:fe00:2")}),
            gateways=frozenset({packed("fe80::1")}),
            onlink=frozenset({(int.from_bytes(packed("2001:db8::"), "big"), 64)}),
            subnets=frozenset({(0x20010DB8 << 96, 64)}),
            static_gateways=frozenset({packed("fe80::1")}),
        )
        assert expected == watching.link()


def test_an_address_is_a_source_once_it_is_known_to_be_nobody_elses(wire, watching):
    wire.near.sysctl({"ipv6/conf/up0/accept_dad": 1, "ipv6/conf/up0/dad_transmits": 1})
    wire.near.ip(f"address add {ADDED}/64 dev up0")
    watching.wait(lambda links: packed(ADDED) in links["up0"].addresses - links["up0"].sources)
    watching.wait(lambda links: packed(ADDED) in links["up0"].sources)
    wire.near.ip(f"address del {ADDED}/64 dev up0")

    wire.near.sysctl({"ipv6/conf/up0/dad_transmits": 100})
    with Peer(wire.far) as peer:
        wire.near.ip(f"address add {ADDED}/64 dev up0")
        watching.wait(lambda links: packed(ADDED) in links["up0"].unproven)
        peer.send(advertisement(ADDED, "ff02::1", solicited=False, ethernet_destination="33:33:00:00:00:01"))
        wait_until(lambda: "dadfailed" in wire.near.run("ip", "-6", "address", "show", "dev", "up0").stdout, 5, "DAD")
    assert packed(ADDED) in watching.link().unproven


def test_absent_links_are_said_to_be_absent(wire):
    with Watching(wire.near, "up7", "up0") as watching:
        watching.wait(lambda links: links["up7"] is None and links["up0"] is not None)


def test_loopback_is_not_ethernet(wire):
    with Watching(wire.near, "lo") as watching:
        assert not watching.link("lo").ethernet


CHANGES = {
    "lladdr": (
        [f"link set up0 address {OTHER_LLADDR}"],
        lambda link: link.lladdr == lladdr(OTHER_LLADDR),
        [f"link set up0 address {UPLINK_LLADDR}"],
        lambda link: link.lladdr == lladdr(UPLINK_LLADDR),
    ),
    "address": (
        [ADD],
        lambda link: packed(ADDED) in link.addresses,
        [REMOVE],
        lambda link: packed(ADDED) not in link.addresses,
    ),
    "gateway": (
        ["route add ::/0 via 2001:db8::1 dev up0"],
        lambda link: packed("2001:db8::1") in link.gateways,
        ["route del ::/0 via 2001:db8::1 dev up0"],
        lambda link: not link.gateways,
    ),
    "name": (
        ["link set up0 name renamed"],
        lambda link: link is None,
        ["link set renamed name up0"],
        lambda link: link is not None and link.device == "up0",
    ),
    "operational state": (
        ["link set up0 mode dormant state dormant"],
        lambda link: not link.up,
        ["link set up0 mode default state up"],
        lambda link: link.up,
    ),
}


@pytest.mark.parametrize(("change", "changed", "undo", "undone"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_followed_in_time(wire, watching, change, changed, undo, undone):
    def there_and_back() -> float:
        there = watching.follows(lambda: wire.near.ip(*change), changed)
        back = watching.follows(lambda: wire.near.ip(*undo), undone)
        return max(there, back)

    within(FOLLOW_DEADLINE_S, there_and_back)


def test_down_is_followed_in_time_and_up_again(wire, watching):
    def down_and_up() -> float:
        down = watching.follows(lambda: wire.near.ip("link set up0 down"), lambda link: not link.up)
        wire.near.ip("link set up0 up")
        watching.wait(lambda links: links["up0"].up)
        return down

    within(FOLLOW_DEADLINE_S, down_and_up)


def test_a_peer_that_goes_down_takes_the_link_down(wire, watching):
    wire.far.ip("link set far0 down")
    watching.wait(lambda links: not links["up0"].up)
    wire.far.ip("link set far0 up")
    watching.wait(lambda links: links["up0"].up)


@pytest.mark.parametrize("scope", ["all", "up0"])
def test_switched_forwarding_is_followed_in_time(wire, watching, scope):
    def switch(on: bool) -> float:
        return watching.follows(
            lambda: wire.near.sysctl({f"ipv6/conf/{scope}/forwarding": int(on)}), lambda link: link.forwarding == on
        )

    within(FOLLOW_DEADLINE_S, lambda: max(switch(True), switch(False)))


def test_a_link_that_is_made_again_has_its_new_index_in_time(wire, watching):
    indexes = iter(range(300, 310))

    def remake() -> float:
        gone = watching.follows(lambda: wire.near.ip("link del up0"), lambda link: link is None)
        index = next(indexes)
        back = watching.follows(
            lambda: wire.near.ip(f"link add up0 index {index} type bridge"),
            lambda link: link is not None and link.index == index,
        )
        return max(gone, back)

    within(FOLLOW_DEADLINE_S, remake)


def test_an_alternative_name_finds_the_link_by_its_main_name(wire):
    with Watching(wire.near, "wan") as watching:
        assert watching.wait(lambda links: links["wan"] is None)
        wire.near.ip("link property add dev up0 altname wan")
        watching.wait(lambda links: links["wan"] is not None)
        assert (watching.link("wan").name, watching.link("wan").device) == ("wan", "up0")


def test_every_next_hop_of_a_default_route_on_the_link_is_a_gateway(wire, watching):
    wire.plug(1)
    wire.near.ip("address add 2001:db8:1::2/64 dev up1 nodad")
    wire.near.ip(
        "route add ::/0 nexthop via 2001:db8::a dev up0 nexthop via 2001:db8::b dev up0"
        " nexthop via 2001:db8:1::c dev up1",
        "route add ::/0 via 2001:db8::d dev up0 metric 77",
        "route add 2001:db8:2::/48 via 2001:db8::e dev up0",
        "route add unreachable ::/0 metric 99",
    )
    watching.wait(lambda links: len(links["up0"].gateways) == 3)
    assert {packed(f"2001:db8::{end}") for end in "abd"} == watching.link().gateways
    with Watching(wire.near, "up1") as other:
        assert {packed("2001:db8:1::c")} == other.link("up1").gateways


def test_routes_that_are_not_default_ring_no_bell(wire, watching):
    asked = 0
    original = watching.watcher._ask

    async def ask() -> None:
        nonlocal asked
        asked += 1
        await original()

    watching.watcher._ask = ask
    batch = [f"route add 2001:db8:{number:x}::/48 via 2001:db8::1 dev up0" for number in range(1, 2000)]
    wire.near.ip(*batch)
    wire.near.ip("route add ::/0 via 2001:db8::1 dev up0")
    watching.wait(lambda links: bool(links["up0"].gateways))
    assert asked <= 2  # the default route's events


def test_what_changes_nothing_of_interest_is_not_published(wire, watching):
    before = watching.count
    wire.near.ip("link set up0 mtu 1400", "link add br1 type bridge", "link del br1", "link set up0 alias internet")
    wire.near.ip(f"link set up0 address {OTHER_LLADDR}")
    watching.wait(lambda links: links["up0"].lladdr == lladdr(OTHER_LLADDR))
    assert watching.count == before + 1


def test_a_burst_that_overruns_a_small_buffer_ends_in_the_right_state(wire, monkeypatch):
    monkeypatch.setattr(changes, "RECEIVE_BUFFER", 4096)
    # The kernel takes half a minute to put 10,000 addresses on one link, and no time for as many on several.
    bridges = [f"b{number}" for number in range(40)]
    addresses = {name: [f"2001:db8:1:{name}::{number:x}" for number in range(250)] for name in (*bridges, "a0")}
    uplinks = addresses.pop("a0")
    wire.near.ip(*(f"link add {name} type bridge" for name in bridges))
    link_local = packed("fe80::ff:fe00:2")
    with Watching(wire.near) as watching:
        lost, matters = [], watching.watcher.changes._matters

        def counting(event: bytes) -> bool:
            lost.extend([event] if not event else [])
            return matters(event)

        watching.watcher.changes._matters = counting
        watching.block(1.0)  # so that the kernel is certainly faster
        wire.near.ip(
            *(f"address add {address}/128 dev {name} nodad" for name in bridges for address in addresses[name]),
            *(f"address add {address}/128 dev up0 nodad" for address in uplinks),
        )
        expected = {packed(OWN), link_local, *map(packed, uplinks)}
        watching.wait(lambda links: links["up0"].addresses == expected)
        overruns = len(lost)
        assert overruns > 0
        watching.block(1.0)
        wire.near.ip("address flush dev up0 scope global", *(f"link del {name}" for name in bridges))
        watching.wait(lambda links: links["up0"].addresses == {link_local})
        assert len(lost) > overruns
        within(FOLLOW_DEADLINE_S, lambda: come_and_go(wire, watching))


def come_and_go(wire: Wire, watching: Watching) -> float:
    come = watching.follows(lambda: wire.near.ip(ADD), lambda link: packed(ADDED) in link.addresses)
    go = watching.follows(lambda: wire.near.ip(REMOVE), lambda link: packed(ADDED) not in link.addresses)
    return max(come, go)


def test_a_flapping_link_ends_in_the_right_state(wire, watching):
    for number in range(30):
        wire.near.ip(f"link set up0 address 02:00:00:00:01:{number:02x}")
        wire.near.ip("link set up0 down", "link set up0 name away", "link set away name up0", "link set up0 up")
    watching.wait(lambda links: links["up0"] is not None and links["up0"].up and links["up0"].lladdr[-1] == 29)


def test_waiting_for_an_absent_link_costs_nothing(wire):
    with Watching(wire.near, "up7") as watching:
        wait_until(lambda: _is_quiet(watching.cpu_clock), 10, "the watcher to come to rest")
        before = time.clock_gettime(watching.cpu_clock)
        threading.Event().wait(2.0)
        assert time.clock_gettime(watching.cpu_clock) - before < 0.005


def _is_quiet(clock: int) -> bool:
    before = time.clock_gettime(clock)
    threading.Event().wait(0.1)
    return time.clock_gettime(clock) == before


def test_no_descriptor_is_left_open(wire):
    before = len(os.listdir("/proc/self/fd"))
    with Watching(wire.near) as watching:
        for number in range(20):
            station = f"02:00:00:00:02:{number:02x}"
            wire.near.ip(f"link set up0 address {station}")
            watching.wait(lambda links, station=station: links["up0"].lladdr == lladdr(station))
    assert len(os.listdir("/proc/self/fd")) == before
