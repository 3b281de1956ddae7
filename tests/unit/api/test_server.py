"""The server answers real clients as HTTP wants it, and refuses what is no request for it."""

import asyncio
import http.client
import socket
from collections.abc import Iterator

import pytest
from metrics_server import DEADLINE_S, Running, ok, read_all, running
from structlog.testing import capture_logs

from ndpresponder.api.metrics import metrics_service
from ndpresponder.api.server import serving


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as server:
        yield server


def test_health_is_ok_while_the_loop_runs(server: Running) -> None:
    response, body = server.get("/healthz?probe=1")

    assert (response.status, body) == (200, b"ok\n")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Length"] == "3"
    assert response.headers["Date"].endswith(" GMT")


def test_readiness_says_why_not(server: Running) -> None:
    response, body = server.get("/readyz")
    assert (response.status, body) == (503, b"waiting for uplink\n")

    server.ready = (200, "answering on uplink")
    response, body = server.get("/readyz")
    assert (response.status, body) == (200, b"answering on uplink\n")


def test_an_unknown_path_is_404_and_names_the_known_ones(server: Running) -> None:
    response, body = server.get("/metric")

    assert response.status == 404
    assert b"/healthz" in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_only_get_and_head_are_allowed(server: Running, method: str) -> None:
    response, _ = server.get("/healthz", method)

    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD"


def test_head_has_the_headers_of_get_and_no_body(server: Running) -> None:
    response, body = server.get("/healthz", "HEAD")

    assert (response.status, body) == (200, b"")
    assert response.headers["Content-Length"] == "3"


def test_a_route_sees_the_headers(server: Running) -> None:
    assert server.get("/agent", User_Agent="x/1")[1] == b"x/1\n"


def test_a_connection_serves_request_after_request(server: Running) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S)
    client.connect()
    first = client.sock.getsockname()
    for method in ("GET", "HEAD", "GET"):
        client.request(method, "/healthz")
        assert client.getresponse().read() == (b"" if method == "HEAD" else b"ok\n")
    assert client.sock.getsockname() == first
    client.close()


def test_pipelined_requests_are_answered_in_order(server: Running) -> None:
    with server.connect() as client:
        client.sendall(
            b"GET /agent HTTP/1.1\r\nHost: x\r\nUser-Agent: one\r\n\r\n"
            b"GET /agent HTTP/1.1\r\nHost: x\r\nUser-Agent: two\r\nConnection: close\r\n\r\n"
        )
        text = read_all(client)

    assert text.count(b"HTTP/1.1 200 OK") == 2
    assert text.index(b"\r\n\r\none\n") < text.index(b"\r\n\r\ntwo\n")


def test_http_1_0_is_answered_and_closed(server: Running) -> None:
    with server.connect() as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert read_all(client).endswith(b"\r\n\r\nok\n")


def test_a_client_that_closes_its_half_still_gets_a_large_answer(server: Running) -> None:
    with server.connect() as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        assert len(read_all(client)) > 20_000_000


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100 + b"\r\n\r\n"),  # TLS
        (400, b"GET /healthz HTTP/1.1\r\n\r\n"),  # no Host
        (400, b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n"),
        (413, b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"),
        (413, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        (405, b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n"),
        (405, b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n"),
        (431, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
        (431, b"GET /" + b"x" * 1_000_000),
    ],
)
def test_what_is_no_request_for_us_is_refused_and_the_connection_closed(
    server: Running, status: int, request_: bytes
) -> None:
    with server.connect() as client:
        client.sendall(request_)
        assert read_all(client).startswith(b"HTTP/1.1 %d " % status)


def test_a_garbled_request_after_head_is_refused_with_a_body(server: Running) -> None:
    with server.connect() as client:
        client.sendall(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n\0\0\0\r\n\r\n")
        head, _, body = read_all(client).removeprefix(b"HTTP/1.1 200 OK").partition(b"HTTP/1.1 400 ")
        assert b"\r\nContent-Length: 3\r\n" in head
        assert body.partition(b"\r\n\r\n")[2].startswith(b"this is not HTTP: ")


def test_an_upgrade_is_declined(server: Running) -> None:
    with server.connect() as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_all(client).count(b"200 OK") == 2


def test_our_own_fault_is_500_logged_and_survived(server: Running) -> None:
    with capture_logs() as logs:
        assert server.get("/broken")[0].status == 500
    assert [(event["log_level"], event["path"]) for event in logs] == [("error", "/broken")]
    assert server.get("/healthz")[0].status == 200


@pytest.mark.parametrize("turns", [0, 1, 3])  # after two asyncio itself fails, and leaves the socket to the collector
def test_who_is_just_being_accepted_does_not_hold_up_the_end(turns: int) -> None:
    async def run() -> list[socket.socket]:
        async with serving("127.0.0.1:0", metrics_service({"/healthz": ok})) as (where, connected):
            address = "127.0.0.1", int(where.rpartition(":")[2])
            clients = [socket.create_connection(address, DEADLINE_S) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE_S / 2):
            while connected.connected or asyncio.all_tasks() - {asyncio.current_task()}:  # those that accept
                await asyncio.sleep(0)
        return clients

    for client in asyncio.run(run()):
        with client:
            assert read_all(client) in (b"", b"<reset>")
