"""The commands that ask the running daemon: what they print, how they end, and what it says to what is wrong."""

import http.server
import json
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_client import ask
from daemon_process import COMMAND, Installed, clean_environment
from frames import TARGET, solicitation
from peer import Peer, Wire
from requirements import require

from ndpresponder.config.layers import load
from ndpresponder.errors import ConfigError
from ndpresponder.outcome import Outcome

FLAGS = ("-i", "up0", "-i", "up1", "-n", "2001:db8::/112@up0", "-n", "2001:db8:1::c1@up1", "-x", "2001:db8::bad@up0")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Installed]:
    require("ip")
    with Wire("asking", cables=2) as wire, Installed(wire.near, *FLAGS) as daemon:
        with Peer(wire.far) as peer:
            peer.await_answer()
            peer.ask(solicitation("2001:db8:9::9"))
        yield daemon


def run(*argv: str, control: object = None, **environ: str) -> subprocess.CompletedProcess[str]:
    given = [] if control is None else ["--control", str(control)]
    return subprocess.run(
        [COMMAND, *argv, *given], env=clean_environment() | environ, capture_output=True, text=True, timeout=30
    )


LEFT = f"  another host that wants it may have it: {Outcome.DAD_POLICY.meaning}\n"


def printed(daemon: Installed, *argv: str, code: int = 0) -> str:
    """Return what a command prints that ends with `code`."""
    done = run(*argv, control=daemon.control)
    assert (code, "Traceback" in done.stderr) == (done.returncode, False), done
    assert (done.stdout == "") == bool(done.stderr), done
    return done.stdout or done.stderr


def test_status_shows_uplinks_sources_and_counters(daemon):
    text = printed(daemon, "status")
    assert f"pid {daemon.process.pid}, up " in text
    assert "uplink up0: answering\n  link         up0, index 100, 02:00:00:00:00:02, does not forward\n" in text
    counters = daemon.counters("up0")
    assert f"\n  received     {counters['received multicast']} (multicast {counters['received multicast']})\n" in text
    assert "\n  ignored      1 (not_ours 1)\n" in text
    rows = [line.split()[:3] for line in text.partition("sources of targets\n")[2].splitlines()]
    assert rows == [[kind, name, "up"] for kind in ("static", "temporary") for name in ("up0", "up1")]


def test_status_as_json_is_what_the_socket_says(daemon):
    said, status = json.loads(printed(daemon, "status", "--json")), ask(daemon.control, "GET", "/status")[1]
    assert (said.keys(), said["pid"], said["started_s"]) == (status.keys(), status["pid"], status["started_s"])
    assert [list(uplink) for uplink in said["uplinks"]] == [list(uplink) for uplink in status["uplinks"]]


def test_targets_lists_each_with_its_origins_and_uplinks(daemon):
    rows = [line.split(maxsplit=3) for line in printed(daemon, "targets").splitlines()]
    own = ["fe80::ff:fe00:2", "excluded"]
    assert sorted(rows) == sorted(
        [
            ["2001:db8:1::c1", "live", "up1", "the configuration"],
            ["2001:db8::/112", "claimed", "up0", "the configuration"],
            ["2001:db8::bad/128", "excluded", "up0", "the configuration"],
            [*own, "up0", "an own address"],
            [*own, "up1", "an own address"],
        ]
    )
    lines = [json.loads(line) for line in printed(daemon, "targets", "--json").splitlines()]
    assert {
        "target": "2001:db8::/112",
        "state": "claimed",
        "origins": ["the configuration"],
        "uplinks": ["up0"],
        "defended": [],
    } in lines
    assert [line["defended"] for line in lines if line["state"] == "live"] == [["up1"]]


def test_explain_says_each_uplink_and_ends_with_1_where_none_answers(daemon):
    assert printed(daemon, "explain", TARGET) == (
        f"{TARGET} on up0: answered\n"
        "  it lies in 2001:db8::/112, claimed by the configuration\n"
        f"{LEFT}"
        "  yet: this host has no route to it: packets for it end here\n"
        f"{TARGET} on up1: not answered (not_ours)\n"
        "  no source of targets makes it ours on up1\n"
    )
    done = run("explain", TARGET, "-i", "up1", control=daemon.control)
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, f"{TARGET} on up1: not answered (not_ours)")
    report = json.loads(run("explain", "2001:db8::bad", "--json", control=daemon.control).stdout)
    assert (report["answered"], report["uplinks"][0]["outcome"]) == (False, "excluded")


