"""The Linux kernel as the client: what a router's own neighbor discovery makes of our advertisements.

All through the strict anti-spoofing filter of the lab's hypervisor.
"""

import socket
import struct
import time
from collections.abc import Iterator

import pytest
from daemon_process import Installed
from requirements import LAB_COMMANDS, OURS, require
from shared_lab import SharedLab

from ndpresponder.lab import AdvertisementWatch, Lab, Namespace, wait_until
from ndpresponder.lab.topology import CONTAINER, CONTAINER_PREFIX, VPS_LLADDR

C2 = "2001:db8::c2"
FREE = "2001:db8::2:1"  # on the same link, of nobody
UPLINK = "uplink"
PROBED_DEADLINE_S = 20.0
# In milliseconds, but for the delay, which is in seconds and cannot be less. With these an entry lives 0.2 s.
SHORT = {
    "ipv6/neigh/lan0/base_reachable_time_ms": 200,
    "ipv6/neigh/lan0/retrans_time_ms": 100,
    "ipv6/neigh/lan0/delay_first_probe_time": 1,
}


@pytest.fixture(scope="module")
def vps_lab() -> Iterator[Lab]:
    require(*LAB_COMMANDS)
    with SharedLab(f"{OURS}kernel") as lab:
        lab.filter("strict")
        lab.resolve_gateway()
        yield lab


@pytest.fixture(scope="module")
def daemon(vps_lab, fastpath) -> Iterator[Installed]:
    with Installed(vps_lab["vps"], "--prefix", CONTAINER_PREFIX, "--iface", UPLINK, *fastpath.flags()) as daemon:
        yield daemon


def state(lab: Lab, target: str) -> str:
    """Return the state of the router's entry."""
    (name,) = lab.neighbour(target).get("state", ["NONE"])
    return name


@pytest.mark.parametrize("host", ["inet", "rtr"])
def test_an_unknown_target_becomes_reachable_with_the_first_ping(vps_lab, daemon, host):
    vps_lab.forget()
    assert vps_lab.ping(host, CONTAINER, count=3, interval=0.05).received == 3
    assert (state(vps_lab, CONTAINER), vps_lab.neighbour()["lladdr"]) == ("REACHABLE", VPS_LLADDR)
    assert "router" in vps_lab.neighbour()  # the VPS forwards, and says so


def test_an_advertisement_sourced_from_the_target_is_all_that_is_sent(vps_lab, daemon):
    vps_lab.forget()
    with AdvertisementWatch(vps_lab) as watch:
        assert vps_lab.ping("inet", CONTAINER)
        (advertisement,) = watch.take(CONTAINER)
    assert (advertisement.source, advertisement.destination) == (CONTAINER, "fe80::1")
    assert advertisement.flags == ("Router", "Solicited")


def test_a_reachability_probe_by_unicast_is_answered(vps_lab, daemon):
    assert vps_lab.ping("inet", CONTAINER)
    before = daemon.counters(UPLINK)["received unicast"]
    vps_lab["rtr"].ip(f"neigh replace {CONTAINER} lladdr {VPS_LLADDR} dev lan0 nud probe")
    wait_until(lambda: state(vps_lab, CONTAINER) == "REACHABLE", 5, "the entry to be confirmed")
    assert daemon.counters(UPLINK)["received unicast"] > before


def ping_unconfirmed(namespace: Namespace, count: int) -> int:
    """Ping a container so often; return how often it replied until a reply was missing.

    ping(8) sends with MSG_CONFIRM once it is replied to, which a veth hands on: the router would hardly ever probe.
    """
    with namespace.enter(), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as pings:
        pings.settimeout(2)
        for number in range(count):
            echo = struct.pack("!HH", 0x6E64, number)
            pings.sendto(struct.pack("!BBH", 128, 0, 0) + echo, (CONTAINER, 0))
            try:
                while not ((reply := pings.recv(2048))[0] == 129 and reply[4:8] == echo):
                    pass
            except TimeoutError:
                return number
            time.sleep(0.04)
    return count


def test_no_ping_is_lost_while_the_entry_is_probed_again_and_again(vps_lab, daemon):
    vps_lab["rtr"].sysctl(SHORT)
    vps_lab.forget()  # an entry that is reachable already stays so for as long as was said before
    try:
        assert vps_lab.ping("inet", CONTAINER)
        before = daemon.counters(UPLINK)
        end = time.monotonic() + PROBED_DEADLINE_S
        while min((daemon.counters(UPLINK) - before)[name] for name in ("received unicast", "sent solicited")) < 3:
            assert ping_unconfirmed(vps_lab["inet"], 20) == 20
            assert time.monotonic() < end
    finally:
        vps_lab["rtr"].sysctl(
            {
                "ipv6/neigh/lan0/base_reachable_time_ms": 30_000,
                "ipv6/neigh/lan0/retrans_time_ms": 1000,
                "ipv6/neigh/lan0/delay_first_probe_time": 5,
            }
        )


def test_an_entry_goes_when_the_daemon_stops_and_comes_when_it_is_back(make_lab):
    lab = make_lab()
    lab["rtr"].sysctl(SHORT)
    flags = ("--prefix", CONTAINER_PREFIX, "--iface", UPLINK)
    with Installed(lab["vps"], *flags):
        assert lab.ping("inet", CONTAINER)
    lab.forget()
    assert not lab.ping("inet", CONTAINER, deadline=0.3)
    with Installed(lab["vps"], *flags):
        wait_until(lambda: bool(lab.ping("inet", CONTAINER, deadline=0.3)), 5, "an answer")


def test_the_router_and_the_vps_keep_their_own_addresses(vps_lab, daemon):
    with AdvertisementWatch(vps_lab) as watch:
        vps_lab.forget("2001:db8:0:0:ffff::2")
        assert vps_lab.ping("rtr", "2001:db8:0:0:ffff::2")
        (advertisement,) = watch.take("2001:db8::ffff:0:0:2")
    assert "Override" in advertisement.flags  # the kernel's own
