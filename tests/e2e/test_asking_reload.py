"""What a reload asked for on the control socket does, and what it leaves alone."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from controlling import ask, is_open
from frames import TARGET, advertisement, solicitation
from harness import COMMAND, Installed, clean_environment
from peer import Peer, seconds_until

from ndpresponder import __version__
from ndpresponder.lab.topology import wait_until

ELSEWHERE, OTHER = "2001:db8:5::c1", "2001:db8:6::c1"
FILE = 'version = 1\n[[interface]]\nname = "up0"\nprefixes = ["2001:db8::/112"]\nannounce = "never"\n'


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "f.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def daemon(wire, file) -> Iterator[Installed]:
    with Installed(wire.near, "-c", str(file)) as daemon:
        yield daemon


@pytest.fixture
def peer(daemon, peer) -> Peer:
    peer.await_answer()
    peer.ask()  # all that was sent until then is answered
    return peer


def reload(daemon: Installed) -> subprocess.CompletedProcess[str]:
    argv = [COMMAND, "reload", "--control", str(daemon.control)]
    return subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, timeout=30)


def test_a_temporary_prefix_survives_and_what_was_set_for_the_time_being_does_not(daemon, file, peer):
    ask(daemon.control, "POST", "/prefixes", prefix="2001:db8:5::/64")
    ask(daemon.control, "POST", "/log", level="debug")
    seconds_until(lambda: [advertisement(ELSEWHERE)] == peer.ask(solicitation(ELSEWHERE)), 2)
    file.write_text(FILE.replace('"2001:db8::/112"', '"2001:db8::/112", "2001:db8:6::/64"'))
    done = reload(daemon)
    assert (done.returncode, done.stdout) == (0, "the configuration was read again and is in force\n")
    seconds_until(lambda: [advertisement(OTHER)] == peer.ask(solicitation(OTHER)), 2)
    assert [advertisement(ELSEWHERE)] == peer.ask(solicitation(ELSEWHERE))
    status = ask(daemon.control, "GET", "/status")[1]
    assert (status["log_level"], status["configuration"]["problem"]) == ("info", None)


def test_a_wrong_file_is_refused_with_its_line_and_shown(daemon, file, peer):
    loaded_s = ask(daemon.control, "GET", "/status")[1]["configuration"]["loaded_s"]
    file.write_text(FILE.replace("/112", "/x"))
    done = reload(daemon)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{file}:4: interface[0].prefixes[0]: '2001:db8::/x' has no valid prefix length" in done.stderr
    assert [advertisement(TARGET)] == peer.ask(solicitation(TARGET))
    configuration = ask(daemon.control, "GET", "/status")[1]["configuration"]
    assert (configuration["file"], configuration["loaded_s"], configuration["problem"]) == (
        str(file),
        loaded_s,
        done.stderr.strip()[len("ndpresponder: ") :],
    )
    file.write_text(FILE)
    assert reload(daemon).returncode == 0
    assert ask(daemon.control, "GET", "/status")[1]["configuration"]["problem"] is None


def test_who_asks_for_a_reload_that_moves_the_socket_is_answered(wire, file, tmp_path):
    old, new = tmp_path / "old.sock", tmp_path / "new.sock"
    file.write_text(f'{FILE}[control]\nsocket = "{old}"\n')
    # The harness names the socket by a flag, which would go before the file
    argv = [COMMAND, "-c", str(file)]
    daemon = wire.near.popen(*argv, env=clean_environment(), stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_open(old), 10, "the control socket")
        file.write_text(f'{FILE}[control]\nsocket = "{new}"\n')
        assert ask(old, "POST", "/reload") == (200, {"done": True})
        wait_until(lambda: is_open(new) and not old.exists(), 5, "the socket to move")
        assert ask(new, "GET", "/status")[1]["pid"] == daemon.pid
        file.write_text(f'{FILE}[control]\nsocket = ""\n')
        assert ask(new, "POST", "/reload") == (200, {"done": True})
        wait_until(lambda: not new.exists(), 5, "the socket to go")
    finally:
        daemon.terminate()
        assert daemon.wait(10) == 0


def test_an_uplink_that_is_added_and_removed_is_known(wire, daemon, file):
    wire.plug(1)
    file.write_text(FILE.replace("[[", '[[interface]]\nname = "up1"\nprefixes = ["2001:db8:7::/64"]\n[[', 1))
    assert reload(daemon).returncode == 0
    said = {"prefix": "2001:db8:8::/64", "iface": "up1"}
    assert ask(daemon.control, "POST", "/prefixes", **said)[0] == 200
    report = json.loads(
        subprocess.run(
            [COMMAND, "explain", "2001:db8:8::1", "--json", "--control", str(daemon.control)], capture_output=True
        ).stdout
    )
    assert {each["uplink"]: each["answered"] for each in report["uplinks"]} == {"up0": False, "up1": True}
    file.write_text(FILE)
    assert reload(daemon).returncode == 0
    assert [uplink["name"] for uplink in ask(daemon.control, "GET", "/status")[1]["uplinks"]] == ["up0"]
    assert ask(daemon.control, "POST", "/prefixes", **said)[0] == 400


def test_an_upgrade_takes_over_in_place_and_says_so(daemon, peer):
    argv = [COMMAND, "upgrade", "--control", str(daemon.control)]
    done = subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout == f"version {__version__} took over from {__version__}, pid {daemon.process.pid}\n"
    assert [advertisement(TARGET)] == peer.ask(solicitation(TARGET))


def test_an_upgrade_that_could_not_start_is_refused_with_the_reason(daemon, file, peer):
    before = ask(daemon.control, "GET", "/status")[1]
    file.write_text(FILE.replace("/112", "/x"))
    argv = [COMMAND, "upgrade", "--control", str(daemon.control)]
    done = subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no valid prefix length" in done.stderr
    assert ask(daemon.control, "GET", "/status")[1]["started_s"] == before["started_s"]
    assert [advertisement(TARGET)] == peer.ask(solicitation(TARGET))
