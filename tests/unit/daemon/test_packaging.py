"""What is shipped beside the code agrees with it: the systemd units and the project's metadata."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from ndpresponder.errors import ExitCode
from ndpresponder.linux.systemd import METRICS

ROOT = Path(__file__).parents[3]
SERVICE = ROOT / "systemd/ndpresponder.service"
TEMPLATE = ROOT / "systemd/ndpresponder@.service"
NET_ADMIN = ROOT / "systemd/ndpresponder-net-admin.conf"
FASTPATH = ROOT / "systemd/ndpresponder-fastpath.conf"
DROP_INS = sorted((ROOT / "systemd").glob("*.conf"))
SOCKET = ROOT / "systemd/ndpresponder-metrics.socket"
OF_ONE_INSTANCE = {"ExecStart", "Environment", "EnvironmentFile", "RuntimeDirectory", "BindPaths"}
UNKNOWN_TO_SYSTEMD_252 = {"notify-reload", "FileDescriptorStorePreserve"}


def _settings(unit: Path) -> list[tuple[str, str]]:
    """Return the lines of the [Service] section in their order."""
    section = unit.read_text().partition("[Service]\n")[2].partition("\n[")[0]
    lines = [line for line in section.splitlines() if line and not line.startswith("#")]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


def _exposure(unit: str, directory: Path) -> float:
    """Return how systemd rates a unit of this text; an offline analysis reads no drop-ins."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    file = directory / SERVICE.name
    file.write_text(unit)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", file]
    rated = subprocess.run(command, capture_output=True, text=True, check=True)
    assert rated.stderr == ""
    match = re.search(r"Overall exposure level for \S+: ([\d.]+)", rated.stdout)
    assert match
    return float(match[1])


@pytest.mark.parametrize("unit", [SERVICE, TEMPLATE], ids=lambda unit: unit.name)
def test_systemd_rates_the_unit_at_most_1_2(unit: Path, tmp_path: Path) -> None:
    assert _exposure(unit.read_text(), tmp_path) <= 1.2


@pytest.mark.parametrize("drop_in", [None, *DROP_INS], ids=lambda drop_in: drop_in.name if drop_in else "none")
def test_the_exposure_is_what_the_file_says(drop_in: Path | None, tmp_path: Path) -> None:
    said = re.findall(
        r"rates it ([\d.]*\d)(?: instead of ([\d.]*\d))?", (drop_in or SERVICE).read_text().replace("\n# ", " ")
    )
    rated = _exposure(SERVICE.read_text(), tmp_path)
    if drop_in is None:
        assert said == [(f"{rated}", "")]
    else:
        assert said == [(f"{_exposure(SERVICE.read_text() + drop_in.read_text(), tmp_path)}", f"{rated}")]


def test_the_socket_is_one_that_the_daemon_takes() -> None:
    socket = SOCKET.read_text().splitlines()
    assert f"FileDescriptorName={METRICS}" in socket
    assert f"Service={SERVICE.name}" in socket


def test_the_drop_in_grants_one_capability_and_time_to_clean_up() -> None:
    assert _settings(NET_ADMIN) == [
        ("AmbientCapabilities", "CAP_NET_ADMIN"),
        ("CapabilityBoundingSet", "CAP_NET_ADMIN"),
        ("TimeoutStopSec", "30s"),
    ]


def test_the_fast_paths_drop_in_grants_what_it_needs_and_no_more() -> None:
    assert _settings(FASTPATH) == [
        ("AmbientCapabilities", "CAP_NET_ADMIN CAP_BPF"),
        ("CapabilityBoundingSet", "CAP_NET_ADMIN CAP_BPF"),
        ("SystemCallFilter", "bpf"),
        ("LimitMEMLOCK", "infinity"),
    ]


def test_the_template_differs_only_where_an_instance_must() -> None:
    service, template = (
        [setting for setting in _settings(unit) if setting[0] not in OF_ONE_INSTANCE] for unit in (SERVICE, TEMPLATE)
    )
    assert template == service


def test_every_group_of_settings_opens_with_its_reason() -> None:
    section = SERVICE.read_text().partition("[Service]\n")[2].partition("\n[Install]")[0]
    paragraphs = [paragraph for paragraph in section.split("\n\n")[1:] if paragraph.strip()]
    assert [paragraph for paragraph in paragraphs if not paragraph.lstrip().startswith("#")] == []


def test_the_unit_asks_for_nothing_newer_than_systemd_252() -> None:
    words = {word for setting in _settings(SERVICE) for word in setting}
    assert words & UNKNOWN_TO_SYSTEMD_252 == set()


def test_systemd_does_not_retry_what_a_retry_cannot_cure() -> None:
    prevented = {int(status) for status in dict(_settings(SERVICE))["RestartPreventExitStatus"].split()}
    assert prevented == {ExitCode.USAGE, ExitCode.NO_PERMISSION, ExitCode.CONFIG}


def test_the_source_distribution_names_what_exists() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        included = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert [path for path in included if not (ROOT / path.lstrip("/")).exists()] == []
