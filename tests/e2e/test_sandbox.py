"""The shipped sandbox under real systemd: all that the daemon does works in it, what it does not need is refused."""

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from booted_debian import Machine, debian_root
from container_engines import NEEDS_DOCKER, Docker, network
from installed_service import (
    CONFIGURATION,
    METRICS,
    UNIT,
    configure,
    drop_in,
    installed_on,
    journal,
    pristine,
    reachable,
    shipped_drop_in,
    show,
    wait_for_failure,
)
from kernel_runs import require_bpf
from peer import ETH_FLAG_RXVLAN, ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, ethtool
from requirements import OURS
from shared_lab import SharedLab

from ndpresponder.errors import ExitCode
from ndpresponder.lab import Lab, wait_until
from ndpresponder.lab.topology import CONTAINER, GATEWAY

NEWER = "trixie"  # systemd 257
PROBE = Path(__file__).parents[1] / "support/sandbox_probe.py"
IN_ITS_PLACE = (
    "Type=oneshot",
    "Restart=no",
    "WatchdogSec=0",
    "ExecStart=",
    f"ExecStart=/opt/ndpresponder/bin/python3 /share/{PROBE.name}",
)
IN_DOCKER = "2001:db8::d5"
SUBNETS = ("--subnet", "172.29.0.0/16", "--subnet", "2001:db8::d0/124")
SCRAPE = """
import urllib.request
print(urllib.request.urlopen("http://[::1]:9846/metrics", timeout=5).read().decode())
"""
WHILE_IT_IS_DOWN = (
    "import socket; socket.create_connection(('::1', 9846), 5).sendall(b'GET /healthz HTTP/1.0\\r\\n\\r\\n')"
)
EVERYTHING = """
version = 1
install_routes = ADMIN
[log]
level = "debug"
[[interface]]
name = "uplink"
prefixes = ["2001:db8::/112"]
verify = true
mld_source = "both"
gateway_keepalive = "always"
pin_gateway = ADMIN
fastpath = "FASTPATH"
[[source.bridge]]
name = "br-ct"
[source.routes]
[[source.file]]
path = "/etc/ndpresponder/addresses"
"""
WITH_DROP_INS = """
[[source.docker]]
networks = ["exposed"]
[[source.wireguard]]
name = "wg0"
"""
ASKED = (
    "status",
    "targets",
    f"explain {CONTAINER}",
    "add 2001:db8:7::/64",
    "remove 2001:db8:7::/64",
    "log debug",
    "reload",
    "upgrade",
)
ALLOWED = {"packet socket", "netlink socket"}


@pytest.fixture(scope="module")
def newer_root() -> Iterator[Future[Path]]:
    """Build the newer release while the host's own is tested."""
    with ThreadPoolExecutor(1) as builder:
        yield builder.submit(debian_root, NEWER)


@pytest.fixture(scope="module")
def newer_lab(newer_root: Future[Path]) -> Iterator[Lab]:
    newer_root.result()
    with SharedLab(f"{OURS}sb") as lab:
        lab.filter("strict")
        yield lab


@pytest.fixture(scope="module")
def newer_machine(newer_lab: Lab) -> Iterator[Machine]:
    with installed_on(newer_lab, NEWER) as machine:
        yield machine


def probe_in_its_place(machine: Machine, *lines: str) -> None:
    (machine.share / PROBE.name).write_text(PROBE.read_text())
    drop_in(machine, *IN_ITS_PLACE, *lines)


def attempts(machine: Machine) -> dict[str, object]:
    """Return what the probe reports when it runs in the daemon's place."""
    since = since_now(machine)
    probe_in_its_place(machine)
    machine.run("systemctl", "start", UNIT)
    (said,) = (
        entry["MESSAGE"]
        for entry in journal(machine, since, f"--unit={UNIT}", "_TRANSPORT=stdout")
        if entry["MESSAGE"].startswith("{")
    )
    return json.loads(said)


def open_to_all(machine: Machine) -> None:
    """Make an engine's socket that nothing but its being hidden protects."""
    listen = (
        "import socket,time; s=socket.socket(socket.AF_UNIX); s.bind('/run/docker.sock'); s.listen(); time.sleep(600)"
    )
    machine.run("systemd-run", "--quiet", "--unit=engine", "--property=UMask=0", "python3", "-c", listen)
    wait_until(lambda: machine.run("test", "-S", "/run/docker.sock", check=False).returncode == 0, 5, "the socket")


