"""Any octets where a container engine should answer in HTTP: an answer, lines of a stream, or `SourceUnavailable`."""

import contextlib
from unittest import mock

import loops
from octets import Octets

from ndpresponder.errors import SourceUnavailable
from ndpresponder.targets.sources import engine_api


def check(octets: bytes) -> None:
    """Ask once, for one answer or for a stream, as the first octet says."""
    choices = Octets(octets)
    streamed = choices.byte() & 1
    # A pause between two reads is not what is tested here
    with mock.patch.object(engine_api, "_EVENTS_PAUSE_S", 0):
        loops.run((_events if streamed else _get)(choices.rest()))


async def _get(answer: bytes) -> None:
    async with loops.saying(lambda _: answer, b"\r\n\r\n", "engine.sock") as path:
        with contextlib.suppress(SourceUnavailable):
            body = await engine_api.Engine(path).get("/networks")
            assert len(body) <= min(engine_api.BODY_MAX, len(answer))


async def _events(answer: bytes) -> None:
    read = 0
    async with loops.saying(lambda _: answer, b"\r\n\r\n", "engine.sock") as path:
        with contextlib.suppress(SourceUnavailable):
            async with contextlib.aclosing(engine_api.Engine(path).events("/events")) as lines:
                assert await anext(lines) == b""
                async for line in lines:
                    assert b"\n" not in line
                    read += len(line) + 1
            raise AssertionError("the stream ended, and nobody was told")
    assert read <= len(answer)


_OK = b"HTTP/1.1 200 OK\r\n"
SEEDS = (
    b"\0" + _OK + b"Content-Length: 2\r\n\r\n[]",
    b"\0" + _OK + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\n[1,\r\n2\r\n2]\r\n0\r\nA: b\r\n\r\n",
    b"\0HTTP/1.1 100 Continue\r\n\r\n" + _OK + b"\r\n{}",
    b"\1" + _OK + b'Transfer-Encoding: chunked\r\n\r\na\r\n{"a": 1}\n\n\r\n1\r\n\n\r\n0\r\n\r\n',
    b"\1HTTP/1.0 404 Not Found\r\n\r\nno\n",
)
DICTIONARY = (
    b"HTTP/1.1 ",
    b"HTTP/1.0 200 OK\r\n",
    b"\r\n\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked",
    b"0\r\n\r\n",
    b"101",
    b"204",
    b"\r\n ",
)
