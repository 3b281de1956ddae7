"""Metrics are served on every socket that the service manager passed, and those stay the manager's."""

import asyncio
import contextlib
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from open_descriptors import open_descriptors

from ndpresponder.api.passed_sockets import take_over
from ndpresponder.api.server import HttpServer, verdict
from ndpresponder.errors import SystemRefused


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[list[socket.socket]]:
    """Return what a manager would pass: one listening socket of each kind."""
    with contextlib.ExitStack() as stack:
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind(str(tmp_path / "metrics.sock"))
        local.listen()
        yield [
            stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6)),
            stack.enter_context(socket.create_server(("127.0.0.1", 0))),
            local,
        ]


def fetch(family: int, address: object) -> bytes:
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect(address)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        response = http.client.HTTPResponse(client)
        response.begin()
        return response.read()


def test_all_that_was_passed_is_served_on_and_nothing_else_is_opened(sockets: list[socket.socket]) -> None:
    async def run() -> str:
        # Nobody can have this address: it must not even be tried
        server = HttpServer(
            "[::1]:1", {"/healthz": verdict(lambda: (True, "ok"))}, passed=[sock.fileno() for sock in sockets]
        )
        await server.start()
        for sock in sockets:
            assert await asyncio.to_thread(fetch, sock.family, sock.getsockname()) == b"ok\n"
        await server.close()
        return server.listen

    ports = [sock.getsockname()[1] for sock in sockets[:2]]
    assert asyncio.run(run()) == f"[::1]:{ports[0]}, 127.0.0.1:{ports[1]}, unix:{sockets[2].getsockname()}"
    # They listen still, as they must for a successor
    assert asyncio.run(run()).startswith("[::1]:")


def test_a_socket_that_does_not_listen_is_refused(tmp_path: Path) -> None:
    open_before = open_descriptors()
    with socket.socket() as deaf, pytest.raises(SystemRefused, match=r"it does not listen .* Accept=no"):
        take_over(deaf.fileno())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(str(tmp_path / "datagrams"))
        with pytest.raises(SystemRefused, match="it does not listen"):
            take_over(datagrams.fileno())
    assert open_descriptors() == open_before


def test_what_is_no_socket_is_refused_and_nothing_is_left_open(tmp_path: Path) -> None:
    open_before = open_descriptors()
    with (tmp_path / "file").open("w") as file, pytest.raises(SystemRefused, match="Socket operation on non-socket"):
        take_over(file.fileno())
    with pytest.raises(SystemRefused, match="Bad file descriptor"):
        take_over(999)
    assert open_descriptors() == open_before
