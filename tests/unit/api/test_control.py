"""The routes of the control socket: bounded, contained, and each change is logged with who made it."""

import asyncio
import json
from ipaddress import IPv6Network
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from ndpresponder.api.control import Control
from ndpresponder.api.server import Request, answer
from ndpresponder.api.snapshot import DaemonHandle
from ndpresponder.config import Config, InterfaceConfig
from ndpresponder.targets.board import TargetBoard
from ndpresponder.targets.sources.temporary import MAX_PREFIXES, Temporary, TemporaryPrefixes

NETWORKS = [*islice(IPv6Network("2001:db8::/32").subnets(new_prefix=64), MAX_PREFIXES + 1)]


class Daemon:
    """What the routes steer, as far as they are asked to here."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.changes: list[str] = []
        self.temporary = TemporaryPrefixes(
            lambda *_: SimpleNamespace(cancel=lambda: None, when=lambda: 5.0), lambda: 0.0
        )

    async def reload(self) -> str | None:
        self.changes.append("reload")
        return self.problem

    async def upgrade(self) -> str | None:
        raise RuntimeError("a bug of ours")

    def told(self, method: str, path: str, body: bytes = b"{}", uid: int = 7) -> tuple[int, Any]:
        """Return status and JSON of the reply."""
        config = Config((InterfaceConfig("eth0", allow_wide=True), InterfaceConfig("eth1")))
        in_force: Any = SimpleNamespace(
            config=config,
            uplinks={each.name: SimpleNamespace(name=each.name) for each in config.interfaces},
            board=TargetBoard({}, lambda *_: None, lambda *_: None),
            temporary=self.temporary,
        )
        handle = DaemonHandle(in_force, self.reload, self.upgrade)
        answered = asyncio.run(answer(Control(handle, uid).service, Request(method, path, {}, body)))
        return answered.status, json.loads(b"".join(answered.pieces))


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


def test_there_is_room_for_so_many_prefixes_and_no_more(daemon: Daemon) -> None:
    for network in NETWORKS[:-1]:
        daemon.temporary.add(Temporary(network), None)
    status, said = daemon.told("POST", "/prefixes", json.dumps({"prefix": str(NETWORKS[-1])}).encode())
    assert (status, said) == (409, {"error": "there are 1024 temporary prefixes already; remove some"})
    assert daemon.told("DELETE", "/prefixes", json.dumps({"prefix": str(NETWORKS[0])}).encode())[0] == 200
    assert daemon.told("POST", "/prefixes", json.dumps({"prefix": str(NETWORKS[-1])}).encode())[0] == 200


@pytest.mark.parametrize(
    ("status", "said"), [(200, {"iface": "eth0"}), (400, {"iface": "eth1"}), (400, {})], ids=["allowed", "not", "all"]
)
def test_a_wide_prefix_needs_the_word_of_each_uplink(daemon: Daemon, status: int, said: dict[str, str]) -> None:
    answered, error = daemon.told("POST", "/prefixes", json.dumps({"prefix": "2001:db8::/32", **said}).encode())
    assert status == answered
    if status == 400:
        hint = "set allow_wide for eth1 in the configuration if all of it lies behind this host"
        assert error == {"error": f"2001:db8::/32 is wider than /64; {hint}"}


def test_a_change_is_logged_with_who_made_it(daemon: Daemon) -> None:
    body = json.dumps({"prefix": "2001:db8::/64", "lifetime_s": 5}).encode()
    with capture_logs() as logs:
        daemon.told("POST", "/prefixes", body, uid=1234)
    (event,) = logs
    assert (event["event"], event["prefix"], event["lifetime_s"], event["by_uid"]) == (
        "a temporary prefix was added",
        "2001:db8::/64",
        5,
        1234,
    )


def test_a_reload_that_fails_says_why(daemon: Daemon) -> None:
    assert daemon.told("POST", "/reload") == (200, {"done": True})
    daemon.problem = "f.toml:3: is not TOML"
    assert daemon.told("POST", "/reload") == (409, {"error": "f.toml:3: is not TOML"})
    assert daemon.changes == ["reload", "reload"]


def test_a_fault_of_ours_is_told_and_ends_the_request_only(daemon: Daemon) -> None:
    with capture_logs() as logs:
        assert daemon.told("POST", "/upgrade") == (500, {"error": "internal error; see the daemon's log"})
    assert [event["event"] for event in logs] == ["an upgrade was asked for", "a request could not be answered"]


@pytest.mark.parametrize(
    ("says", "body"),
    [
        ("the body is not JSON", b"{"),
        ("the body is not JSON", b"\xff"),
        ("the body is not JSON", b"[" * 4000),
        ("the body must be an object, not an array", b"[]"),
        ("the body must be an object, not text", b'"x"'),
        ("the body must be an object, not an integer", b"1" * 1000),
        ("prefix is missing", b""),
        ("unknown key 'a'", b'{"a": 1, "prefix": "2001:db8::/64"}'),
        ("must be text, not a table", b'{"prefix": {}}'),
        ("must be text, not a boolean", b'{"prefix": "2001:db8::/64", "iface": true}'),
        ("must be an integer, not a boolean", b'{"prefix": "2001:db8::/64", "lifetime_s": true}'),
        ("must be an integer, not a float", b'{"prefix": "2001:db8::/64", "lifetime_s": 1e99}'),
        ("the number is more than 31622400", b'{"prefix": "2001:db8::/64", "lifetime_s": 1' + b"0" * 99 + b"}"),
    ],
)
def test_any_body_is_taken_or_refused_in_words(daemon: Daemon, says: str, body: bytes) -> None:
    with capture_logs() as logs:
        status, said = daemon.told("POST", "/prefixes", body)
    assert (status, logs) == (400, [])
    assert said["error"].startswith(says)
    assert daemon.temporary.remaining() == {}
