"""The control socket of the real daemon: who may ask, what is said, and that no client harms anybody."""

import contextlib
import itertools
import json
import os
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_client import ask, ask_as, connected, heard, is_open, say
from daemon_process import Installed, within
from frames import TARGET, advertisement, solicitation
from peer import Peer, Wire, seconds_until
from requirements import require

from ndpresponder.api.access import CLIENTS_MAX
from ndpresponder.lab.topology import wait_until

FLAGS = ("-i", "up0", "-n", "2001:db8::/112", "-x", "2001:db8::bad")
OTHER = 12345  # a user and a group that nobody is
GROUP = 23456
ELSEWHERE = "2001:db8:5::c1"  # not within the prefix


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    require("ip")
    with Wire("control") as wire:
        yield wire


@pytest.fixture(scope="module")
def open_directory() -> Iterator[Path]:
    """Return a directory that everybody may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def daemon(wire, open_directory) -> Iterator[Installed]:
    with Installed(wire.near, *FLAGS, control=open_directory / "made/control.sock") as daemon:
        yield daemon


@pytest.fixture
def peer(daemon, peer) -> Peer:
    peer.await_answer()
    peer.ask()  # all that was sent until then is answered
    return peer


@pytest.fixture
def added(daemon) -> Iterator[None]:
    """Take all temporary prefixes away at the end."""
    yield
    for each in ask(daemon.control, "GET", "/prefixes")[1]["prefixes"]:
        said = {"prefix": each["prefix"]} | ({"iface": each["uplink"]} if each["uplink"] else {})
        assert ask(daemon.control, "DELETE", "/prefixes", **said)[0] == 200


# Who may ask


def test_the_socket_is_for_owner_and_group(daemon):
    assert stat.S_IMODE(daemon.control.stat().st_mode) == 0o660


@pytest.mark.parametrize(
    ("expected", "uid", "gid", "groups", "mode", "group"),
    [
        ("200", 0, 0, (), 0o660, 0),
        ("200", OTHER, 0, (), 0o660, 0),
        ("200", OTHER, OTHER, (GROUP,), 0o660, GROUP),
        ("200", OTHER, OTHER, (1, GROUP, 2), 0o660, GROUP),
        ("PermissionError", OTHER, OTHER, (), 0o660, 0),
        ("PermissionError", OTHER, OTHER, (0,), 0o660, GROUP),
        ("403", OTHER, OTHER, (), 0o666, 0),
        ("403", OTHER, 0, (), 0o666, GROUP),
    ],
    ids=["root", "group", "second group", "one of many", "other", "not this group", "open, other", "open, old group"],
)
def test_root_and_the_group_of_the_socket_may_ask(daemon, expected, uid, gid, groups, mode, group):
    try:
        os.chown(daemon.control, -1, group)
        daemon.control.chmod(mode)
        assert expected == ask_as(daemon.control, uid, gid, groups)
    finally:
        os.chown(daemon.control, -1, 0)
        daemon.control.chmod(0o660)


def test_in_the_group_of_a_socket_that_took_its_place_is_not_enough(daemon):
    aside = daemon.control.with_name("aside")
    daemon.control.rename(aside)
    try:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(daemon.control))
            os.chown(daemon.control, -1, GROUP)
            aside.chmod(0o666)
            assert ask_as(aside, OTHER, GROUP) == "403"
    finally:
        aside.chmod(0o660)
        aside.rename(daemon.control)


# What is said


def test_status_agrees_with_the_metrics(daemon, peer):
    peer.ask(solicitation("2001:db8:1::1"), solicitation("2001:db8::bad"))
    code, status = ask(daemon.control, "GET", "/status")
    (uplink,) = status["uplinks"]
    counters = daemon.counters()
    assert code == 200
    assert status["pid"] == daemon.process.pid
    assert (uplink["name"], uplink["state"], uplink["lladdr"]) == ("up0", "answering", "02:00:00:00:00:02")
    assert uplink["received"]["multicast"] == counters["received multicast"]
    assert uplink["answered"]["multicast"] == counters["sent solicited"]
    assert uplink["ignored"] == {"not_ours": counters["ignored not_ours"], "excluded": counters["ignored excluded"]}
    assert {(each["kind"], each["name"], each["up"]) for each in status["sources"]} == {
        ("static", "up0", True),
        ("temporary", "up0", True),
    }


@pytest.mark.parametrize(
    ("answered", "target"),
    [
        (True, "2001:db8::c1"),
        (False, "2001:db8::bad"),
        (False, ELSEWHERE),
        (False, "fe80::99"),
        (False, "ff02::1"),
        (False, "::1"),
    ],
)
def test_explain_says_what_the_wire_shows(daemon, peer, answered, target):
    assert answered == bool(peer.ask(solicitation(target)))
    before = daemon.counters()
    code, report = ask(daemon.control, "GET", f"/explain?target={target}")
    assert (200, answered) == (code, report["answered"])
    assert before == daemon.counters()


def test_a_target_without_a_route_is_answered_for_but_explained(wire, daemon):
    (uplink,) = ask(daemon.control, "GET", f"/explain?target={TARGET}")[1]["uplinks"]
    assert uplink["yet"] == ["this host has no route to it: packets for it end here"]
    wire.near.ip("route add 2001:db8::/112 dev up0")
    try:
        (uplink,) = ask(daemon.control, "GET", f"/explain?target={TARGET}")[1]["uplinks"]
        (why,) = uplink["yet"]
        assert "back out of up0" in why
    finally:
        wire.near.ip("route del 2001:db8::/112 dev up0")
    wire.near.ip("link add inside0 type veth peer name inside1", "link set inside1 up", "link set inside0 up")
    wire.near.ip("route add 2001:db8::/112 dev inside0")
    try:
        (uplink,) = ask(daemon.control, "GET", f"/explain?target={TARGET}")[1]["uplinks"]
        assert uplink["yet"] == ["this host does not forward: sysctl net.ipv6.conf.all.forwarding=1"]
    finally:
        wire.near.ip("link del inside0")


def test_a_limit_of_the_answers_is_explained():
    with Wire("controls") as wire, Installed(wire.near, *FLAGS, "--rate", "50/100") as daemon:
        (uplink,) = ask(daemon.control, "GET", f"/explain?target={TARGET}")[1]["uplinks"]
        limited, no_route = uplink["yet"]
        assert "beyond 50 answers a second, and 100 at once, it ends as rate_limited" in limited
        assert no_route.startswith("this host has no route")


# Temporary prefixes


def solicited(peer: Peer) -> list[bytes]:
    """Return the answers to a solicitation, without what is announced meanwhile."""
    return [reply for reply in peer.ask(solicitation(ELSEWHERE)) if reply[58] & 0x40]


def await_answered(peer: Peer, expected: bytes) -> None:
    """Wait until that is the answer: the kernel is told of a new target a little later than the daemon."""
    seconds_until(lambda: [expected] == solicited(peer), 2)


def test_a_temporary_prefix_is_answered_for_at_once_and_ends_by_itself(daemon, peer, added):
    assert peer.ask(solicitation(ELSEWHERE)) == []
    assert ask(daemon.control, "POST", "/prefixes", prefix="2001:db8:5::/64", lifetime_s=1)[0] == 200
    began = time.monotonic()
    await_answered(peer, advertisement(ELSEWHERE))
    taken = seconds_until(lambda: peer.ask(solicitation(ELSEWHERE)) == [], 5)
    assert 0.8 < time.monotonic() - began < 3, taken
    assert ask(daemon.control, "GET", "/prefixes")[1] == {"prefixes": []}


def test_a_temporary_prefix_appears_within_a_tenth_of_a_second(daemon, peer, added):
    numbers = itertools.count(1)

    def appear() -> float:
        network = f"2001:db8:6:{next(numbers):x}::"
        began = time.monotonic()
        ask(daemon.control, "POST", "/prefixes", prefix=f"{network}/64")
        peer.await_answer(f"{network}1")
        return time.monotonic() - began

    within(0.1, appear)


def test_removing_takes_effect_at_once(daemon, peer, added):
    ask(daemon.control, "POST", "/prefixes", prefix=ELSEWHERE, iface="up0")
    await_answered(peer, advertisement(ELSEWHERE, override=True))  # a single address is live
    assert ask(daemon.control, "DELETE", "/prefixes", prefix=ELSEWHERE)[0] == 404  # it was added for one uplink
    assert ask(daemon.control, "DELETE", "/prefixes", prefix=ELSEWHERE, iface="up0")[0] == 200
    assert solicited(peer) == []


def test_an_excluded_address_stays_excluded(daemon, peer, added):
    ask(daemon.control, "POST", "/prefixes", prefix="2001:db8::bad")
    assert peer.ask(solicitation("2001:db8::bad")) == []
    (uplink,) = ask(daemon.control, "GET", "/explain?target=2001:db8::bad")[1]["uplinks"]
    assert uplink["why"] == [
        "it is excluded by the configuration: 2001:db8::bad/128",
        "it lies in 2001:db8::/112, claimed by the configuration",
        "it is live: a temporary prefix says that it is there",
    ]


# Clients that mean no good


def test_hostile_clients_harm_nobody(daemon, peer):
    ask(daemon.control, "GET", "/status")
    memory, descriptors = daemon.rss_kb(), daemon.descriptors()
    half = b"GET /status HTTP/1.1\r\nHost: x\r\nX: "
    starts = {
        "silent": b"",
        "garbage": b"\x16\x03\x01\0\xff" * 50,
        "half": half,
        "long": half + b"y" * 100_000,
        "huge body": b"POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b" " * 100_000,
        "deaf": b"GET /targets HTTP/1.1\r\nHost: x\r\n\r\n",
        "many": b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n" * 1000,
    }
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            for start in starts.values():
                client = stack.enter_context(connected(daemon.control))
                client.setblocking(False)
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    client.send(start)
            assert [advertisement(TARGET)] == peer.ask(solicitation(TARGET))
            assert ask(daemon.control, "GET", "/status")[0] == 200
        assert daemon.descriptors() <= descriptors + CLIENTS_MAX + 1
    wait_until(lambda: daemon.descriptors() <= descriptors, 5, "all of them to be forgotten")
    assert daemon.rss_kb() - memory < 2048


def test_solicitations_are_answered_while_a_long_list_is_read(wire, tmp_path):
    file = tmp_path / "addresses"
    listed = {f"2001:db8:7::{number:x}" for number in range(1, 20_001)}
    file.write_text("\n".join(listed))
    with Installed(wire.near, "-i", "up0", "-n", TARGET, "-f", str(file)) as daemon, Peer(wire.far) as peer:
        peer.await_answer("2001:db8:7::4e20", deadline_s=15)
        peer.drain()
        bodies: list[str] = []

        def read() -> None:
            with connected(daemon.control) as client:
                say(client, "GET", "/targets")
                bodies.append(heard(client)[1])

        reader = threading.Thread(target=read)
        reader.start()
        asked = 0
        while reader.is_alive():
            peer.await_answer(TARGET, deadline_s=1, every_s=1)
            asked += 1
        reader.join()
        rows = [json.loads(line) for line in bodies[0].splitlines()]
        assert listed == {row["target"] for row in rows if row["origins"] == [f"file {file}"]}
        assert {(row["state"], *row["uplinks"]) for row in rows} == {("live", "up0"), ("excluded", "up0")}
        assert asked > 3


# The socket itself


def test_whoever_hears_that_it_is_ready_can_ask_at_once():
    with Wire("controls") as wire:
        for _ in range(5):
            with Installed(wire.near, *FLAGS) as daemon:
                daemon.connect().close()  # where metrics are served
                assert ask(daemon.control, "GET", "/status")[0] == 200


def test_a_second_daemon_on_one_socket_says_so_once_and_answers(daemon):
    with Wire("controls", cables=1) as wire:
        with Installed(wire.near, *FLAGS, control=daemon.control) as second, Peer(wire.far) as peer:
            peer.await_answer()
            (line,) = second.lines("nobody can ask this daemon")
            assert "level=warning" in line
            assert "another process listens there" in line
        assert ask(daemon.control, "GET", "/status")[1]["pid"] == daemon.process.pid


@pytest.mark.parametrize("path", ["/proc/1/control.sock", "/nonexistent/deeper/control.sock"])
def test_a_socket_that_cannot_be_had_is_a_warning(path):
    with Wire("controls") as wire, Installed(wire.near, *FLAGS, control=Path(path)) as daemon, Peer(wire.far) as peer:
        peer.await_answer()
        assert daemon.lines("nobody can ask this daemon")


def test_a_socket_left_by_a_dead_daemon_is_replaced_and_nothing_is_left_at_the_end(tmp_path):
    path = tmp_path / "made" / "control.sock"
    with Wire("controls") as wire:
        with Installed(wire.near, *FLAGS, control=path) as daemon:
            assert is_open(path)
            assert daemon.lines("level=warning") == []
        assert list(tmp_path.iterdir()) == []
        path.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        with Installed(wire.near, *FLAGS, control=path) as daemon:
            assert ask_as(path, 0, 0) == "200"
            assert daemon.lines("level=warning") == []
        assert list(path.parent.iterdir()) == []
