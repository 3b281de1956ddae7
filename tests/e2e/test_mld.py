"""Behind a bridge that snoops MLD a target is heard only if its group was joined and the report of that got through."""

import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon_process import Installed
from requirements import OURS, require
from shared_lab import SharedLab

from ndpresponder.lab import Lab, wait_until
from ndpresponder.lab.topology import CONTAINER, Uplink

OTHER = "2001:db8::c2"
LEARN_S = 5.0


@pytest.fixture(scope="module")
def snooping_lab() -> Iterator[Lab]:
    require("ip", "nft", "ping", "bridge", "ebtables")
    with SharedLab(f"{OURS}mld", "macvlan") as lab:
        yield lab


@pytest.fixture(scope="module")
def snooping_labs(snooping_lab: Lab) -> Iterator[Callable[[Uplink], Lab]]:
    """Return a function that returns the lab with an uplink of a kind."""
    with SharedLab(f"{OURS}mlv", "veth") as plain:
        yield {"veth": plain, "macvlan": snooping_lab}.__getitem__


def group(target: str) -> str:
    """Return the solicited-node group of one of the lab's containers."""
    return f"ff02::1:ff00:{target.rpartition(':')[2]}"


def learned(lab: Lab, target: str = CONTAINER) -> bool:
    """Tell whether the hypervisor's bridge passes the target's group to the VPS."""
    groups = lab.run("hv", "bridge", "mdb", "show", "dev", "br0").stdout
    return bool(re.search(rf"port p-vps grp {re.escape(group(target))} ", groups))


def passes_for_router(lab: Lab) -> bool:
    """Tell whether the hypervisor's bridge sends the VPS all of its multicast."""
    ports = lab.run("hv", "bridge", "-d", "mdb", "show", "dev", "br0").stdout
    return bool(re.search(r"router ports on br0:.* p-vps\b", ports))


def packets(lab: Lab) -> int:
    """Return how many frames have arrived at the uplink."""
    return int(lab.run("vps", "cat", "/sys/class/net/uplink/statistics/rx_packets").stdout)


def configured(directory: Path, mld_source: str, *lines: str) -> str:
    file = directory / "ndpresponder.toml"
    interface = ('name = "uplink"', f'mld_source = "{mld_source}"', 'announce = "never"', *lines)
    file.write_text("\n".join(("version = 1", "[[interface]]", *interface, "")))
    return str(file)


def snoop(lab: Lab, name: str) -> Lab:
    """Return the lab behind a filter and a bridge that snoops and has learned nothing yet."""
    lab.reset()
    lab.filter(name)
    lab["hv"].ip("link set p-vps nomaster", "link set p-vps master br0")  # what the port joined is forgotten
    lab.snooping(True)
    lab.resolve_gateway()
    return lab


LIVE = f'prefixes = ["{CONTAINER}"]'
CLAIMED = 'prefixes = ["2001:db8::c0/126"]'
WIDE = 'prefixes = ["2001:db8::/112"]'
WIDE_UNHEARD = f'{WIDE}\nmld_router = "never"'
MULTICAST = """
import socket
group = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
group.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("lan0"))
for _ in range(1000):
    group.sendto(bytes(500), ("ff02::4242", 4242))
"""


@pytest.mark.parametrize(
    ("name", "mld_source", "prefixes", "reached"),
    [
        ("none", "linklocal", LIVE, True),
        ("none", "linklocal", CLAIMED, True),
        ("none", "linklocal", WIDE_UNHEARD, False),
        ("na", "linklocal", LIVE, True),
        ("na", "linklocal", WIDE_UNHEARD, False),
        ("strict", "linklocal", LIVE, True),
        ("strict", "global", LIVE, True),
        ("strict-pre", "linklocal", LIVE, False),
        ("strict-pre", "global", LIVE, True),
        ("strict-pre", "both", CLAIMED, True),
        ("ebtables", "linklocal", LIVE, True),
        ("ebtables", "global", CLAIMED, True),
    ],
)
def test_what_is_heard_behind_snooping(snooping_lab, tmp_path, name, mld_source, prefixes, reached):
    lab = snoop(snooping_lab, name)
    with Installed(lab["vps"], "-c", configured(tmp_path, mld_source, prefixes)):
        if reached:
            wait_until(lambda: learned(lab), LEARN_S, "the bridge to learn the group")
        assert reached == bool(lab.ping("inet", CONTAINER, count=3))
        assert reached == learned(lab)


