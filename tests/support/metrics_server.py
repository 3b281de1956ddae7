"""A metrics server on a loop of its own, for tests that talk to it as a client."""

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from ndpresponder.api import server as api_server
from ndpresponder.api.metrics import metrics_service
from ndpresponder.api.server import Reply, Request, serving, text_reply

DEADLINE_S = 10
ASK = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def broken(_: Request) -> Reply:
    raise RuntimeError("a bug of ours")


async def agent(request: Request) -> Reply:
    return text_reply(200, request.headers.get("user-agent", "?"))


async def ok(_: Request) -> Reply:
    return text_reply(200, "ok")


class Running:
    """A server on a loop of its own in a thread, with everything the loop complained about."""

    def __init__(self, listen: str) -> None:
        self.ready = (503, "waiting for uplink")
        self.big = b"x" * 20_000_000
        self.complaints: list[dict[str, object]] = []
        self._started = threading.Event()
        routes = {
            "/healthz": ok,
            "/readyz": self._get_ready,
            "/big": self._get_big,
            "/agent": agent,
            "/broken": broken,
        }
        self._serving = serving(listen, metrics_service(routes))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _get_ready(self, _: Request) -> Reply:
        return text_reply(*self.ready)

    async def _get_big(self, _: Request) -> Reply:
        return Reply(200, (self.big,), "text/plain")

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self._stop = asyncio.Event()
        async with self._serving as (self.where, self.clients):
            self._started.set()
            await self._stop.wait()

    def __enter__(self) -> "Running":
        self._thread.start()
        assert self._started.wait(DEADLINE_S)
        self.port = int(self.where.rpartition(":")[2]) if not self.where.startswith("unix:") else 0
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        assert self.complaints == []
        assert not self.clients.connected

    def connect(self, receive_buffer: int = 0) -> socket.socket:
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(DEADLINE_S)
        client.connect(("127.0.0.1", self.port))
        return client

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        client.request(method, path, headers={name.replace("_", "-"): v for name, v in headers.items()})
        response = client.getresponse()
        body = response.read()
        client.close()
        return response, body


@contextmanager
def running(listen: str = "127.0.0.1:0", timeout_s: float = api_server.TIMEOUT_S) -> Iterator[Running]:
    with patch.object(api_server, "TIMEOUT_S", timeout_s), Running(listen) as server:
        yield server


def read_all(client: socket.socket) -> bytes:
    """Read to the end; a reset is an end as well."""
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        parts.append(b"<reset>")
    return b"".join(parts)


def wait_until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)
