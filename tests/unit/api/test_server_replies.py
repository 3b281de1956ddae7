"""A request on the control socket ends in a reply or a closed connection, in time, whatever the client does."""

import asyncio
import json
import socket
import time
from collections.abc import Coroutine, Iterator
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpresponder.api import server
from ndpresponder.api.control import BODY_MAX
from ndpresponder.api.listening import Clients
from ndpresponder.api.server import HEADERS_MAX, Handler, Reply, Request, Service, converse, json_reply

DEADLINE_S = 10
HEAD = b"GET /x?a=1&b=%20&c HTTP/1.1\r\nHost: x\r\n"


async def echo(request: Request) -> Reply:
    return json_reply(
        200, {"method": request.method, "path": request.path, "query": request.query, "body": request.body.decode()}
    )


async def _connect(answer: Handler) -> tuple[socket.socket, "asyncio.Task[None]"]:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours, limit=8192)
    routes = {path: {"GET": answer, "POST": answer} for path in ("/", "/x")}
    service = Service(routes, lambda status, why: json_reply(status, {"error": why}), BODY_MAX)
    clients = Clients(1)
    clients.admit(writer, converse(reader, writer, service))
    return theirs, next(iter(clients.connected))


async def _read_all(client: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    client.setblocking(False)
    parts = []
    try:
        while part := await loop.sock_recv(client, 65536):
            parts.append(part)
    except ConnectionError:
        parts.append(b"<reset>")
    return b"".join(parts)


def talk(*sent: bytes, answer: Handler = echo, timeout_s: float = 2, end: bool = False) -> tuple[int, Any]:
    """Return status and JSON of the reply to these octets, sent one by one; 0 without a reply."""

    async def main() -> bytes:
        client, talking = await _connect(answer)
        with client:
            loop = asyncio.get_running_loop()
            client.setblocking(False)
            for octets in sent:
                try:
                    await loop.sock_sendall(client, octets)
                except OSError:
                    break
                await asyncio.sleep(0)
            if end:
                client.shutdown(socket.SHUT_WR)
            answered = await _read_all(client)
        await asyncio.wait_for(talking, DEADLINE_S)
        return answered

    octets = _run(main(), timeout_s)
    head, _, body = octets.partition(b"\r\n\r\n")
    if not head:
        return 0, None
    assert head.startswith(b"HTTP/1.1 "), octets
    return int(head.split()[1]), json.loads(body.removesuffix(b"<reset>") or b"null")


def _run(main: Coroutine[Any, Any, Any], timeout_s: float = 2) -> Any:
    complaints: list[dict[str, Any]] = []

    async def watched() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        return await asyncio.wait_for(main, DEADLINE_S)

    with patch.object(server, "TIMEOUT_S", timeout_s):
        result = asyncio.run(watched())
    assert complaints == []
    return result


def test_a_request_is_read_whole() -> None:
    expected = {"method": "GET", "path": "/x", "query": {"a": "1", "b": " ", "c": ""}, "body": ""}
    assert talk(HEAD + b"\r\n") == (200, expected)
    status, said = talk(HEAD.replace(b"GET", b"POST") + b"Content-Length: 4\r\n\r\nab", b"cd")
    assert (status, said["method"], said["body"]) == (200, "POST", "abcd")
    status, said = talk(
        HEAD.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\nab\r\n", b"0\r\n\r\n"
    )
    assert (status, said["body"]) == (200, "ab")


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (400, b"\x16\x03\x01\0\xff\r\n\r\n"),
        (400, HEAD + b"Content-Length: -1\r\n\r\n"),
        (400, HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        (400, b"GET /?a&b&c&d&e&f&g&h&i HTTP/1.1\r\nHost: x\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\n\r\n"),  # no Host
        (431, HEAD + b"X: " + b"y" * (HEADERS_MAX + 5000)),
        (413, HEAD + b"Content-Length: 99999\r\n\r\n" + b"z" * (BODY_MAX + 1)),
        (0, b""),
        (400, HEAD),
    ],
)
def test_what_is_wrong_is_refused(status: int, sent: bytes) -> None:
    answered, said = talk(sent, end=True)
    assert answered == status
    assert not status or said["error"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=3))
def test_any_octets_end_in_a_reply_or_a_closed_connection(sent: list[bytes]) -> None:
    talk(*sent, end=True)


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"Content-Length: 9\r\n\r\nabc"], ids=["silent", "half", "body"])
def test_a_client_that_does_not_go_on_is_cut(sent: bytes) -> None:
    began = time.monotonic()
    assert talk(sent, timeout_s=0.2) == (0, None)
    assert 0.15 < time.monotonic() - began < 3


def test_octets_that_drip_do_not_extend_the_time() -> None:
    async def main() -> float:
        client, talking = await _connect(echo)
        began = time.monotonic()
        with client:
            client.setblocking(False)
            while not talking.done():
                try:
                    client.send(b"X")
                except OSError:
                    break
                await asyncio.sleep(0.01)
            await talking
        return time.monotonic() - began

    assert 0.25 < _run(main(), 0.3) < 3


def test_a_client_that_does_not_read_holds_no_memory_and_is_cut() -> None:
    made = 0

    def pieces() -> Iterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield b"x" * 10_000

    async def endless(_: Request) -> Reply:
        return Reply(200, pieces())

    async def main() -> None:
        client, talking = await _connect(endless)
        with client:
            client.sendall(HEAD + b"\r\n")
            await talking

    _run(main(), 0.3)
    assert 0 < made < 200  # what fits the kernel's buffers


def test_others_get_their_turn_between_the_pieces_of_a_long_reply() -> None:
    turns: list[str] = []

    async def long(_: Request) -> Reply:
        return Reply(200, (turns.append("piece") or b"x" for _ in range(10)))

    async def main() -> None:
        client, talking = await _connect(long)
        with client:
            client.sendall(HEAD + b"\r\n")
            while not talking.done():
                turns.append("other")
                await asyncio.sleep(0)

    _run(main())
    first, last = turns.index("piece"), len(turns) - turns[::-1].index("piece")
    assert turns[first:last].count("other") >= 9


def test_what_was_begun_is_finished_when_the_client_goes_away() -> None:
    async def main() -> None:
        begun, gone, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow(_: Request) -> Reply:
            begun.set()
            await gone.wait()
            done.set()
            return json_reply(200, {})

        client, talking = await _connect(slow)
        with client:
            client.sendall(HEAD + b"\r\n")
            await begun.wait()
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        gone.set()
        await asyncio.wait_for(done.wait(), DEADLINE_S)

    _run(main())
