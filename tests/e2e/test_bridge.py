"""Plain veths on a bridge, without any container engine: `-b` alone makes them reachable."""

import subprocess

import pytest
from bridge_ports import asked, kernel_says, plug, resolve
from frames import solicitation
from peer import Peer

from ndpresponder.lab import Daemon, Lab, wait_until
from ndpresponder.lab.namespace import delete_all
from ndpresponder.lab.topology import CONTAINER

pytestmark = pytest.mark.needs("ping", "nft", "bridge")
LIVE = 'ndpresponder_addresses{interface="uplink",source="bridge"}'
OVERRIDE = 0x20
OUTSIDE = "2001:db8::9:9"  # in nobody's /112


@pytest.fixture
def vps(fresh_lab: Lab) -> Lab:
    fresh_lab.filter("strict")
    fresh_lab.resolve_gateway()
    return fresh_lab


def test_containers_are_reached_as_they_come_and_not_once_their_bridge_is_gone(vps):
    with Daemon(vps, "-i", "uplink", "-b", "br-ct") as daemon:
        assert vps.ping("inet", CONTAINER, count=3).received == 3
        wait_until(lambda: asked(vps, CONTAINER) == ["Router Solicited Override"], 2, "the container to be live")
        assert asked(vps, OUTSIDE) == []

        vps["vps"].ip("link del v-c1")  # with it the container's interface
        wait_until(lambda: daemon.samples()[LIVE] == 0, 2, "the container to be gone")
        wait_until(lambda: asked(vps, CONTAINER) == ["Router Solicited"], 2, "a claim")

        vps["vps"].ip("link del br-ct")
        wait_until(lambda: asked(vps, CONTAINER) == [], 2, "silence")

        vps["vps"].ip(
            "link add br-ct type bridge mcast_snooping 0 forward_delay 0",
            "address add 2001:db8::9:1/112 dev br-ct nodad",
            "link set br-ct up",
            "link set v-c2 master br-ct",
        )
        vps["c2"].ip(f"address add {OUTSIDE}/112 dev eth0 nodad", "route change ::/0 via 2001:db8::9:1")
        wait_until(lambda: bool(vps.ping("inet", OUTSIDE)), 5, "the renumbered container to be reached")
        assert asked(vps, CONTAINER) == []


def live(lab: Lab) -> set[bytes]:
    """Return those of all targets there could be for which the VPS answers that they are live."""
    targets = [*(f"2001:db8::{first + n:x}" for first in (0x1000, 0x2000) for n in range(250)), CONTAINER]
    with Peer(lab["rtr"], "lan0") as peer:
        peer.send(*map(solicitation, targets))
        return {frame[62:78] for frame in peer.advertisements(0.5) if frame[58] & OVERRIDE}


def test_what_is_known_is_what_the_kernel_says_after_500_veths_have_come_and_gone(vps, boxes):
    with Daemon(vps, "-i", "uplink", "-b", "br-ct", "--announce", "never") as daemon:
        assert vps.ping("inet", CONTAINER)
        ping = vps.popen(
            "inet", "ping", "-6", "-q", "-i0.05", "-W2", CONTAINER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        resolve(vps, plug(vps, boxes[0], 0x1000, 250, speaking=120))
        wait_until(lambda: daemon.samples()[LIVE] > 100, 10, "many to be live")
        resolve(vps, plug(vps, boxes[1], 0x2000, 250, speaking=120))
        delete_all([boxes[0]])
        wait_until(lambda: vps.run("vps", "ip", "link", "show", "w4096", check=False).returncode != 0, 20, "the end")
        wait_until(lambda: len(kernel_says(vps)) > 100 and live(vps) == kernel_says(vps), 10, "agreement")
        assert daemon.samples()[LIVE] == len(kernel_says(vps))
        ping.send_signal(2)
        summary = ping.communicate(timeout=5)[0]
        assert " 0% packet loss" in summary
