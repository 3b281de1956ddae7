"""What is shipped beside the code agrees with it: the systemd units and the project's metadata."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from ndpresponder.errors import ExitCode

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "systemd/ndpresponder.service"
TEMPLATE = ROOT / "systemd/ndpresponder@.service"
NET_ADMIN = ROOT / "systemd/ndpresponder-net-admin.conf"
OF_ONE_INSTANCE = {"ExecStart", "EnvironmentFile", "RuntimeDirectory"}
UNKNOWN_TO_SYSTEMD_252 = {"notify-reload", "FileDescriptorStorePreserve"}


def _settings(unit: Path) -> list[tuple[str, str]]:
    """Return the lines of the [Service] section in their order."""
    section = unit.read_text().partition("[Service]\n")[2].partition("\n[")[0]
    lines = [line for line in section.splitlines() if line and not line.startswith("#")]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


@pytest.mark.parametrize("unit", [SERVICE, TEMPLATE], ids=lambda unit: unit.name)
def test_systemd_rates_the_unit_at_most_1_5(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / unit.name.replace("@", "@eth0")
    shutil.copy(unit, copy)
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (rated.returncode, rated.stderr) == (0, ""), rated.stdout


def test_systemd_rates_the_unit_with_cap_net_admin_as_its_drop_in_says(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / SERVICE.name
    unit.write_text(SERVICE.read_text() + NET_ADMIN.read_text())  # an offline analysis reads no drop-ins
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Overall exposure level for ndpresponder.service: 1.7 OK" in rated.stdout
    assert "rates it 1.7 instead of 1.5" in NET_ADMIN.read_text()


def test_the_drop_in_grants_one_capability_and_time_to_clean_up() -> None:
    assert _settings(NET_ADMIN) == [
        ("AmbientCapabilities", "CAP_NET_ADMIN"),
        ("CapabilityBoundingSet", "CAP_NET_ADMIN"),
        ("TimeoutStopSec", "30s"),
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
