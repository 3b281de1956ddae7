"""Behind a strict filter the VPS's kernel cannot resolve its gateway for what it forwards: the daemon keeps it known.

Two neighbor timers of the VPS are short here (an entry is REACHABLE for 0.5 to 1.5 s, then works for 4 s), so that
twelve seconds show what takes a minute elsewhere.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_process import COMMAND, Installed, clean_environment
from requirements import OURS, require
from shared_lab import SharedLab

from ndpresponder.errors import ExitCode
from ndpresponder.lab import Lab, Namespace, wait_until
from ndpresponder.lab.topology import CONTAINER, CONTAINER_PREFIX, GATEWAY, ROUTER_LLADDR

FLAGS = ("--iface", "uplink", "--prefix", CONTAINER_PREFIX)
OTHER_LLADDR = "02:00:00:00:00:99"
PINNED = (ROUTER_LLADDR, "PERMANENT", "110")


class Confined:
    """A namespace in which commands run with some capabilities only."""

    def __init__(self, namespace: Namespace, *capabilities: str) -> None:
        self._namespace = namespace
        self._set = ",".join(["-all", *(f"+{name}" for name in capabilities)])

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        return self._namespace.popen("setpriv", "--bounding-set", self._set, *argv, **options)


@pytest.fixture(scope="module")
def gateway_lab() -> Iterator[Lab]:
    require("ip", "nft", "ping", "setpriv")
    with SharedLab(f"{OURS}gw", "macvlan", containers=1) as lab:
        timers = {"base_reachable_time_ms": 1000, "delay_first_probe_time": 1}
        lab["vps"].sysctl({f"ipv6/neigh/uplink/{name}": value for name, value in timers.items()})
        yield lab


@pytest.fixture
def cold(gateway_lab: Lab) -> Lab:
    """Return the lab with a strict filter and no neighbor known."""
    gateway_lab["rtr"].ip(f"link set lan0 address {ROUTER_LLADDR}")
    gateway_lab.reset()
    gateway_lab["vps"].ip("neigh flush nud permanent dev uplink")
    gateway_lab.filter("strict")
    return gateway_lab


def entry(lab: Lab) -> tuple[str, ...]:
    """Return link-layer address, state and protocol (if any) of the VPS's neighbor entry of its gateway."""
    shown = lab.run("vps", "ip", "-6", "-d", "-j", "neigh", "show", GATEWAY, "dev", "uplink").stdout
    for found in json.loads(shown or "[]"):
        return tuple(str(word) for word in (found.get("lladdr"), *found["state"], found.get("protocol")) if word)
    return ()


def pinged(lab: Lab, count: int) -> int:
    """Ping the container from the internet, five times a second; return how many replies came."""
    return lab.ping("inet", CONTAINER, count=count).received


def off(directory: Path) -> str:
    """Write a configuration without a keep-alive."""
    file = directory / "off.toml"
    prefixes = f'prefixes = ["{CONTAINER_PREFIX}"]'
    file.write_text(f'version = 1\n[[interface]]\nname = "uplink"\n{prefixes}\ngateway_keepalive = "never"\n')
    return str(file)


def test_without_a_keep_alive_nothing_behind_the_host_can_send(cold, tmp_path):
    with Installed(cold["vps"], "--config", off(tmp_path)):
        assert pinged(cold, 15) == 0


def test_without_a_keep_alive_a_gateway_that_was_known_is_forgotten(cold, tmp_path):
    with Installed(cold["vps"], "--config", off(tmp_path)):
        cold.resolve_gateway()
        assert 0 < pinged(cold, 35) < 35


def test_with_the_keep_alive_and_cap_net_raw_alone_every_ping_returns(cold):
    with Installed(Confined(cold["vps"], "net_raw"), *FLAGS) as daemon:
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
        assert "CapEff:\t0000000000002000" in status
        assert pinged(cold, 60) == 60
    assert entry(cold)[0] == ROUTER_LLADDR


def test_with_a_pin_alone_every_ping_returns_and_the_entry_is_ordinary_again_at_the_end(cold, tmp_path):
    confined = Confined(cold["vps"], "net_raw", "net_admin")
    with Installed(confined, "--config", off(tmp_path), "--pin-gateway") as daemon:
        daemon.await_line("gateway pinned")
        assert entry(cold) == PINNED
        assert pinged(cold, 20) == 20
        assert entry(cold) == PINNED
    assert entry(cold)[0] == ROUTER_LLADDR
    assert "PERMANENT" not in entry(cold)
    assert "110" not in entry(cold)


