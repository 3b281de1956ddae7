"""The command line finds the command that is meant, teaches in its help, and ends mistakes in one message."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

import pytest

from ndpresponder.cli import main
from ndpresponder.cli.commands import COMMANDS
from ndpresponder.config import Config
from ndpresponder.config.draft import build
from ndpresponder.config.settings import leaves
from ndpresponder.config.toml_file import parse
from ndpresponder.daemon import daemon
from ndpresponder.errors import ExitCode, PermissionMissing
from ndpresponder.lab import demo

CANONICAL = ["--prefix", "2001:db8::/112", "--iface", "uplink"]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("NDPRESPONDER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Return the list that every configuration the daemon would run with is added to."""
    configs: list[Config] = []

    def run(config: Config, read: Callable[[], Config], file: str) -> ExitCode:
        assert read() == config
        configs.append(config)
        return ExitCode.OK

    monkeypatch.setattr(daemon, "run", run)
    return configs


def exit_code(*argv: str) -> int:
    try:
        return main.main(argv)
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize("argv", [CANONICAL, ["run", *CANONICAL], ["-n2001:db8::/112", "-iuplink"]])
def test_bare_flags_mean_run(argv: list[str], ran: list[Config]) -> None:
    assert exit_code(*argv) == 0
    assert [("uplink", (IPv6Network("2001:db8::/112"),))] == [
        (uplink.name, uplink.prefixes) for config in ran for uplink in config.interfaces
    ]


def test_every_flag_reaches_the_tree(ran: list[Config]) -> None:
    argv = "-i a -n 2001:db8::/32 -x 2001:db8::1 -l debug -o json -m [::1]:1 -r 5/6 -d --allow-wide"
    assert exit_code(*argv.split()) == 0
    (config,) = ran
    assert (
        config.log.level,
        config.log.format,
        config.metrics.listen,
        config.limits.rate,
        config.limits.burst,
        config.dry_run,
    ) == ("debug", "json", "[::1]:1", 5, 6, True)
    assert config.interfaces[0].allow_wide
    assert (IPv6Network("2001:db8::1"),) == config.interfaces[0].exclude


@pytest.mark.parametrize(
    ("message", "argv"),
    [
        ("unknown flag '--prefx'; did you mean --prefix?", ["--prefx", "2001:db8::/112"]),
        ("unknown flag '--prefx'; did you mean --prefix=::1?", ["run", "--prefx=::1"]),
        ("unknown flag '--zzz'", ["check", "--zzz"]),
        ("unknown command 'chekc'; did you mean check?", ["chekc"]),
        (f"unknown command 'zzz'; the commands are {', '.join(COMMANDS)}", ["zzz"]),
        ("unknown command '2001:db8::/112'; did you mean --prefix 2001:db8::/112?", ["2001:db8::/112"]),
        ("'2001:db8::/112' stands alone; write --prefix 2001:db8::/112", ["-i", "eth0", "2001:db8::/112"]),
        ("'check' is a command, and a command comes first", ["-i", "eth0", "check"]),
        ("'eth1' is not expected here; a value needs its flag, such as --iface eth1", ["-i", "eth0", "eth1"]),
        ("argument -i/--iface: expected one argument", ["--iface"]),
    ],
)
def test_a_mistake_of_use_exits_with_2(message: str, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*argv) == 2
    assert f"ndpresponder: {message}" == capsys.readouterr().err.splitlines()[0]


def test_no_configuration_at_all_exits_with_2_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code() == 2
    assert "ndpresponder --prefix 2001:db8::/112 --iface" in capsys.readouterr().err


def test_a_wrong_configuration_exits_with_78(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("-i", "eth0", "-n", "::/0", "-x", "x") == 78
    assert [":".join(line.split(":")[:2]) for line in capsys.readouterr().err.splitlines()] == [
        "ndpresponder: flag --prefix",
        "ndpresponder: flag --exclude",
    ]


def test_our_own_errors_end_in_their_message_and_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> ExitCode:
        raise PermissionMissing("no CAP_NET_RAW")

    monkeypatch.setattr(daemon, "run", refuse)
    assert exit_code(*CANONICAL) == 77
    assert capsys.readouterr().err == "ndpresponder: no CAP_NET_RAW\n"


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> ExitCode:
        raise KeyboardInterrupt

    monkeypatch.setattr(daemon, "run", interrupt)
    assert exit_code(*CANONICAL) == 130


def test_demo_gets_its_own_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(demo, "main", lambda options: seen.append(options) or 0)
    assert exit_code("demo", "--keep") == 0
    assert seen[0].keep


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_names_python_and_linux(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(flag) == 0
    pattern = r"ndpresponder \d+\.\d+\.\d+\S* \(Python 3\.\d+\.\d+\S*, Linux \S+\)\n"
    assert re.fullmatch(pattern, capsys.readouterr().out)


@pytest.mark.parametrize(
    "argv", [["--help"], ["-h"], ["help"], ["run", "-h"], ["check", "-h"], ["help", "demo"], ["explain", "-h"]]
)
def test_help_fits_in_100_columns(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 10
    assert [line for line in lines if len(line) > 100] == []


def test_help_names_every_flag_variable_exit_code_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--help") == 0
    text = capsys.readouterr().out
    flags = ["--iface", "--prefix", "--exclude", "--config", "--rate", "--version", "--help"]
    flags += [flag for _, key in leaves() for flag in key.flags]
    variables = ["NDPRESPONDER_IFACE", "NDPRESPONDER_PREFIX", "NDPRESPONDER_CONFIG"]
    variables += [key.env for _, key in leaves()]
    codes = [f"{code.value} " for code in ExitCode]
    assert [word for word in (*flags, *variables, *codes, *COMMANDS) if word not in text] == []


def test_the_examples_of_the_help_are_valid(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ran: list[Config], tmp_path: Path
) -> None:
    exit_code("--help")
    exit_code("check", "--help")
    text = capsys.readouterr().out
    examples = re.findall(r"(?m)^  ndpresponder (.*?)(?:   .*| && .*| > .*)?$", text)
    assert len(examples) > 7
    reference = Path(__file__).parents[3] / "systemd/ndpresponder.toml"
    monkeypatch.setenv("NDPRESPONDER_CONFIG", str(reference))
    for example in examples:
        argv = shlex.split(example.replace("/etc/ndpresponder/ndpresponder.toml", str(reference)))
        assert exit_code(*argv) == 0, example


def test_check_prints_what_reads_back(capsys: pytest.CaptureFixture[str], ran: list[Config]) -> None:
    flags = [*CANONICAL, "-x", "2001:db8::1", "-r", "7"]
    exit_code("run", *flags)
    exit_code("check", *flags)
    assert ran == [build(Config, parse(capsys.readouterr().out.encode(), "f.toml", []))]


def test_starting_imports_nothing_heavy() -> None:
    code = "import sys, ndpresponder.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"asyncio", "pyroute2", "structlog", "prometheus_client", "h11", "scapy", "tomllib", "difflib", "json"}
    assert heavy & set(done.stdout.split()) == set()
