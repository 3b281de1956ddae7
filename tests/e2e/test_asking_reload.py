"""What a reload asked for on the control socket does, and what it leaves alone."""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_client import ask, connected, heard, is_open, say
from daemon_process import COMMAND, Installed, clean_environment
from frames import TARGET, advertisement, solicitation
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


def with_prefix(number: int) -> str:
    return FILE.replace('"2001:db8::/112"', f'"2001:db8::/112", "2001:db8:0:{number}::/64"')


def asked_for(daemon: Installed, stack: contextlib.ExitStack, count: int, path: str = "/reload") -> list[socket.socket]:
    """Ask for so many of it at once, each as a client of its own."""
    clients = [stack.enter_context(connected(daemon.control)) for _ in range(count)]
    for client in clients:
        say(client, "POST", path)
    return clients


def test_of_many_reloads_at_once_each_is_answered_and_the_last_file_is_in_force(daemon, file, peer):
    descriptors = daemon.descriptors()
    with contextlib.ExitStack() as stack:
        for number in range(1, 5):
            file.write_text(with_prefix(number))
            leaving, *staying = asked_for(daemon, stack, 3)
            leaving.close()
            assert [heard(client) for client in staying] == [(200, '{"done": true}\n')] * 2
        file.write_text(FILE.replace("prefixes", "prefixs"))
        wrong = asked_for(daemon, stack, 4)
        assert [heard(client)[0] for client in wrong] == [409] * 4
        file.write_text(with_prefix(9))
        for client in asked_for(daemon, stack, 6):
            client.close()  # whoever asked has gone: it is done all the same
    seconds_until(lambda: bool(peer.ask(solicitation("2001:db8:0:9::1"))), 2)
    assert peer.ask(solicitation("2001:db8:0:4::1")) == []
    wait_until(lambda: len(daemon.lines("configuration reloaded")) == 4 * 3 + 6, 5, "all of them")
    seconds_until(lambda: daemon.descriptors() <= descriptors, 5)
    assert ask(daemon.control, "GET", "/status")[1]["configuration"]["problem"] is None


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.01, 0.02, 0.03])
def test_being_told_to_end_while_many_reloads_wait_is_heard(wire, daemon, file, peer, delay_s):
    """Each reload adds and removes uplinks and sources: what it begins must not outlive the others."""
    listed = file.with_name("listed")
    listed.write_text(OTHER)
    more = f'[[source.file]]\npath = "{listed}"\n[[interface]]\nname = "up1"\nprefixes = ["2001:db8:8::/64"]\n'
    with contextlib.ExitStack() as stack:
        file.write_text(FILE + more)
        asked_for(daemon, stack, 4)
        time.sleep(delay_s)
        file.write_text(FILE)
        asked_for(daemon, stack, 4)
        assert daemon.stop() == 0
    assert "fault of ours" not in daemon.log()


def test_reloads_that_wait_for_an_upgrade_do_not_keep_it(daemon, file, peer):
    with contextlib.ExitStack() as stack:
        asked_for(daemon, stack, 1, "/upgrade")
        daemon.await_line("an upgrade was asked for")
        file.write_text(FILE + '[[interface]]\nname = "up1"\nprefixes = ["2001:db8:8::/64"]\n')
        asked_for(daemon, stack, 8)
        daemon.await_line("replaced by the installed version", 10.0)
    daemon.await_notice("READY=1", 10.0)
    peer.await_answer()
    assert "fault of ours" not in daemon.log()