def test_the_pin_follows_a_gateway_with_another_lladdr(cold, tmp_path):
    with Installed(cold["vps"], "--config", off(tmp_path), "--pin-gateway") as daemon:
        daemon.await_line("gateway pinned")
        cold["rtr"].ip(f"link set lan0 address {OTHER_LLADDR}")
        wait_until(lambda: entry(cold) == (OTHER_LLADDR, *PINNED[1:]), 8, "the entry to follow")
        wait_until(lambda: pinged(cold, 1) == 1, 5, "a ping")
    assert entry(cold)[0] == OTHER_LLADDR


def test_the_keep_alive_follows_a_gateway_with_another_lladdr(cold):
    with Installed(cold["vps"], *FLAGS):
        wait_until(lambda: pinged(cold, 1) == 1, 5, "a ping")
        cold["rtr"].ip(f"link set lan0 address {OTHER_LLADDR}")
        wait_until(lambda: pinged(cold, 1) == 1 and entry(cold)[0] == OTHER_LLADDR, 15, "a ping by the new address")


def test_a_gateway_that_appears_or_is_replaced_is_pinned_and_the_old_one_given_back(cold, tmp_path):
    cold["rtr"].ip("address add 2001:db8:0:0:ffff::9/64 dev lan0 nodad")
    try:
        with Installed(cold["vps"], "--config", off(tmp_path), "--pin-gateway") as daemon:
            daemon.await_line("gateway pinned")
            cold["vps"].ip("route replace ::/0 via 2001:db8:0:0:ffff::9")
            shown = ("ip", "-6", "neigh", "show", "nud", "permanent", "dev", "uplink")
            wait_until(lambda: "ffff:0:0:9 " in cold.run("vps", *shown).stdout, 5, "the new gateway's entry")
            assert PINNED[1] not in entry(cold)
    finally:
        cold["vps"].ip(f"route replace ::/0 via {GATEWAY}")
        cold["rtr"].ip("address del 2001:db8:0:0:ffff::9/64 dev lan0")


def test_an_entry_that_somebody_else_pinned_is_left_alone(cold, tmp_path):
    theirs = (ROUTER_LLADDR, "PERMANENT")
    cold["vps"].ip(f"neigh replace {GATEWAY} lladdr {ROUTER_LLADDR} dev uplink nud permanent")
    with Installed(cold["vps"], "--config", off(tmp_path), "--pin-gateway") as daemon:
        daemon.await_line("pinned by somebody else")
        assert entry(cold) == theirs
    assert entry(cold) == theirs


def test_a_pin_left_by_a_killed_daemon_is_taken_over(cold, tmp_path):
    flags = ("--config", off(tmp_path), "--pin-gateway")
    killed = cold.popen("vps", COMMAND, *flags, env=clean_environment(), stderr=subprocess.DEVNULL)
    wait_until(lambda: entry(cold) == PINNED, 10, "the entry")
    killed.kill()
    killed.wait()
    assert entry(cold) == PINNED
    with Installed(cold["vps"], *flags) as daemon:
        daemon.scrape()  # all its parts have started
        wait_until(lambda: entry(cold) == PINNED, 5, "the entry")
        cold["rtr"].ip(f"link set lan0 address {OTHER_LLADDR}")
        wait_until(lambda: entry(cold)[:1] == (OTHER_LLADDR,), 8, "the entry to follow")
    assert "PERMANENT" not in entry(cold)


def test_an_entry_that_is_lost_with_the_link_is_made_again(cold, tmp_path):
    with Installed(cold["vps"], "--config", off(tmp_path), "--pin-gateway") as daemon:
        daemon.await_line("gateway pinned")
        cold["vps"].ip(
            "link set uplink down",
            "link set uplink up",
            "address replace 2001:db8:0:0:ffff::2/64 dev uplink nodad",
            f"route replace ::/0 via {GATEWAY}",
        )
        wait_until(lambda: entry(cold) == PINNED, 8, "the entry")


def test_a_gateway_that_is_silent_holds_up_nothing(cold, tmp_path):
    cold["rtr"].ip("link set lan0 arp off")
    try:
        with Installed(cold["vps"], "--config", off(tmp_path), "--pin-gateway"):
            assert "PERMANENT" not in entry(cold)
    finally:
        cold["rtr"].ip("link set lan0 arp on")


@pytest.mark.parametrize("flag", ["--pin-gateway", "--install-routes"])
def test_without_cap_net_admin_the_message_names_the_drop_in(cold, flag):
    process = Confined(cold["vps"], "net_raw").popen(
        COMMAND, *FLAGS, flag, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = process.communicate(timeout=10)
    assert process.returncode == ExitCode.NO_PERMISSION
    assert "needs CAP_NET_ADMIN" in said
    assert "systemd/ndpresponder-net-admin.conf" in said
    assert "Traceback" not in said
