"""No client can make the server fail, wait or grow, whatever it sends or does not read."""

import gc
import itertools
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from metrics_server import ASK, DEADLINE_S, Running, read_all, running, wait_until
from open_descriptors import open_descriptors
from structlog.testing import capture_logs

from ndpresponder.api.server import CLIENTS_MAX


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as server:
        yield server


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.binary(max_size=200))
@example(b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n")
@example(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", b"\0" * 100)
@example(ASK * 9, b"\xff")
@example(b"GET http://[/ HTTP/1.1\r\nHost: x\r\n\r\n", b"")
def test_any_bytes_end_in_an_answer_or_a_closed_connection(server: Running, first: bytes, second: bytes) -> None:
    with server.connect() as client:
        try:
            client.sendall(first)
            client.sendall(second)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            return  # closed already
        answer = read_all(client)
    assert answer in (b"", b"<reset>") or answer.startswith(b"HTTP/1.1 ")
    assert server.complaints == []


words = st.sampled_from(
    b"GET ~HEAD ~POST ~/healthz ~/big ~HTTP/1.1\r\n~HTTP/1.0\r\n~Host: x\r\n~\r\n~Connection: close\r\n~"
    b"Connection: upgrade\r\nUpgrade: h2c\r\n~Transfer-Encoding: chunked\r\n~Content-Length: 3\r\n~abc~3\r\nabc\r\n~"
    b"0\r\n\r\n~\0~\xff~ ~: ~GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".split(b"~")
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(words, max_size=12))
def test_any_mixture_of_http_ends_in_an_answer_or_a_closed_connection(server: Running, parts: list[bytes]) -> None:
    server.big = b"x"
    test_any_bytes_end_in_an_answer_or_a_closed_connection.hypothesis.inner_test(server, b"".join(parts), b"")


def test_a_client_that_resets_in_the_middle_is_no_event() -> None:
    with running() as server, capture_logs() as logs:
        for request in (
            b"",
            b"GET /",
            b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
            ASK * 99,
        ):
            client = server.connect()
            client.sendall(request)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by RST
            client.close()
        wait_until(lambda: not server.clients.connected, "all connections are gone")
        assert server.get("/healthz")[0].status == 200
    assert logs == []


@pytest.mark.parametrize(
    "request_",
    [b"", b"GET /healthz HTTP/1.1\r\nHo", b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"],
    ids=["idle", "half", "deaf"],
)
def test_a_client_that_does_not_go_on_is_cut(request_: bytes) -> None:
    with running(timeout_s=0.3) as server:
        client = server.connect(receive_buffer=4096)
        client.sendall(request_)
        wait_until(lambda: server.clients.connected, "the connection is there")
        began = time.monotonic()
        wait_until(lambda: not server.clients.connected, "the connection is cut")
        assert time.monotonic() - began < 3
        client.close()


def test_dripping_octets_do_not_extend_the_time_for_a_request() -> None:
    with running(timeout_s=0.3) as server, server.connect() as client:
        began = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012
            client.sendall(b"GET /healthz HTTP/1.1\r\n")
            while time.monotonic() - began < DEADLINE_S:
                client.sendall(b"X")
                time.sleep(0.02)
        assert time.monotonic() - began < 3


def test_a_client_that_asks_and_never_reads_holds_no_memory() -> None:
    with running(timeout_s=1) as server:
        server.big = b"x" * 100_000
        client = server.connect(receive_buffer=4096)
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * 200_000)  # 20 GB of answers
        (writer,) = server.clients.connected.values()
        assert writer.transport.get_write_buffer_size() <= 110_000
        wait_until(lambda: not server.clients.connected, "the connection is cut")
        client.close()


def test_the_least_recently_used_connection_makes_room_for_a_new_one() -> None:
    with running() as server:
        clients = [server.connect() for _ in range(CLIENTS_MAX)]
        wait_until(lambda: len(server.clients.connected) == CLIENTS_MAX, "all are connected")
        first = clients[0].makefile("rb")
        clients[0].sendall(ASK)  # now the most recently used
        assert first.readline() == b"HTTP/1.1 200 OK\r\n"

        assert server.get("/healthz")[0].status == 200

        assert read_all(clients[1]) in (b"", b"<reset>")
        clients[0].sendall(ASK)
        assert b"HTTP/1.1 200 OK\r\n" in list(itertools.islice(first, 8))
        first.close()
        for client in clients:
            client.close()


def test_closing_cuts_open_connections_at_once() -> None:
    with running() as server:
        client = server.connect()
        wait_until(lambda: server.clients.connected, "the connection is there")
    assert read_all(client) in (b"", b"<reset>")
    client.close()


def test_nothing_is_left_behind() -> None:
    gc.collect()
    before = open_descriptors()
    for _ in range(5):
        with running() as server:
            server.get("/healthz")
    gc.collect()
    assert open_descriptors() == before