def test_explain_needs_no_daemon_where_settings_are_given(tmp_path):
    file = tmp_path / "f.toml"
    file.write_text('version = 1\n[[interface]]\nname = "up0"\nprefixes = ["2001:db8::/112"]\n')
    for flags in (("-i", "up0", "-n", "2001:db8::/112"), ("-c", str(file))):
        done = run("explain", TARGET, *flags, control="/nonexistent")
        assert (done.returncode, done.stdout) == (
            0,
            f"{TARGET} on up0: answered\n  it lies in 2001:db8::/112, claimed by the configuration\n{LEFT}",
        )
        assert run("explain", "2001:db8:1::1", *flags).returncode == 1
    assert run("explain", TARGET, "-n", "x").returncode == 78


def test_add_and_remove(daemon):
    assert printed(daemon, "add", "2001:db8:5::/64", "--for", "90m") == (
        "answered for: 2001:db8:5::/64 on all uplinks, 1 h 30 min left\n"
    )
    assert printed(daemon, "add", "2001:db8:5::5", "-i", "up1") == (
        "answered for: 2001:db8:5::5/128 on up1, until it is removed\n"
    )
    assert printed(daemon, "explain", "2001:db8:5::5").startswith("2001:db8:5::5 on up0: answered")
    shown = printed(daemon, "status").partition("temporary prefixes\n")[2].splitlines()
    assert [line.split(",")[0] for line in shown] == ["  2001:db8:5::/64 on all uplinks", "  2001:db8:5::5/128 on up1"]
    assert printed(daemon, "remove", "2001:db8:5::/64") == "removed: 2001:db8:5::/64\n"
    assert "no temporary prefix" in printed(daemon, "remove", "2001:db8:5::5", code=1)
    assert printed(daemon, "remove", "2001:db8:5::5", "-i", "up1", "--json").startswith("{")
    assert ask(daemon.control, "GET", "/prefixes")[1] == {"prefixes": []}


def test_log_sets_the_level(daemon):
    assert printed(daemon, "log", "debug") == "the log level is debug until the next reload\n"
    daemon.await_line("the log level was set")
    assert printed(daemon, "status").splitlines()[0].endswith("log level debug")
    assert printed(daemon, "log", "i") == "the log level is info until the next reload\n"


@pytest.mark.parametrize(
    ("message", "prefix"),
    [
        ("'fe80::/64' is link-local; write a global or unique local prefix", "fe80::/64"),
        ("'2001:db8::1/64' has host bits set; write 2001:db8::/64 for the whole prefix", "2001:db8::1/64"),
        ("'::/0' is every address there is", "::/0"),
        ("'10.0.0.0/8' is IPv4; leave it out", "10.0.0.0/8"),
        ("2001:db8::/32 is wider than /64; ", "2001:db8::/32"),
        ("'ff00::/8' is multicast", "ff00::/8"),
        ("'x' is not an IPv6 prefix", "x"),
    ],
)
def test_a_prefix_is_judged_as_in_the_configuration(daemon, message, prefix):
    said = printed(daemon, "add", prefix, code=1)
    assert said.startswith(f"ndpresponder: {message}")
    with pytest.raises(ConfigError) as refused:
        load({"iface": ["up0"], "prefix": [prefix]}, {})
    assert refused.value.problems[0].startswith(f"flag --prefix: {message}")


