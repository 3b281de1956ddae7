"""Any requests, in any pieces, at the HTTP server: whole answers, none of them our fault, and then the end."""

import asyncio
import re
import tempfile
from http import HTTPStatus
from pathlib import Path

import loops
from octets import Octets, packet

from ndpresponder.api.metrics import metrics_service
from ndpresponder.api.server import Reply, Request, serving, text_reply

PIECES_MAX = 8
HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]+\r\n(?:[^\r\n]+\r\n)*?Content-Length: (\d+)\r\n(?:[^\r\n]+\r\n)*\r\n")
ANSWERED = {status.value for status in HTTPStatus} - {500}


async def _healthy(_: Request) -> Reply:
    return text_reply(200, "ok")


async def _large(_: Request) -> Reply:
    return Reply(200, (bytes(300_000),), "text/plain")


def check(octets: bytes) -> None:
    """Connect, send the pieces, and read to the end."""
    choices = Octets(octets)
    pieces = []
    while choices and len(pieces) < PIECES_MAX:
        pieces.append(choices.packet())
    said = loops.run(_talk(pieces))
    while said:
        head = HEAD.match(said)
        assert head, said[:200]
        assert int(head[1]) in ANSWERED
        said = said[head.end() :]
        if said and not said.startswith(b"HTTP/1.1 "):  # what answers HEAD has a length, and no body
            assert len(said) >= int(head[2])
            said = said[int(head[2]) :]


async def _talk(pieces: list[bytes]) -> bytes:
    """Return what the server says, nothing if it had enough before it could be read."""
    with tempfile.TemporaryDirectory(dir=loops.SHORT_LIVED) as directory:
        path = Path(directory, "http.sock")
        service = metrics_service({"/healthz": _healthy, "/large": _large})
        async with serving(f"unix:{path}", service) as (_, clients):
            said = await loops.heard_for(pieces, *await asyncio.open_unix_connection(path))
            while clients.connected:
                await asyncio.sleep(0)
            return said


_HOST = b" HTTP/1.1\r\nHost: x\r\n"
SEEDS = (
    packet(b"GET /healthz" + _HOST + b"\r\n"),
    packet(b"GET /healthz" + _HOST + b"\r\nHEAD /large" + _HOST + b"Connection: close\r\n\r\n"),
    packet(b"GET /lar") + packet(b"ge HTTP/1.0\r\n") + packet(b"\r\n"),
    packet(b"GET /large" + _HOST + b"\r\nGET /large" + _HOST + b"\r\n"),
    packet(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"),
    packet(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
    packet(
        b"GET /healthz?x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
    ),
)
DICTIONARY = (
    *(b"GET ", b"HEAD ", b"POST ", b"CONNECT ", b"OPTIONS * ", b"/healthz", b"/large", b" HTTP/1.1\r\n", b"\r\n\r\n"),
    *(b"Host: x\r\n", b"Connection: close\r\n", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"),
)
