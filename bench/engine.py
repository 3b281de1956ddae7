"""A container engine that is idle: one network with one container, on a unix socket, with the part of Docker's API
that a daemon asks for. Its events never come.
"""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

_ID: Final = "be" * 32


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        network = {"Name": "bench", "Id": _ID, "EnableIPv6": True, "Driver": "bridge", "Internal": False}
        network["Options"] = {"com.docker.network.bridge.name": self.server.bridge}  # type: ignore[attr-defined]
        container = {"Name": "c0", "IPv6Address": f"{self.server.container}/64"}  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        answers: dict[str, Any] = {
            "/version": {"Version": "27.5.1", "Components": [{"Name": "Engine"}]},
            "/networks": [network],
            f"/networks/{_ID}": network | {"Containers": {"c0" * 32: container}},
        }
        self.send_response(200)
        if path == "/events":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.rfile.read()  # until the daemon ends
            return
        body = json.dumps(answers[path]).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "a daemon"  # the base class wants an address of IP

    def log_message(self, *_: object) -> None:
        """Say nothing of a request."""


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    bridge: str
    container: str


@contextmanager
def idle_engine(path: str, bridge: str, container: str) -> Iterator[None]:
    """Serve the engine's API at a path meanwhile; its only container has this address behind this bridge."""
    with _Server(path, _Handler) as server:
        server.bridge, server.container = bridge, container
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
