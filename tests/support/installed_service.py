"""The shipped units inside a booted Debian: the wheel installed, the reference configuration, and what systemd says.

Import it as `from service import installed_on, pristine, UNIT`.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from booted_debian import Machine, debian_root

from ndpresponder.lab import Lab, wait_until
from ndpresponder.lab.topology import CONTAINER

ROOT = Path(__file__).parents[2]
UNIT = "ndpresponder.service"
INSTANCE = "ndpresponder@uplink.service"
METRICS = "ndpresponder-metrics.socket"
CONFIGURATION = "/etc/ndpresponder/ndpresponder.toml"
UNITS = "/etc/systemd/system"
INSTALL = f"""
set -e
python3 -m venv /opt/ndpresponder
/opt/ndpresponder/bin/pip install --quiet --no-index --find-links /share/wheels ndpresponder
ln -s /opt/ndpresponder/bin/ndpresponder /usr/local/bin/
install -m 644 /share/systemd/*.service /share/systemd/*.socket {UNITS}
install -D -m 644 /share/systemd/ndpresponder.toml {CONFIGURATION}
sed -i 's/^name = .*/name = "uplink"/' {CONFIGURATION}
cp {CONFIGURATION} /share/good.toml
systemctl daemon-reload
systemctl enable --quiet {METRICS}
"""


@contextmanager
def installed_on(lab: Lab, suite: str = "") -> Iterator[Machine]:
    """Boot a Debian in the lab's VPS, of the host's own release unless told otherwise, and install what is shipped."""
    with Machine(debian_root(suite), lab["vps"].name) as machine:
        if machine.run("python3", "-c", "import tomllib", check=False).returncode:
            pytest.skip("this release's own Python is older than 3.11")
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(machine.share / "wheels"), str(ROOT)]
        subprocess.run(pip, check=True, timeout=300, capture_output=True)
        subprocess.run(["cp", "-r", ROOT / "systemd", machine.share], check=True)
        machine.run("sh", "-c", INSTALL, timeout=120)
        yield machine


@contextmanager
def pristine(machine: Machine) -> Iterator[Machine]:
    """Leave the machine as it was after the installation, with the units stopped."""
    try:
        yield machine
    finally:
        machine.run("systemctl", "stop", UNIT, INSTANCE, METRICS)
        machine.run("systemctl", "reset-failed", UNIT, INSTANCE, METRICS, check=False)
        machine.run("sh", "-c", f"rm -rf {UNITS}/*.d /run/systemd/system/*.d /etc/default/ndpresponder-*")
        machine.run("systemctl", "enable", "--quiet", METRICS)
        machine.run("cp", "/share/good.toml", CONFIGURATION)
        machine.run("systemctl", "daemon-reload")


def show(machine: Machine, *properties: str, unit: str = UNIT) -> dict[str, str]:
    """Return properties of a unit as systemd knows them now."""
    lines = machine.run("systemctl", "show", unit, *(f"--property={name}" for name in properties)).stdout.splitlines()
    return dict(line.partition("=")[::2] for line in lines)


def journal(machine: Machine, *matches: str) -> list[dict[str, str]]:
    """Return the journal's entries that match, with all their fields: without --all, those over 4 KiB would be null."""
    shown = machine.run("journalctl", "--output=json", "--all", "--quiet", *matches).stdout
    return [json.loads(line) for line in shown.splitlines()]


def drop_in(machine: Machine, *lines: str) -> None:
    """Change the unit's [Service] section as `systemctl edit` would."""
    _change_unit(machine, UNIT, "Service", *lines)


def of_socket(machine: Machine, *lines: str) -> None:
    """Change the metrics socket's [Socket] section likewise."""
    _change_unit(machine, METRICS, "Socket", *lines)


def _change_unit(machine: Machine, unit: str, section: str, *lines: str) -> None:
    (machine.share / "drop-in.conf").write_text("\n".join([f"[{section}]", *lines, ""]))
    machine.run("install", "-D", "-m", "644", "/share/drop-in.conf", f"{UNITS}/{unit}.d/test.conf")
    machine.run("systemctl", "daemon-reload")


def shipped_drop_in(machine: Machine, name: str) -> None:
    """Install a drop-in that is shipped, as it says itself."""
    word = name.removeprefix("ndpresponder-").removesuffix(".conf")
    machine.run("install", "-D", "-m", "644", f"/share/systemd/{name}", f"{UNITS}/{UNIT}.d/{word}.conf")
    machine.run("systemctl", "daemon-reload")


def configure(machine: Machine, pattern: str, replacement: str) -> None:
    """Change the configuration file inside."""
    text, count = re.subn(pattern, replacement, machine.run("cat", CONFIGURATION).stdout, flags=re.MULTILINE)
    assert count == 1
    (machine.share / "changed.toml").write_text(text)
    machine.run("cp", "/share/changed.toml", CONFIGURATION)


def reachable(lab: Lab) -> bool:
    """Tell whether a container answers a ping from the internet, address resolution included."""
    lab.forget(CONTAINER)
    lab.resolve_gateway()
    return lab.ping("inet", CONTAINER).received == 1


def wait_for_failure(machine: Machine, unit: str = UNIT) -> dict[str, str]:
    """Start a unit that cannot run, wait until systemd gives it up, and return how it ended."""
    machine.run("systemctl", "start", unit, check=False)
    wait_until(lambda: show(machine, "ActiveState", unit=unit)["ActiveState"] == "failed", 5.0, "the unit to fail")
    return show(machine, "ExecMainStatus", "NRestarts", unit=unit)
