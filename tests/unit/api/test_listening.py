"""/metrics is served on any address that can be had; for one that cannot, the message says what to do."""

import asyncio
import contextlib
import http.client
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from metrics_server import DEADLINE_S, ok, read_all, running
from open_descriptors import open_descriptors
from structlog.testing import capture_logs

from ndpresponder.api.listening import take_over
from ndpresponder.api.metrics import metrics_service
from ndpresponder.api.server import serving
from ndpresponder.errors import SystemRefused


def get_unix(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(path))
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        return read_all(client)


def test_a_unix_socket_is_for_owner_and_group_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    umask = os.umask(0o077)
    try:
        with running(f"unix:{path}") as server:
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert get_unix(path).endswith(b"ok\n")
            assert server.port == 0
    finally:
        os.umask(umask)
    assert not path.exists()


def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with running(f"unix:{path}"):
        assert get_unix(path).endswith(b"ok\n")


def test_a_socket_that_somebody_else_put_there_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as other:
        with running(f"unix:{path}"):
            path.unlink()
            other.bind(str(path))
        assert path.exists()


def refusal(listen: str) -> str:
    async def serve() -> None:
        async with serving(listen, metrics_service({})):
            pass

    with pytest.raises(SystemRefused) as caught:
        asyncio.run(serve())
    return str(caught.value)


def test_a_socket_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    with running(f"unix:{path}"):
        assert refusal(f"unix:{path}").startswith(f"--metrics unix:{path}: Address already in use: another process")
        assert get_unix(path).endswith(b"ok\n")


def test_a_file_that_is_no_socket_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    assert "this is not a socket: remove it or choose another path" in refusal(f"unix:{path}")
    assert path.read_text() == "data"


def test_a_port_in_use_is_refused_with_its_name() -> None:
    with running("[::1]:0") as server:
        assert refusal(f"[::1]:{server.port}").startswith(f"--metrics [::1]:{server.port}: Address already in use: ")


@pytest.mark.parametrize(
    ("expected", "listen"),
    [
        ("the directory does not exist", "unix:/nonexistent/metrics.sock"),
        ("choose another address", "unix:/tmp/" + "x" * 200),
        ("choose another address", "localhost:9846"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused_with_advice(expected: str, listen: str) -> None:
    message = refusal(listen)
    assert message.startswith(f"--metrics {listen}: ")
    assert expected in message


def test_a_privileged_port_is_refused_with_advice() -> None:
    code = (
        "import asyncio, os, sys; sys.path[:] = eval(sys.argv[1])\n"
        "from ndpresponder.api.metrics import metrics_service, serving\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: asyncio.run(serving('127.0.0.1:80', metrics_service({})).__aenter__())\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80:
        pytest.skip("this machine lets anybody have port 80")
    said = subprocess.check_output([sys.executable, "-c", code, repr(sys.path)], text=True)
    assert said.startswith("SystemRefused --metrics 127.0.0.1:80: Permission denied: it is not ours to use; ")


@pytest.mark.parametrize("address", ["[2001:db8::dead]", "192.0.2.1"])
def test_an_address_may_come_later_and_that_is_said(address: str) -> None:
    with capture_logs() as logs, running(f"{address}:0") as server:
        assert server.port
        (said,) = logs
        assert (said["log_level"], said["listen"]) == ("warning", f"{address}:0")
        assert "Address already in use" in refusal(f"{address}:{server.port}")


def test_every_address_means_ipv4_as_well() -> None:
    with running("[::]:0") as server:
        assert server.get("/healthz")[0].status == 200


# Sockets that the service manager passed: all are served on, and stay the manager's


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
        passed = [sock.fileno() for sock in sockets]
        async with serving("[::1]:1", metrics_service({"/healthz": ok}), passed) as (where, _):
            for sock in sockets:
                assert await asyncio.to_thread(fetch, sock.family, sock.getsockname()) == b"ok\n"
        return where

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