def test_what_a_daemon_that_was_taken_over_can_do(machine: Machine) -> None:
    open_to_all(machine)
    try:
        seen = attempts(machine)
        shipped_drop_in(machine, "ndpresponder-docker.conf")
        machine.run("groupadd", "--force", "docker")
        with_docker = attempts(machine)
    finally:
        machine.run("sh", "-c", "systemctl stop engine; rm -f /run/docker.sock")
    below_run = seen.pop("run")
    assert {path for path in below_run if not path.startswith(("/run/systemd/journal/", "/run/systemd/incoming"))} == {
        "/run/ndpresponder",
        "/run/systemd",
        "/run/systemd/journal",
        "/run/systemd/notify",
    }
    assert {name for name, outcome in seen.items() if outcome == "allowed"} == ALLOWED
    refused = {name: outcome for name, outcome in seen.items() if name not in ALLOWED}
    assert {name for name, outcome in refused.items() if outcome == "EAFNOSUPPORT"} == {
        "IPv4 socket",
        "IPv6 socket",
        "raw IPv6 socket",
        "kernel crypto socket",
    }
    assert refused["engine's socket"] == "ENOENT"
    assert {name for name, outcome in with_docker.items() if outcome == "allowed"} == ALLOWED | {"engine's socket"}


def since_now(machine: Machine) -> str:
    return f"--since=@{machine.run('date', '+%s.%N').stdout.strip()}"


def sources_up(machine: Machine) -> set[str]:
    """Return which kinds of sources can be read."""
    exposition = machine.run("python3", "-c", SCRAPE).stdout
    return set(re.findall(r'(?m)^ndpresponder_source_up{[^}]*source="(\w+)"[^}]*} 1\.0', exposition))


@contextlib.contextmanager
def every_drop_in(lab: Lab, machine: Machine) -> Iterator[None]:
    """Install every drop-in that is shipped, and run a real engine whose socket the machine has in its place."""
    for drop_in_file in sorted((machine.share / "systemd").glob("*.conf")):
        shipped_drop_in(machine, drop_in_file.name)
    machine.run("groupadd", "--force", "docker")
    with Docker(lab["vps"]) as docker, network(docker, "exposed", *SUBNETS):
        docker.run_container("d1", "exposed", IN_DOCKER)
        os.link(docker.url.removeprefix("unix://"), machine.share / "docker.sock")
        machine.run("chgrp", "docker", "/share/docker.sock")
        machine.run("ln", "-s", "/share/docker.sock", "/run/docker.sock")
        try:
            yield
        finally:
            machine.run("rm", "/run/docker.sock", "/share/docker.sock")


def systemd_version(machine: Machine) -> int:
    return int(machine.run("systemctl", "--version").stdout.split()[1])


each_way = pytest.mark.parametrize("drop_ins", [False, True], ids=["bare", "drop-ins"])


@pytest.mark.needs(*NEEDS_DOCKER)
@each_way
def test_whatever_it_does_is_allowed(machine: Machine, vps_lab: Lab, newer_root: object, drop_ins: bool) -> None:
    assert systemd_version(machine) >= 252
    do_everything(vps_lab, machine, drop_ins)


@pytest.mark.needs(*NEEDS_DOCKER)
@each_way
def test_whatever_it_does_is_allowed_by_a_newer_systemd(newer_machine: Machine, newer_lab: Lab, drop_ins: bool) -> None:
    assert systemd_version(newer_machine) >= 257
    do_everything(newer_lab, newer_machine, drop_ins)


