"""The units under a real systemd, booted in the lab's VPS, with the wheel installed, behind the filter."""

import json
import re
import subprocess
import time

import pytest
from booted_debian import Machine
from installed_service import (
    CONFIGURATION,
    INSTANCE,
    METRICS,
    UNIT,
    configure,
    drop_in,
    journal,
    of_socket,
    reachable,
    shipped_drop_in,
    show,
    wait_for_failure,
)
from kernel_runs import attached_programs, require_bpf

from ndpresponder.errors import ExitCode
from ndpresponder.lab import Lab, wait_until
from ndpresponder.lab.topology import CONTAINER, CONTAINER_PREFIX, GATEWAY, ROUTER_LLADDR, VPS

FETCH = """
import sys, urllib.request
print(urllib.request.urlopen(f"http://{sys.argv[1]}:9846/metrics", timeout=1).read().decode())
"""
CAP_NET_RAW = 1 << 13
CONTROL = "/run/ndpresponder/control.sock"
ANYBODY = ("setpriv", "--reuid=12345", "--regid=12345")
DYNAMIC_USERS = range(61184, 65520)


@pytest.fixture
def service(machine: Machine) -> Machine:
    machine.run("systemctl", "start", UNIT)
    return machine


def test_systemctl_start_returns_when_containers_are_reachable(machine: Machine, vps_lab: Lab) -> None:
    assert not reachable(vps_lab)
    machine.run("systemctl", "start", UNIT)
    assert reachable(vps_lab)
    assert show(machine, "ActiveState", "SubState", "StatusText", "NRestarts") == {
        "ActiveState": "active",
        "SubState": "running",
        "StatusText": "answering on uplink",
        "NRestarts": "0",
    }


def test_the_daemon_runs_as_nobody_else_and_may_open_raw_sockets_only(service: Machine) -> None:
    pid = show(service, "MainPID")["MainPID"]
    status = dict(line.split(":\t", 1) for line in service.run("cat", f"/proc/{pid}/status").stdout.splitlines())
    uids = {int(uid) for uid in status["Uid"].split()}
    assert len(uids) == 1
    assert uids.pop() in DYNAMIC_USERS
    capabilities = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert capabilities == dict.fromkeys(capabilities, CAP_NET_RAW)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_the_first_answer_is_one_journal_entry_with_fields(service: Machine, vps_lab: Lab) -> None:
    since = service.run("date", "+%s.%N").stdout.strip()
    assert reachable(vps_lab)
    assert reachable(vps_lab)
    (entry,) = journal(service, f"--since=@{since}", f"--unit={UNIT}", f"NDP_TARGET={CONTAINER}")
    assert entry["MESSAGE"].startswith("first answer for this target")
    assert entry["NDP_INTERFACE"] == "uplink"
    assert entry["PRIORITY"] == "6"


def test_metrics_are_served_inside_the_sandbox(service: Machine, vps_lab: Lab) -> None:
    assert reachable(vps_lab)
    exposition = service.run("python3", "-c", FETCH, "[::1]").stdout
    assert 'advertisements_sent_total{interface="uplink",kind="solicited"} 1.0' in exposition
    assert "process_start_time_seconds" in exposition
    assert 'ndpresponder_kernel_drops_total{interface="uplink"} 0.0' in exposition


def test_metrics_are_for_this_host_whatever_they_listen_on(machine: Machine) -> None:
    of_socket(machine, "ListenStream=", "ListenStream=[::]:9846")
    machine.run("systemctl", "start", UNIT)
    assert "ndpresponder_build_info" in machine.run("python3", "-c", FETCH, "[::1]").stdout
    assert "timed out" in machine.run("python3", "-c", FETCH, f"[{VPS}]", check=False).stderr


def test_systemctl_stop_is_clean_and_fast(service: Machine, vps_lab: Lab) -> None:
    began = time.monotonic()
    service.run("systemctl", "stop", UNIT)
    assert time.monotonic() - began < 2.0
    assert show(service, "ActiveState", "Result", "ExecMainStatus") == {
        "ActiveState": "inactive",
        "Result": "success",
        "ExecMainStatus": "0",
    }
    assert not reachable(vps_lab)


