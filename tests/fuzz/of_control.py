"""Any requests, in any pieces, at the control socket: a whole answer in JSON, never our fault, nothing half done."""

import asyncio
import contextlib
import io
import json
import re
import socket
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import loops
from octets import Octets, packet
from structlog.testing import capture_logs

from ndpresponder.api.control import talk
from ndpresponder.api.listening import Clients
from ndpresponder.api.snapshot import DaemonHandle, Reading
from ndpresponder.config import Config, InterfaceConfig, LogConfig
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.packet.handover import Handover
from ndpresponder.linux.systemd import Notifier
from ndpresponder.linux.unix_socket import DatagramSender
from ndpresponder.observe.journal import SOCKET_PATH
from ndpresponder.observe.logs import Logs
from ndpresponder.targets.board import TargetBoard
from ndpresponder.targets.sources.temporary import TemporaryPrefixes
from ndpresponder.uplink.parts import Settings, Surroundings
from ndpresponder.uplink.uplink import Uplink

PIECES_MAX = 8
HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]+\r\n(?:[^\r\n]+\r\n)+\r\n")
ANSWERED = {status.value for status in HTTPStatus} - {500}
CONFIG = Config((InterfaceConfig("eth0"), InterfaceConfig("eth1", allow_wide=True)))


async def _done() -> str | None:
    return None


def _daemon(temporary: TemporaryPrefixes, logs: Logs) -> DaemonHandle:
    around = Surroundings(Handover(Notifier({}), {}, lambda *_: None))
    uplinks = {each.name: Uplink(Settings(each, CONFIG.limits), logs, around) for each in CONFIG.interfaces}
    uplinks["eth0"].link = Link("eth0", "eth0", 1, bytes(6), 1, True, False, frozenset(), frozenset())
    board = TargetBoard({each.name: frozenset() for each in CONFIG.interfaces}, lambda *_: None, lambda *_: None)
    in_force: Any = SimpleNamespace(config=CONFIG, uplinks=uplinks, board=board, temporary=temporary, logs=logs)
    in_force.reading = Reading(0.0, 0.0)
    return DaemonHandle(in_force, reload=_done, upgrade=_done)


def check(octets: bytes) -> None:
    """Connect, send the pieces, and read to the end."""
    choices = Octets(octets)
    pieces = []
    while choices and len(pieces) < PIECES_MAX:
        pieces.append(choices.packet())
    with capture_logs():
        said = loops.run(_talk(pieces))
    if not said:
        return
    head = HEAD.match(said)
    assert head, said[:200]
    assert int(head[1]) in ANSWERED, said
    body = said[head.end() :]
    if body and b"chunked" not in head[0] and b"ndjson" not in head[0]:
        answer = json.loads(body)
        assert ("error" in answer) == (int(head[1]) != 200)


async def _talk(pieces: list[bytes]) -> bytes:
    """Return what is said, nothing if it had enough before it could be read."""
    loop = asyncio.get_running_loop()
    logs = Logs(io.StringIO(), {}, DatagramSender(SOCKET_PATH))
    logs.apply(LogConfig())
    temporary = TemporaryPrefixes(loop.call_later, loop.time)
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours, limit=8192)
    clients = Clients(1)
    clients.admit(writer, talk(reader, writer, _daemon(temporary, logs), 0))
    (talking,) = clients.connected
    said = b""
    with contextlib.suppress(OSError):
        said = await loops.heard_for(pieces, *await asyncio.open_connection(sock=theirs))
    await talking
    assert len(temporary.remaining()) <= 1
    for prefix in temporary.remaining():
        temporary.remove(prefix)
    return said


_HOST = b" HTTP/1.1\r\nHost: x\r\n"


def _post(path: bytes, body: bytes, method: bytes = b"POST") -> bytes:
    return packet(method + b" " + path + _HOST + b"Content-Length: %d\r\n\r\n" % len(body) + body)


SEEDS = (
    packet(b"GET /status" + _HOST + b"\r\n"),
    packet(b"GET /targets" + _HOST + b"\r\n"),
    packet(b"GET /explain?target=2001:db8::1&iface=eth1" + _HOST + b"\r\n"),
    packet(b"GET /pre") + packet(b"fixes HTTP/1.0\r\n") + packet(b"\r\n"),
    _post(b"/prefixes", b'{"prefix": "2001:db8::/64", "iface": "eth0", "lifetime_s": 5}'),
    _post(b"/prefixes", b'{"prefix": "2001:db8::/32"}', b"DELETE"),
    _post(b"/log", b'{"level": "debug"}'),
    _post(b"/reload", b"{}"),
    packet(b"POST /upgrade" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    packet(b"PUT /nothing?a=%FF&b" + _HOST + b"Expect: 100-continue\r\n\r\n"),
)
DICTIONARY = (
    *(b"GET ", b"POST ", b"DELETE ", b"/status", b"/targets", b"/explain?", b"target=", b"iface=", b"/prefixes"),
    *(b"/log", b"/reload", b"/upgrade", b" HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n\r\n", b"Content-Length: 1\r\n"),
    *(b'{"prefix": "', b'"iface": "eth0"', b'"lifetime_s": ', b'"level": "', b"2001:db8::/64", b"fe80::1", b"null"),
)
