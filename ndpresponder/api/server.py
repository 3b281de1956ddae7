"""A small HTTP/1.1 server for /metrics and the health endpoints, on the daemon's own loop.

Everything happens in the callbacks of one `asyncio.Protocol`: no task, no queue, nothing that a client could
make grow. Whatever a client sends, or does not read, ends in an answer or a closed connection within
`TIMEOUT_S`, never in an exception, a log line or memory held. It only reads: no request changes anything.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import h11

from ndpresponder.api.listening import open_listener
from ndpresponder.api.passed_sockets import address_of, take_over
from ndpresponder.observe.logs import get_logger

HEADERS_MAX: Final = 8192  # octets of request line and headers
CONNECTIONS_MAX: Final = 64
TIMEOUT_S: Final = 10.0  # for a whole request, for a whole response, and between requests
LINGER_S: Final = 1.0  # for a refused client to read why


@dataclass(frozen=True, slots=True)
class Response:
    """What a route answers."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Route = Callable[[Mapping[str, str]], Response]  # takes the request's headers by lower-case name


def verdict(holds: Callable[[], tuple[bool, str]]) -> Route:
    """Return a route that answers 200 if what it asks `holds`, else 503; with the words that come with that."""

    def serve(_: Mapping[str, str]) -> Response:
        is_so, words = holds()
        return Response(200 if is_so else 503, f"{words}\n".encode())

    return serve


class HttpServer:
    """Serves `routes`, a path each, on `listen`: `ADDR:PORT`, `[v6]:PORT` or `unix:PATH`.

    If the service manager has `passed` listening sockets, those are served on instead.
    """

    def __init__(
        self, listen: str, routes: Mapping[str, Route], timeout_s: float = TIMEOUT_S, passed: Sequence[int] = ()
    ) -> None:
        self.routes = routes
        self.timeout_s = timeout_s
        self.connections: dict[_Connection, None] = {}  # least recently used first
        self.listen = listen  # where it really is, after `start`
        self._passed = passed
        self._servers: list[asyncio.Server] = []
        self._closing = False
        self._remove: Callable[[], None] = lambda: None

    @property
    def port(self) -> int:
        """The TCP port in use, also when 0 was asked for; 0 on a unix socket."""
        name = self._servers[0].sockets[0].getsockname() if self._servers and self._servers[0].sockets else ""
        return name[1] if isinstance(name, tuple) else 0

    async def start(self) -> None:
        """Listen.

        Raises:
            SystemRefused: the address cannot be had; the message says why and what to do.
        """
        if self._passed:
            listeners = [take_over(descriptor) for descriptor in self._passed]
            self.listen = ", ".join(map(address_of, listeners))
        else:
            listener, self._remove = open_listener(self.listen)
            listeners = [listener]
        loop = asyncio.get_running_loop()
        for listener in listeners:
            self._servers.append(
                await loop.create_server(lambda: _Connection(self), sock=listener, backlog=CONNECTIONS_MAX)
            )

    async def close(self) -> None:
        """Stop listening, cut every connection and remove a unix socket."""
        self._closing = True  # some may be accepted, and not be here yet
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.abort()
        while self._servers:
            await self._servers.pop().wait_closed()
        self._remove()

    def admit(self, connection: "_Connection") -> None:
        """Make `connection` the most recently used one; the least recently used makes room when there are too many."""
        self.connections.pop(connection, None)
        if self._closing:
            connection.abort()
            return
        if len(self.connections) >= CONNECTIONS_MAX:
            next(iter(self.connections)).abort()
        self.connections[connection] = None

    def respond(self, request: h11.Request) -> Response:
        """Return the answer to a request without a body."""
        path = request.target.partition(b"?")[0].decode("ascii", "replace")
        route = self.routes.get(path)
        if route is None:
            return Response(404, f"not found; there is {' '.join(self.routes)}\n".encode())
        try:
            return route({name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers})
        except Exception:  # a fault of ours: the client must not end the daemon, and we must hear of it
            get_logger().exception("a request could not be answered", path=path)
            return Response(500, b"internal error; see the log\n")