def do_everything(lab: Lab, machine: Machine, drop_ins: bool) -> None:
    """Run the daemon with all that it can do, where a system call outside the list ends it instead of being refused."""
    with pristine(machine), every_drop_in(lab, machine) if drop_ins else contextlib.nullcontext():
        drop_in(machine, "SystemCallErrorNumber=kill")
        text = EVERYTHING.replace("ADMIN", str(drop_ins).lower()).replace("FASTPATH", "tcx" if drop_ins else "off")
        text += WITH_DROP_INS if drop_ins else ""
        (machine.share / "everything.toml").write_text(text)
        machine.run("cp", "/share/everything.toml", CONFIGURATION)
        machine.run("sh", "-c", f"echo {CONTAINER} >/etc/ndpresponder/addresses")
        since = since_now(machine)
        machine.run("systemctl", "start", UNIT)
        kinds = {"static", "bridge", "routes", "file"} | ({"docker", "wireguard"} if drop_ins else set())
        wait_until(lambda: kinds <= sources_up(machine), 10, "all sources")
        assert reachable(lab)
        assert lab.ping("inet", IN_DOCKER if drop_ins else CONTAINER, deadline=3)
        if drop_ins:
            shown = ("ip", "-6", "neigh", "show", GATEWAY, "dev", "uplink")
            wait_until(lambda: "PERMANENT" in lab.run("vps", *shown).stdout, 5, "the pin")
        for command in ASKED:
            machine.run("ndpresponder", *command.split())
        assert reachable(lab)
        # The successor answers before all that can be asked is open again, which it waits for until it says READY
        wait_until(lambda: show(machine, "ActiveState")["ActiveState"] == "active", 10, "the upgrade to end")
        assert show(machine, "ActiveState", "NRestarts", "StatusText") == {
            "ActiveState": "active",
            "NRestarts": "0",
            "StatusText": "answering on uplink",
        }
        machine.run("systemctl", "stop", UNIT)
        assert show(machine, "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
        said = [entry["MESSAGE"] for entry in journal(machine, since, f"--unit={UNIT}")]
        assert [
            line for line in said if re.search("not permitted|denied|not supported|Traceback|fault of ours", line)
        ] == []


@contextlib.contextmanager
def tags_left(lab: Lab) -> Iterator[None]:
    """Leave VLAN tags in the frames that XDP sees on the uplink."""
    with lab["vps"].enter():
        flags = ethtool("uplink", ETHTOOL_GFLAGS)
        ethtool("uplink", ETHTOOL_SFLAGS, flags & ~ETH_FLAG_RXVLAN)
    try:
        yield
    finally:
        with lab["vps"].enter():
            ethtool("uplink", ETHTOOL_SFLAGS, flags)


def test_the_fast_path_by_xdp_is_allowed(machine: Machine, vps_lab: Lab) -> None:
    require_bpf()
    shipped_drop_in(machine, "ndpresponder-fastpath.conf")
    drop_in(machine, "SystemCallErrorNumber=kill")
    configure(machine, '^fastpath = "off"', 'fastpath = "xdp"')
    with tags_left(vps_lab):
        since = since_now(machine)
        machine.run("systemctl", "start", UNIT)
        assert reachable(vps_lab)
        machine.run("ndpresponder", "add", "2001:db8:7::/64")  # which exchanges the program for another
        assert reachable(vps_lab)
        answered = 'ndpresponder_advertisements_sent_total{interface="uplink",kind="solicited"} '
        assert float(machine.run("python3", "-c", SCRAPE).stdout.partition(answered)[2].split()[0]) >= 2
        machine.run("systemctl", "stop", UNIT)
    assert show(machine, "Result", "NRestarts") == {"Result": "success", "NRestarts": "0"}
    said = [entry["MESSAGE"] for entry in journal(machine, since, f"--unit={UNIT}")]
    assert any("fast path attached" in line for line in said)
    assert [line for line in said if "fast path failed" in line or "not permitted" in line] == []


def test_a_call_outside_the_list_would_have_ended_it(machine: Machine) -> None:
    probe_in_its_place(machine, "SystemCallErrorNumber=kill")
    assert wait_for_failure(machine)["ExecMainStatus"] == str(int(signal.SIGSYS))


def learned(lab: Lab) -> bool:
    """Tell whether the hypervisor's bridge has learned the container's group at the VPS's port."""
    group = f"ff02::1:ff00:{CONTAINER.rpartition(':')[2]}"
    return f"port p-vps grp {group} " in lab.run("hv", "bridge", "mdb", "show", "dev", "br0").stdout


def test_a_bridge_that_snoops_lets_solicitations_through(machine: Machine, vps_lab: Lab) -> None:
    configure(machine, r"^prefixes = .*", f'prefixes = ["{CONTAINER}"]')
    vps_lab["hv"].ip("link set p-vps nomaster", "link set p-vps master br0")  # what the port joined is forgotten
    vps_lab.snooping(True)
    try:
        assert not reachable(vps_lab)
        machine.run("systemctl", "start", UNIT)
        wait_until(lambda: learned(vps_lab), 5, "the bridge to learn the group")
        assert reachable(vps_lab)
    finally:
        vps_lab.snooping(False)


def test_a_file_below_run_is_followed_once_its_directory_is_let_in(machine: Machine, vps_lab: Lab) -> None:
    machine.run("sh", "-c", f"mkdir -p /run/lists && echo {CONTAINER} >/run/lists/addresses")
    configure(machine, r"^prefixes = .*", "prefixes = []")
    configure(machine, r"(?s)\Z", '\n[[source.file]]\npath = "/run/lists/addresses"\n')
    machine.run("systemctl", "start", UNIT)
    assert not reachable(vps_lab)
    machine.run("systemctl", "stop", UNIT)
    drop_in(machine, "BindReadOnlyPaths=/run/lists")
    machine.run("systemctl", "start", UNIT)
    wait_until(lambda: reachable(vps_lab), 5, "an answer")


def is_listening(machine: Machine) -> bool:
    return "[::1]:9846" in machine.run("ss", "-Hltn").stdout


def test_the_port_comes_and_goes_with_the_daemon_and_starts_nothing(machine: Machine) -> None:
    assert not is_listening(machine)
    machine.run("systemctl", "start", UNIT)
    assert is_listening(machine)
    machine.run("systemctl", "restart", UNIT)
    assert "ndpresponder_build_info" in machine.run("python3", "-c", SCRAPE).stdout
    machine.run("systemctl", "stop", UNIT)  # which returns before what is a part of it has stopped as well
    wait_until(lambda: not is_listening(machine), 5, "the port to close")
    assert show(machine, "ActiveState", unit=METRICS) == {"ActiveState": "inactive"}
    assert show(machine, "ActiveState") == {"ActiveState": "inactive"}


def test_a_scraper_that_waits_does_not_start_a_daemon_that_cannot_run_again_and_again(
    machine: Machine,
) -> None:
    configure(machine, r'^router_flag = "auto"', 'router_flag = "sometimes"')
    since = since_now(machine)
    wait_for_failure(machine)
    machine.run("python3", "-c", WHILE_IT_IS_DOWN)
    with pytest.raises(TimeoutError):
        wait_until(lambda: starts(machine, since) > 2, 2, "more starts")
    assert starts(machine, since) == 2  # one for each connection, and no more


def starts(machine: Machine, since: str) -> int:
    """Return how often the daemon was started and told what is wrong."""
    said = journal(machine, since, f"--unit={UNIT}")
    return sum("sometimes" in entry["MESSAGE"] for entry in said)


def test_the_socket_that_is_passed_wins_and_that_is_said_once(machine: Machine) -> None:
    configure(machine, r"^listen = .*", 'listen = "[::1]:9999"')
    since = since_now(machine)
    machine.run("systemctl", "start", UNIT)
    assert "ndpresponder_build_info" in machine.run("python3", "-c", SCRAPE).stdout
    (entry,) = journal(machine, since, f"--unit={UNIT}", "NDP_INSTEAD_OF=[::1]:9999")
    assert entry["NDP_LISTEN"] == "[::1]:9846"
    assert "9999" not in machine.run("ss", "-Hltn").stdout


def test_a_port_of_its_own_needs_its_drop_in(machine: Machine) -> None:
    machine.run("systemctl", "disable", "--quiet", METRICS)
    configure(machine, r"^listen = .*", 'listen = "[::1]:9846"')
    drop_in(machine, "Restart=no")
    since = since_now(machine)
    assert wait_for_failure(machine)["ExecMainStatus"] == str(int(ExitCode.SYSTEM))
    said = "\n".join(entry["MESSAGE"] for entry in journal(machine, since, f"--unit={UNIT}"))
    assert "ndpresponder-metrics.socket" in said
    shipped_drop_in(machine, "ndpresponder-metrics-port.conf")
    machine.run("systemctl", "start", UNIT)
    assert is_listening(machine)
    assert "ndpresponder_build_info" in machine.run("python3", "-c", SCRAPE).stdout


def test_without_a_journal_it_answers_and_is_heard_again_when_there_is_one(machine: Machine, vps_lab: Lab) -> None:
    parts = ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket")
    uplink = vps_lab["vps"]
    machine.run("systemctl", "start", UNIT)
    assert reachable(vps_lab)
    machine.run("systemctl", "stop", *parts)
    try:
        uplink.sysctl({"ipv6/conf/uplink/forwarding": 0})  # which is told
        assert reachable(vps_lab)
    finally:
        machine.run("systemctl", "start", *parts)
        uplink.sysctl({"ipv6/conf/uplink/forwarding": 1})
    assert show(machine, "ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}
    matches = (f"--unit={UNIT}", "NDP_ROUTER=True")
    wait_until(lambda: any("interface changed" in entry["MESSAGE"] for entry in journal(machine, *matches)), 5, "it")