def test_a_daemon_that_hangs_is_replaced(machine: Machine, vps_lab: Lab) -> None:
    machine.run("systemctl", "start", UNIT)
    hanging = show(machine, "MainPID")["MainPID"]
    machine.run("systemctl", "kill", "--signal=STOP", UNIT)
    wait_until(
        lambda: show(machine, "ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "1"},
        10.0,
        "the watchdog to replace the daemon",
    )
    assert show(machine, "MainPID")["MainPID"] != hanging
    assert reachable(vps_lab)


def test_a_daemon_that_works_is_left_alone_by_the_watchdog(machine: Machine) -> None:
    drop_in(machine, "WatchdogSec=1s")
    machine.run("systemctl", "start", UNIT)
    first = show(machine, "WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"]

    def beats_after_s() -> float:
        return (int(show(machine, "WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"]) - int(first)) / 1e6

    wait_until(lambda: beats_after_s() > 2.0, 10.0, "heartbeats for two periods")
    assert show(machine, "NRestarts")["NRestarts"] == "0"


def test_a_killed_daemon_is_back_within_two_seconds(service: Machine, vps_lab: Lab) -> None:
    service.run("systemctl", "kill", "--signal=KILL", UNIT)
    wait_until(
        lambda: show(service, "ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "1"},
        2.0,
        "the daemon to be back",
    )
    assert reachable(vps_lab)


def test_a_bad_configuration_is_told_once_and_not_tried_again(machine: Machine) -> None:
    since = machine.run("date", "+%s.%N").stdout.strip()
    configure(machine, r'^router_flag = "auto"', 'router_flag = "sometimes"')
    assert wait_for_failure(machine) == {"ExecMainStatus": str(int(ExitCode.CONFIG)), "NRestarts": "0"}
    said = "\n".join(entry["MESSAGE"] for entry in journal(machine, f"--since=@{since}", f"--unit={UNIT}"))
    assert re.search(rf"{CONFIGURATION}:\d+: .*router_flag.*sometimes", said), said


def test_a_missing_capability_is_told_with_the_line_that_grants_it(machine: Machine) -> None:
    since = machine.run("date", "+%s.%N").stdout.strip()
    drop_in(machine, "AmbientCapabilities=", "CapabilityBoundingSet=")
    assert wait_for_failure(machine) == {"ExecMainStatus": str(int(ExitCode.NO_PERMISSION)), "NRestarts": "0"}
    said = "\n".join(entry["MESSAGE"] for entry in journal(machine, f"--since=@{since}", f"--unit={UNIT}"))
    assert "AmbientCapabilities=CAP_NET_RAW" in said


def test_with_the_drop_in_for_cap_net_admin_the_gateway_is_pinned_until_the_service_stops(
    machine: Machine, vps_lab: Lab
) -> None:
    shipped_drop_in(machine, "ndpresponder-net-admin.conf")
    configure(machine, "^pin_gateway = false", "pin_gateway = true")
    configure(machine, "^install_routes = false", "install_routes = true")
    machine.run("systemctl", "start", UNIT)
    shown = ("ip", "-6", "neigh", "show", GATEWAY, "dev", "uplink")
    wait_until(lambda: "PERMANENT" in vps_lab.run("vps", *shown).stdout, 5, "the pin")
    assert show(machine, "ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}
    machine.run("systemctl", "stop", UNIT)
    assert show(machine, "Result") == {"Result": "success"}
    assert "PERMANENT" not in vps_lab.run("vps", *shown).stdout
    assert ROUTER_LLADDR in vps_lab.run("vps", *shown).stdout


def test_with_the_drop_in_for_the_fast_path_the_kernel_answers(machine: Machine, vps_lab: Lab) -> None:
    require_bpf()
    since = machine.run("date", "+%s.%N").stdout.strip()
    configure(machine, '^fastpath = "off"', 'fastpath = "tcx"')
    assert wait_for_failure(machine) == {"ExecMainStatus": str(int(ExitCode.NO_PERMISSION)), "NRestarts": "0"}
    said = "\n".join(entry["MESSAGE"] for entry in journal(machine, f"--since=@{since}", f"--unit={UNIT}"))
    assert "the fast path needs CAP_NET_ADMIN and CAP_BPF" in said
    shipped_drop_in(machine, "ndpresponder-fastpath.conf")
    machine.run("systemctl", "reset-failed", UNIT)
    machine.run("systemctl", "start", UNIT)
    assert len(attached_programs(vps_lab["vps"], "uplink")) == 1
    assert reachable(vps_lab)
    machine.run("systemctl", "kill", "--signal=KILL", UNIT)
    wait_until(
        lambda: show(machine, "NRestarts", "ActiveState") == {"NRestarts": "1", "ActiveState": "active"}, 2, "it"
    )
    assert len(attached_programs(vps_lab["vps"], "uplink")) == 1
    assert reachable(vps_lab)
    machine.run("systemctl", "stop", UNIT)
    assert attached_programs(vps_lab["vps"], "uplink") == []


def test_an_uplink_that_is_not_there_yet_does_not_hold_up_the_start(machine: Machine) -> None:
    configure(machine, r'^name = "uplink"', 'name = "later0"')
    machine.run("systemctl", "start", UNIT, timeout=10)
    assert show(machine, "ActiveState", "StatusText") == {
        "ActiveState": "active",
        "StatusText": "waiting for later0",
    }


def test_an_instance_answers_on_its_interface(machine: Machine, vps_lab: Lab) -> None:
    machine.run("sh", "-c", f"echo NDPRESPONDER_PREFIX={CONTAINER_PREFIX} >/etc/default/ndpresponder-uplink")
    machine.run("systemctl", "start", INSTANCE)
    assert show(machine, "StatusText", unit=INSTANCE)["StatusText"] == "answering on uplink"
    assert reachable(vps_lab)


def test_an_instance_without_a_prefix_is_not_tried_again(machine: Machine) -> None:
    ended = wait_for_failure(machine, INSTANCE)
    assert ended["NRestarts"] == "0"
    assert ended["ExecMainStatus"] in {str(int(ExitCode.USAGE)), str(int(ExitCode.CONFIG))}


# Asking it on its control socket


def asked(machine: Machine, *argv: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return machine.run(*before, "ndpresponder", *argv, check=False)


def test_all_can_be_asked_and_told_within_the_sandbox(machine: Machine, vps_lab: Lab) -> None:
    configure(machine, r"^prefixes = .*", 'prefixes = ["2001:db8:ffff::/112"]')
    drop_in(machine, "SystemCallErrorNumber=kill")
    machine.run("systemctl", "start", UNIT)
    assert not reachable(vps_lab)
    assert asked(machine, "explain", CONTAINER).returncode == 1
    assert asked(machine, "add", CONTAINER_PREFIX, "--for", "1h").returncode == 0
    assert reachable(vps_lab)
    explained = json.loads(asked(machine, "explain", CONTAINER, "--json").stdout)
    assert (explained["answered"], explained["uplinks"][0]["yet"]) == (True, [])
    assert asked(machine, "log", "debug").returncode == 0
    assert asked(machine, "reload").returncode == 0
    assert reachable(vps_lab), "a temporary prefix survives a reload"
    assert {"a temporary prefix"} <= {
        origin
        for line in asked(machine, "targets", "--json").stdout.splitlines()
        for origin in json.loads(line)["origins"]
    }
    assert asked(machine, "remove", CONTAINER_PREFIX).returncode == 0
    status = json.loads(asked(machine, "status", "--json").stdout)
    assert str(status["pid"]) == show(machine, "MainPID")["MainPID"]
    assert show(machine, "ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}
    machine.run("systemctl", "stop", UNIT)
    assert asked(machine, "status").returncode == 69
    assert machine.run("test", "-e", CONTROL, check=False).returncode == 1


def test_only_a_group_that_the_unit_names_may_ask_beside_root(machine: Machine) -> None:
    machine.run("systemctl", "start", UNIT)
    refused = asked(machine, "status", before=(*ANYBODY, "--groups=adm"))
    assert (refused.returncode, "permission denied" in refused.stderr) == (69, True)
    machine.run("systemctl", "stop", UNIT)
    drop_in(machine, "Group=adm")
    machine.run("systemctl", "start", UNIT)
    assert asked(machine, "status", before=(*ANYBODY, "--groups=adm")).returncode == 0
    assert asked(machine, "status", before=(*ANYBODY, "--clear-groups")).returncode == 69


def test_an_instance_is_asked_on_a_socket_of_its_own(machine: Machine) -> None:
    machine.run("sh", "-c", f"echo NDPRESPONDER_PREFIX={CONTAINER_PREFIX} >/etc/default/ndpresponder-uplink")
    socket = "/run/ndpresponder-uplink/control.sock"
    machine.run("systemctl", "start", INSTANCE)
    assert asked(machine, "explain", CONTAINER, "--control", socket).returncode == 0
    unreachable = asked(machine, "status")
    assert (unreachable.returncode, f"there is {socket}: name one with --control" in unreachable.stderr) == (69, True)


@pytest.mark.parametrize("unit", [UNIT, INSTANCE, METRICS])
def test_systemd_finds_no_fault_in_the_units(machine: Machine, unit: str) -> None:
    verified = machine.run("systemd-analyze", "verify", "--man=no", unit, check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
