"""Duplicate address detection with the kernel as the other host: it keeps what is merely claimed, and no more.

On a shared link, the provider's bridge or the VPS's own, another host may have an address of the same prefix.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_process import Installed
from requirements import LAB_COMMANDS, OURS, require
from shared_lab import SharedLab

from ndpresponder.lab import Lab, Namespace, wait_until
from ndpresponder.lab.namespace import create_all, delete_all, veth
from ndpresponder.lab.topology import CONTAINER, CONTAINER_PREFIX, VPS_LLADDR

C2 = "2001:db8::c2"
ABSENT = "2001:db8::abcd"
FREE = "2001:db8::2:1"  # on the same link, claimed by nobody
UPLINK = "uplink"
OTHER_LLADDR = "02:00:00:00:50:02"
WARNING = "another host wants an address of ours"


@pytest.fixture(scope="module")
def vps_lab() -> Iterator[Lab]:
    require(*LAB_COMMANDS)
    with SharedLab(f"{OURS}dad") as lab:
        lab.filter("strict")
        lab.resolve_gateway()
        yield lab


@pytest.fixture
def other_host(vps_lab) -> Iterator[Namespace]:
    """A host on the same bridge as the router and the VPS, which detects duplicates as hosts do."""
    hypervisor = vps_lab["hv"]
    with host_on(hypervisor, "br0", "other", 50) as other:
        yield other


@contextlib.contextmanager
def host_on(where: Namespace, bridge: str, name: str, number: int) -> Iterator[Namespace]:
    """Plug a host into a bridge."""
    host, lladdr = Namespace(f"{OURS}dad-{name}"), f"02:00:00:00:{number}:0"
    create_all([host])
    try:
        host.sysctl({"ipv6/conf/default/accept_dad": 1, "ipv6/conf/default/router_solicitation_delay": 0})
        where.ip(
            veth(number, (where, f"p-{name}", f"{lladdr}1"), (host, "eth0", f"{lladdr}2")),
            f"link set p-{name} master {bridge} up",
        )
        host.ip("link set eth0 up")
        yield host
    finally:
        where.run("ip", "link", "del", f"p-{name}", check=False)  # with its namespace it would go some time later
        delete_all([host])


def is_denied(host: Namespace, target: str) -> bool:
    """Tell whether a host that wants an address finds that it is taken."""
    host.ip(f"address add {target}/64 dev eth0")
    flags: dict[str, bool] = {}

    def settled() -> bool:
        flags.clear()
        (link,) = json.loads(host.run("ip", "-j", "-6", "address", "show", "dev", "eth0").stdout)
        (found,) = [info for info in link["addr_info"] if info["local"] == target]
        flags.update({name: value for name, value in found.items() if value is True})
        return "dadfailed" in flags or "tentative" not in flags

    wait_until(settled, 5, f"{target} to be kept or denied")
    host.ip(f"address del {target}/64 dev eth0")
    return "dadfailed" in flags


def conflicts(daemon: Installed) -> int:
    (line,) = [line for line in daemon.scrape().splitlines() if line.startswith("ndpresponder_dad_conflicts_total{")]
    return int(float(line.split()[1]))


def test_another_host_may_have_what_is_merely_claimed(vps_lab, other_host, fastpath):
    with Installed(vps_lab["vps"], "-n", CONTAINER_PREFIX, "-i", UPLINK, *fastpath.flags()) as daemon:
        for target in (CONTAINER, ABSENT, FREE):
            before = daemon.counters(UPLINK)
            assert not is_denied(other_host, target)
            counted = daemon.counters(UPLINK) - before
            assert counted["received dad"] >= 1
            assert counted["ignored not_ours" if target == FREE else "ignored dad_policy"] == counted["received dad"]
        assert vps_lab.ping("inet", CONTAINER)  # which still answers
        assert (conflicts(daemon), daemon.lines(WARNING)) == (0, [])


def test_what_is_live_is_defended_and_the_log_names_the_other_host(vps_lab, other_host, fastpath):
    flags = ("-n", CONTAINER_PREFIX, "-n", CONTAINER, "-n", C2, "-i", UPLINK)
    with Installed(vps_lab["vps"], *flags, *fastpath.flags()) as daemon:
        assert not is_denied(other_host, ABSENT)
        for number, target in enumerate((CONTAINER, C2), 1):
            assert is_denied(other_host, target)
            daemon.await_line(f"target={target}")
            assert conflicts(daemon) == daemon.counters(UPLINK)["sent dad"] >= number
        lines = daemon.lines(WARNING)
        assert len(lines) == 2
        assert all(f"lladdr={OTHER_LLADDR}" in line and "warning" in line for line in lines)
        is_denied(other_host, CONTAINER)  # once more, of the same host: counted
        assert (len(daemon.lines(WARNING)), conflicts(daemon)) == (2, daemon.counters(UPLINK)["sent dad"])


def test_a_container_that_a_bridge_shows_is_defended(vps_lab, other_host):
    with Installed(vps_lab["vps"], "-b", "br-ct", "-i", UPLINK) as daemon:
        assert vps_lab.ping("vps", CONTAINER)  # now the kernel has it as a neighbor
        daemon.await_line("answering")
        wait_until(lambda: is_denied(other_host, CONTAINER), 10, "the container to be known")
        assert not is_denied(other_host, ABSENT)


@pytest.mark.parametrize(
    ("policy", "denied"), [("defend", [True, True]), ("live", [True, False]), ("ignore", [False, False])]
)
def test_each_policy_denies_what_it_says(vps_lab, other_host, policy, denied):
    # An announcement of a live target would deny it as well, for 2 s
    flags = ("-n", CONTAINER_PREFIX, "-n", CONTAINER, "-i", UPLINK, "-a", "never", "--dad", policy)
    with Installed(vps_lab["vps"], *flags) as daemon:
        assert [is_denied(other_host, target) for target in (CONTAINER, ABSENT)] == denied
        assert conflicts(daemon) >= sum(denied)
        assert bool(daemon.lines(WARNING)) == any(denied)


def test_what_was_verified_is_defended_and_what_was_not_found_is_not(vps_lab, other_host):
    with Installed(vps_lab["vps"], "-n", CONTAINER_PREFIX, "-i", UPLINK, "--verify") as daemon:
        assert is_denied(other_host, CONTAINER)
        assert not is_denied(other_host, ABSENT)
        assert daemon.counters(UPLINK)["ignored not_verified"] >= 1
        assert len(daemon.lines(WARNING)) == 1


def test_a_reload_changes_the_policy_and_an_upgrade_keeps_it(vps_lab, other_host, tmp_path: Path):
    file = tmp_path / "ndpresponder.toml"

    def write(policy: str) -> None:
        file.write_text(f"""
