"""With --verify and --install-routes a silent host behind a followed bridge is found, and gets its route."""

from collections.abc import Iterator

import pytest
from control_client import ask
from daemon_process import Installed
from frames import solicitation
from peer import Peer
from requirements import OURS, require
from shared_lab import SharedLab

from ndpresponder.lab import Lab, wait_until

C1, C2, NOBODY = "2001:db8::c1", "2001:db8::c2", "2001:db8::dead"
PREFIX = "2001:db8::/112"
LINK_LOCAL = "fe80::c"


@pytest.fixture(scope="module")
def bare_lab() -> Iterator[Lab]:
    """Return a lab whose bridges have a link-local address and nothing else; each has one container."""
    require("ip", "nft", "ping")
    with SharedLab(f"{OURS}vf", containers=2) as lab:
        lab["vps"].ip(
            "address del 2001:db8::1/112 dev br-ct",
            f"address add {LINK_LOCAL}/64 dev br-ct nodad",
            "link add br-two type bridge mcast_snooping 0 forward_delay 0",
            f"address add {LINK_LOCAL}/64 dev br-two nodad",
            "link set br-two up",
            "link set v-c2 master br-two",
        )
        for container in ("c1", "c2"):
            lab[container].ip(f"route replace ::/0 via {LINK_LOCAL} dev eth0")
        yield lab


@pytest.fixture
def lab(bare_lab: Lab) -> Lab:
    bare_lab.reset()
    bare_lab.filter("strict")
    for container in ("c1", "c2"):  # what lies without a gateway went with the neighbors
        bare_lab[container].ip(f"route replace ::/0 via {LINK_LOCAL} dev eth0")
    bare_lab.resolve_gateway()
    return bare_lab


def follow(lab: Lab, *flags: str) -> Installed:
    return Installed(lab["vps"], "-i", "uplink", "-n", PREFIX, "--verify", "-b", "br-ct", "-b", "br-two", *flags)


def routes(lab: Lab) -> str:
    return lab.run("vps", "ip", "-6", "route", "show", "proto", "110").stdout


@pytest.mark.parametrize(("host", "bridge"), [(C1, "br-ct"), (C2, "br-two")])
def test_a_silent_host_behind_a_bridge_without_a_global_address_is_found_and_gets_its_route(lab, host, bridge):
    assert host not in lab.run("vps", "ip", "-6", "neigh", "show").stdout
    with follow(lab, "--install-routes") as daemon:
        ping = lab.ping("inet", host, count=3, deadline=3)
        assert ping.received == ping.sent
        assert f"{host} dev {bridge}" in routes(lab)
        (uplink,) = ask(daemon.control, "GET", f"/explain?target={host}")[1]["uplinks"]
        assert (uplink["answered"], uplink["yet"]) == (True, [])
        assert any("it is live" in why for why in uplink["why"])
    assert routes(lab) == ""


def test_who_is_nowhere_is_not_answered_for_and_gets_no_route(lab):
    with follow(lab, "--install-routes") as daemon:
        assert lab.ping("inet", NOBODY, deadline=3).received == 0
        wait_until(lambda: daemon.counters("uplink")["ignored not_verified"] >= 1, 5, "the reason")
        assert NOBODY not in routes(lab)


def test_without_a_route_and_none_to_be_installed_it_is_not_answered_for(lab):
    with follow(lab) as daemon:
        assert lab.ping("inet", C1, deadline=2).received == 0
        assert daemon.counters("uplink")["sent solicited"] == 0


def test_with_a_route_inside_the_bridge_needs_no_global_address(lab):
    lab["vps"].ip(f"route add {PREFIX} dev br-ct")
    try:
        with follow(lab):
            ping = lab.ping("inet", C1, count=3, deadline=3)
            assert ping.received == ping.sent
    finally:
        lab["vps"].ip(f"route del {PREFIX} dev br-ct")


def test_a_host_that_leaves_is_forgotten_and_its_route_goes(lab):
    with follow(lab, "--install-routes"):
        assert lab.ping("inet", C1, deadline=3)
        try:
            lab["vps"].ip("link set v-c1 down")
            lab["vps"].run("ip", "-6", "neigh", "flush", "dev", "br-ct")
            wait_until(lambda: C1 not in routes(lab), 60, "the route to go", every_s=0.5)
        finally:
            lab["vps"].ip("link set v-c1 up")


def test_the_solicitations_downstream_are_bounded(lab):
    """A scan of the prefix costs 50 a second, and a burst of 100, however many bridges are followed."""
    watch = lab.popen("c1", "tcpdump", "-l", "-n", "-i", "eth0", "icmp6 and ip6[40]==135", stdout=-1, stderr=-3)
    try:
        with follow(lab, "--install-routes"), Peer(lab["rtr"], "lan0") as peer:
            peer.send(*(solicitation(f"2001:db8::{number:x}") for number in range(0x1000, 0x1400)))
            list(peer.advertisements(1.0))
    finally:
        watch.terminate()
        seen = watch.communicate(timeout=5)[0].count("who has 2001:db8::1")
    assert 0 < seen <= 100