@pytest.mark.parametrize(
    ("code", "says", "method", "target", "said"),
    [
        (400, "'up9' is not an uplink here", "POST", "/prefixes", {"prefix": "2001:db8:5::/64", "iface": "up9"}),
        (400, "0 is less than 1", "POST", "/prefixes", {"prefix": "2001:db8:5::/64", "lifetime_s": 0}),
        (400, "must be an integer, not text", "POST", "/prefixes", {"prefix": "2001:db8:5::/64", "lifetime_s": "1"}),
        (400, "unknown key 'prefx'; did you mean prefix?", "POST", "/prefixes", {"prefx": "x"}),
        (400, "prefix is missing", "DELETE", "/prefixes", {"iface": "up0"}),
        (400, "must be text, not an array", "POST", "/prefixes", {"prefix": ["x"]}),
        (400, "'loud' is not one of debug", "POST", "/log", {"level": "loud"}),
        (400, "target is missing", "GET", "/explain", {}),
        (400, "is a prefix; write one address", "GET", "/explain?target=2001:db8::/64", {}),
        (400, "unknown key 'targt'", "GET", "/explain?targt=::5", {}),
        (404, "there is /status, /targets", "GET", "/state", {}),
        (404, "is no temporary prefix", "DELETE", "/prefixes", {"prefix": "2001:db8:77::/64"}),
        (405, "/status understands GET", "POST", "/status", {"a": 1}),
        (400, "unknown key 'a'", "POST", "/reload", {"a": 1}),
    ],
)
def test_what_is_wrong_is_said(daemon, code, says, method, target, said):
    answered, error = ask(daemon.control, method, target, **said)
    assert (code, ["error"]) == (answered, list(error))
    assert says in error["error"]


# When nobody can be asked


@pytest.mark.parametrize("command", ["status", "targets", "log info", "add 2001:db8::/64", "explain ::5", "upgrade"])
def test_no_daemon_ends_with_69(command, tmp_path):
    done = run(*command.split(), control=tmp_path / "none")
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.startswith(f"ndpresponder: {tmp_path}/none: no daemon listens there; is it running")


def test_a_dead_socket_ends_with_69_and_the_environment_names_it(tmp_path):
    path = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    done = run("status", NDPRESPONDER_CONTROL=str(path))
    assert (done.returncode, f"{path}: no daemon listens there" in done.stderr) == (69, True)


def test_who_may_not_ask_is_told_so(daemon):
    closed = [COMMAND, "status", "--control", str(daemon.control)]
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=0", "--regid=12345", "--clear-groups"]
    assert subprocess.run([*without, *closed], capture_output=True).returncode == 0  # root needs no capability
    daemon.control.chmod(0)
    try:
        done = subprocess.run([*without, *closed], capture_output=True, text=True)
    finally:
        daemon.control.chmod(0o660)
    assert (done.returncode, "permission denied: ask as root" in done.stderr) == (69, True), done


class Stranger(http.server.BaseHTTPRequestHandler):
    """Something else that listens there."""

    def do_GET(self) -> None:
        self.wfile.write(b"220 mail.example.org ESMTP\r\n")

    def address_string(self) -> str:
        return "here"

    def log_message(self, *_: object) -> None:
        pass


def test_somebody_else_on_the_socket_ends_with_69(tmp_path):
    path = tmp_path / "stranger"
    with socketserver.UnixStreamServer(str(path), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = run("status", control=path)
        server.shutdown()
    assert (done.returncode, done.stderr) == (69, f"ndpresponder: {path}: another program listens there\n")


@pytest.mark.parametrize(
    ("code", "argv"),
    [
        (2, ["add"]),
        (2, ["add", "2001:db8::/64", "--for", "soon"]),
        (2, ["explain"]),
        (2, ["status", "now"]),
        (78, ["status", "--control", "relative"]),
        (78, ["status", "--control", ""]),
        (78, ["explain", "::5", "-i", "a", "-i", "b"]),
    ],
)
def test_a_wrong_use_is_told(code, argv):
    done = run(*argv)
    assert (code, done.stdout, "Traceback" in done.stderr) == (done.returncode, "", False), done


def test_the_default_path_works_without_a_word(tmp_path):
    default = Path("/run/ndpresponder/control.sock")
    with Wire("default") as wire:
        # In a mount namespace of its own, whose /run is empty: this machine may have a daemon of its own
        script = (
            "mount -t tmpfs none /run && { %s -i up0 -n 2001:db8::/112 & } && "
            "for i in $(seq 100); do [ -S %s ] && break; sleep 0.1; done; %s status; kill $!; wait $!; ls /run"
        )
        argv = ["unshare", "--mount", "sh", "-c", script % (COMMAND, default, COMMAND)]
        with wire.near.enter():
            done = subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith("ndpresponder "), done
    assert "uplink up0: answering" in done.stdout
    assert "level=warning" not in done.stderr
    assert "ndpresponder" not in done.stdout.splitlines()[-1], "the directory it made is gone"