version = 1
[[interface]]
name = "{UPLINK}"
prefixes = ["{CONTAINER_PREFIX}"]
{policy}
""")

    write('dad = "defend"')
    with Installed(vps_lab["vps"], "-c", str(file)) as daemon:
        assert is_denied(other_host, ABSENT)
        for policy, denied in (("", False), ('dad = "defend"', True)):
            write(policy)
            daemon.process.send_signal(1)
            daemon.await_notice("READY=1", 10)
            assert is_denied(other_host, ABSENT) == denied
        daemon.process.send_signal(12)
        daemon.await_notice("READY=1", 15)
        assert is_denied(other_host, ABSENT)


def test_a_guest_that_is_bridged_to_the_uplink_has_its_address(vps_lab, make_namespace):
    """The commonest way to run Proxmox: the uplink is a bridge, guests are its ports, and all is one /64."""
    host = make_namespace("vmbr")
    host.sysctl({"ipv6/conf/default/accept_dad": 0, "ipv6/conf/all/forwarding": 1})
    host.ip(
        f"link add vmbr0 address {VPS_LLADDR} type bridge mcast_snooping 0 forward_delay 0",
        "address add 2001:db8::2/64 dev vmbr0 nodad",
        "link set vmbr0 up",
    )
    with host_on(host, "vmbr0", "guest", 51) as guest, Installed(host, "-i", "vmbr0", "-n", "2001:db8::/64") as daemon:
        daemon.await_line("on_link=2001:db8::/64")
        for target in ("2001:db8::5", "2001:db8::c1"):
            assert not is_denied(guest, target)
        assert daemon.counters("vmbr0")["ignored dad_policy"] >= 2
        assert is_denied(guest, "2001:db8::2")  # the host's own, by its kernel