class _Connection(asyncio.Protocol):
    """One client: reads a request, writes the response, and reads no more until all of it is written."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADERS_MAX)
        self._request: h11.Request | None = None
        self._writing = False  # the kernel has not taken the whole response yet
        self._finished = False  # nothing more will be read or answered
        self._eof = False  # nothing more will come

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=0)  # so that `pause_writing` means that something is left to write
        self._deadline = asyncio.get_running_loop().call_later(self._server.timeout_s, self.abort)
        self._server.admit(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._finished = True
        self._deadline.cancel()
        self._server.connections.pop(self, None)

    def abort(self) -> None:
        """Cut the connection and drop what is not sent yet."""
        self._finished = True
        self._server.connections.pop(self, None)
        self._transport.abort()

    def pause_writing(self) -> None:
        self._writing = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writing = False
        self._transport.resume_reading()
        if self._finished:
            self._hang_up()
        else:
            self._proceed()

    def data_received(self, data: bytes) -> None:
        if not self._finished:
            self._http.receive_data(data)
            self._proceed()

    def eof_received(self) -> bool:
        self._eof = True
        if not self._finished:
            self._http.receive_data(b"")
            self._proceed()
        return self._writing  # True keeps the transport open until the rest is written, or the deadline

    def _proceed(self) -> None:
        """Handle what has arrived, request by request, as far as it goes."""
        while not (self._writing or self._finished or self._transport.is_closing()):
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(Response(error.error_status_hint, b"bad request\n"))
                return
            match event:
                case h11.Request() if event.method not in (b"GET", b"HEAD"):
                    self._refuse(Response(405, b"only GET and HEAD\n", headers=(("Allow", "GET, HEAD"),)))
                case h11.Request() if _size(event) > HEADERS_MAX:  # h11 limits only what comes in pieces
                    self._refuse(Response(431, b"too many headers\n"))
                case h11.Request():
                    self._request = event
                case h11.Data():
                    self._refuse(Response(413, b"a body is not expected\n"))
                case h11.EndOfMessage():
                    assert self._request is not None
                    self._answer(self._server.respond(self._request))
                case h11.ConnectionClosed():
                    self._finish()
                case _:  # NEED_DATA, or PAUSED until the answer is sent
                    return

    def _answer(self, response: Response) -> None:
        """Send a response and get ready for the next request, if there may be one."""
        self._send(response)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._request = None
            self._rearm(self._server.timeout_s)
            self._server.admit(self)
        else:
            self._finish()

    def _refuse(self, response: Response) -> None:
        """Say why, where that is still possible, and be done with this client."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(Response(response.status, response.body, headers=(*response.headers, ("Connection", "close"))))
        self._finish()

    def _finish(self) -> None:
        """Read and answer no more."""
        self._finished = True
        if not self._writing:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close our half and let the client read the rest: closing with its octets unread would reset what we sent."""
        if self._eof:
            self._transport.close()
            return
        self._rearm(LINGER_S)
        try:
            self._transport.write_eof()
        except OSError:  # it has reset the connection
            self.abort()

    def _rearm(self, seconds: float) -> None:
        self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _send(self, response: Response) -> None:
        head = [
            ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *response.headers,
        ]
        reason = HTTPStatus(response.status).phrase
        parts = [
            self._http.send(h11.Response(status_code=response.status, headers=head, reason=reason)),
            # What answers HEAD says how long a body would be, and has none.
            self._http.send(h11.Data(data=response.body)) if self._has_body() else b"",
            self._http.send(h11.EndOfMessage()),
        ]
        self._transport.write(b"".join(part for part in parts if part))

    def _has_body(self) -> bool:
        return self._request is None or self._request.method != b"HEAD"


def _size(request: h11.Request) -> int:
    return len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
