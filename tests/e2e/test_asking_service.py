"""The control socket under the shipped unit: it works within the sandbox, and for those whom the unit lets ask."""

import json
import subprocess

from nspawn import Machine
from service import INSTANCE, UNIT, configure, drop_in, reachable, show

from ndpresponder.lab import Lab, wait_until
from ndpresponder.lab.topology import CONTAINER

SOCKET = "/run/ndpresponder/control.sock"
PREFIX = "2001:db8::/112"
ANYBODY = ("setpriv", "--reuid=12345", "--regid=12345")


def asked(machine: Machine, *argv: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return machine.run(*before, "ndpresponder", *argv, check=False)


def start(machine: Machine, unit: str = UNIT, socket: str = SOCKET) -> None:
    machine.run("systemctl", "start", unit)
    wait_until(lambda: machine.run("test", "-S", socket, check=False).returncode == 0, 10, "the control socket")


def test_all_can_be_asked_and_told_within_the_sandbox(machine: Machine, vps_lab: Lab) -> None:
    configure(machine, r"^prefixes = .*", 'prefixes = ["2001:db8:ffff::/112"]')
    drop_in(machine, "SystemCallErrorNumber=kill")
    start(machine)
    assert not reachable(vps_lab)
    assert asked(machine, "explain", CONTAINER).returncode == 1
    assert asked(machine, "add", PREFIX, "--for", "1h").returncode == 0
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
    assert asked(machine, "remove", PREFIX).returncode == 0
    status = json.loads(asked(machine, "status", "--json").stdout)
    assert str(status["pid"]) == show(machine, "MainPID")["MainPID"]
    assert show(machine, "ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}
    machine.run("systemctl", "stop", UNIT)
    assert asked(machine, "status").returncode == 69
    assert machine.run("test", "-e", SOCKET, check=False).returncode == 1


def test_only_a_group_that_the_unit_names_may_ask_beside_root(machine: Machine) -> None:
    start(machine)
    refused = asked(machine, "status", before=(*ANYBODY, "--groups=adm"))
    assert (refused.returncode, "permission denied" in refused.stderr) == (69, True)
    machine.run("systemctl", "stop", UNIT)
    drop_in(machine, "Group=adm")
    start(machine)
    assert asked(machine, "status", before=(*ANYBODY, "--groups=adm")).returncode == 0
    assert asked(machine, "status", before=(*ANYBODY, "--clear-groups")).returncode == 69


def test_an_instance_is_asked_on_a_socket_of_its_own(machine: Machine) -> None:
    machine.run("sh", "-c", f"echo NDPRESPONDER_PREFIX={PREFIX} >/etc/default/ndpresponder-uplink")
    socket = "/run/ndpresponder-uplink/control.sock"
    start(machine, INSTANCE, socket)
    assert asked(machine, "explain", CONTAINER, "--control", socket).returncode == 0
    unreachable = asked(machine, "status")
    assert (unreachable.returncode, f"there is {socket}: name one with --control" in unreachable.stderr) == (69, True)