@pytest.mark.parametrize(
    ("name", "mld_source", "reached"),
    [
        ("none", "linklocal", True),
        ("na", "linklocal", True),
        ("strict", "linklocal", True),
        ("ebtables", "linklocal", True),
        ("strict-pre", "linklocal", False),
        ("strict-pre", "global", True),
        ("strict-pre", "both", True),
    ],
)
@pytest.mark.parametrize("uplink", ["veth", "macvlan"])
def test_a_prefix_too_wide_to_join_is_heard_as_by_a_multicast_router(
    snooping_labs, tmp_path, uplink, name, mld_source, reached
):
    lab = snoop(snooping_labs(uplink), name)
    with Installed(lab["vps"], "-c", configured(tmp_path, mld_source, WIDE)):
        assert lab.ping("inet", CONTAINER, count=3).received == (3 if reached else 0)
        assert reached == passes_for_router(lab)
        assert not learned(lab)


SILENCE = "no solicitation is heard"


@pytest.mark.parametrize("prefixes", [WIDE, CLAIMED])
def test_a_filter_that_keeps_the_bridge_from_learning_is_found_out_and_said_once(snooping_labs, tmp_path, prefixes):
    lab = snoop(snooping_labs("veth"), "strict-pre")
    with Installed(lab["vps"], "-c", configured(tmp_path, "linklocal", prefixes)) as daemon:
        daemon.await_line(SILENCE, 60)
        (line,) = daemon.lines(SILENCE)
        assert "mld_source" in line
        assert "both" in line
        configured(tmp_path, "both", prefixes)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_line("configuration reloaded")
        wait_until(lambda: bool(lab.ping("inet", CONTAINER)), LEARN_S, "an answer")


@pytest.mark.parametrize("name", ["none", "strict"])
def test_where_nobody_asks_or_somebody_does_no_filter_is_suspected(snooping_labs, tmp_path, name):
    lab = snoop(snooping_labs("veth"), name)
    with Installed(lab["vps"], "-c", configured(tmp_path, "linklocal", WIDE)) as daemon:
        if name == "strict":
            assert lab.ping("inet", CONTAINER)
        time.sleep(35)
        assert daemon.lines(SILENCE) == []


@pytest.mark.parametrize("fastpath", ["off", "tcx"])
def test_the_command_of_the_card_is_heard_behind_snooping(snooping_labs, fastpath):
    lab = snoop(snooping_labs("veth"), "strict")
    with Installed(lab["vps"], "--prefix", "2001:db8::/112", "--iface", "uplink", "--fastpath", fastpath):
        assert lab.ping("inet", CONTAINER, count=3).received == 3


def test_what_a_multicast_router_is_sent_beside_solicitations_is_never_read(snooping_labs, tmp_path):
    lab = snoop(snooping_labs("veth"), "none")
    with Installed(lab["vps"], "-c", configured(tmp_path, "linklocal", WIDE)) as daemon:
        wait_until(lambda: passes_for_router(lab), LEARN_S, "the bridge to take the port for a router's")
        before, arrived = daemon.counters("uplink"), packets(lab)
        lab.run("rtr", sys.executable, "-c", MULTICAST)
        wait_until(lambda: packets(lab) >= arrived + 1000, LEARN_S, "the multicast")
        assert daemon.counters("uplink") == before


@pytest.mark.parametrize(("name", "mld_source"), [("strict", "linklocal"), ("strict-pre", "global")])
def test_a_group_is_left_with_its_last_target(snooping_lab, tmp_path, name, mld_source):
    lab = snoop(snooping_lab, name)
    addresses = tmp_path / "addresses"
    addresses.write_text(f"{CONTAINER}\n{OTHER}\n")
    flags = ("-c", configured(tmp_path, mld_source), "-f", str(addresses))
    with Installed(lab["vps"], *flags):
        wait_until(lambda: learned(lab) and learned(lab, OTHER), LEARN_S, "the bridge to learn both groups")
        addresses.write_text(f"{CONTAINER}\n")
        wait_until(lambda: not learned(lab, OTHER), LEARN_S, "the bridge to forget the other")
        assert learned(lab)
        assert lab.ping("inet", CONTAINER)
