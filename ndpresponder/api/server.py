"""Serve HTTP/1.1 on the daemon's own loop: the one server of the metrics socket and of the control socket.

Whatever a client sends, or does not read, ends within two deadlines, in a reply or a closed connection. Octets of a
request, of a reply that is not read, and clients are bounded. A fault in a route ends its request, not the daemon.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

import h11

from ndpresponder.api.listening import READ_AHEAD, Clients, address_of, open_listener, take_over
from ndpresponder.config.problem import Wrong, printable
from ndpresponder.observe.logs import get_logger

HEADERS_MAX: Final = 8192  # octets of request line and headers
FIELDS_MAX: Final = 8  # of a query
CLIENTS_MAX: Final = 64
TIMEOUT_S: Final = 10.0  # for a whole request, and the wait for it; again for a whole reply
LINGER_S: Final = 1.0  # for a client to read why it was refused
_READ: Final = 4096  # octets: h11 limits only the headers that come in pieces


class Refused(Exception):
    """A request that is not granted: the status, the words and headers that say why."""

    def __init__(self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Request:
    """A request, read whole."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)  # by lower-case name


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply; pieces that are no tuple are made one by one, while the client reads."""

    status: int
    pieces: Iterable[bytes]
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Reply]]
Routes = Mapping[str, Mapping[str, Handler]]  # by path and method


@dataclass(frozen=True, slots=True)
class Service:
    """What one socket serves."""

    routes: Routes
    problem: Callable[[int, str], Reply]  # writes a status and its reason
    body_max: int = 0  # octets
    keep_alive: bool = False


def json_reply(status: int, data: Mapping[str, Any]) -> Reply:
    return Reply(status, (json.dumps(data).encode() + b"\n",))


def text_reply(status: int, text: str) -> Reply:
    return Reply(status, (f"{text}\n".encode(),), "text/plain; charset=utf-8")


@contextlib.asynccontextmanager
async def serving(listen: str, service: Service, passed: Sequence[int] = ()) -> AsyncIterator[tuple[str, Clients]]:
    """Serve at `listen`: `ADDR:PORT`, `[v6]:PORT` or `unix:PATH`; or on the `passed` listening sockets instead.

    Yield where in the end, and the clients. At the end every connection is cut and a unix socket removed.

    Raises:
        SystemRefused: the system refuses the address; the message says why and what to do.
    """
    clients = Clients(CLIENTS_MAX)

    def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.admit(writer, converse(reader, writer, service, clients.served))

    with contextlib.ExitStack() as stack:
        listeners = [take_over(descriptor) for descriptor in passed] or [open_listener(listen, stack)]
        stack.callback(clients.close)
        for each in listeners:
            server = await asyncio.start_server(enter, sock=each, backlog=CLIENTS_MAX, limit=READ_AHEAD)
            stack.callback(server.close)
        yield ", ".join(map(address_of, listeners)), clients


async def converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    service: Service,
    on_reply: Callable[[], None] = lambda: None,
) -> None:
    """Answer a client's requests until nothing more is to be said; the caller then cuts the connection."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADERS_MAX)
    writer.transport.set_write_buffer_limits(high=0)  # so that `drain` means that the kernel has it
    with contextlib.suppress(OSError, h11.LocalProtocolError):
        while await _exchange(http, reader, writer, service):
            http.start_next_cycle()
            on_reply()
        writer.write_eof()
        async with asyncio.timeout(LINGER_S):  # closing while octets are unread would reset what we sent
            while await reader.read(_READ):
                pass


async def _exchange(
    http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: Service
) -> bool:
    """Read and answer one request; return whether another may follow."""
    request = None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            request = await _read(http, reader, service)
    except Refused as refused:
        reply = replace(service.problem(refused.status, str(refused)), headers=refused.headers)
    except h11.RemoteProtocolError as error:
        reply = service.problem(error.error_status_hint, f"this is not HTTP: {error}")
    else:
        if request is None:
            return False
        reply = await asyncio.shield(asyncio.ensure_future(answer(service, request)))  # goes on when the client goes
    async with asyncio.timeout(TIMEOUT_S):
        writer.write(http.send(_head(reply, service.keep_alive and request is not None)) or b"")
        for piece in reply.pieces if request is None or request.method != "HEAD" else ():
            writer.write(http.send(h11.Data(data=piece)) or b"")
            await writer.drain()
            await asyncio.sleep(0)  # solicitations come first
        writer.write(http.send(h11.EndOfMessage()) or b"")
        await writer.drain()
    return http.our_state is h11.DONE and http.their_state is h11.DONE


async def answer(service: Service, request: Request) -> Reply:
    """Return the reply to a request whose route exists; never raise."""
    try:
        return await service.routes[request.path][request.method](request)
    except Wrong as wrong:
        return service.problem(400, f"{wrong.message}; {wrong.hint}")
    except Refused as refused:
        return service.problem(refused.status, str(refused))
    except Exception:  # a fault of ours: it must not end the daemon, and we must hear of it
        get_logger().exception("a request could not be answered", path=request.path)
        return service.problem(500, "internal error; see the daemon's log")


async def _read(http: h11.Connection, reader: asyncio.StreamReader, service: Service) -> Request | None:
    """Return the request, None if the client went away."""
    request: Request | None = None
    body = bytearray()
    while True:
        event = http.next_event()
        match event:
            case h11.NEED_DATA:
                http.receive_data(await reader.read(_READ))
            case h11.Request():
                request = _request(event, service.routes)
            case h11.Data():
                body += event.data
                if len(body) > service.body_max:
                    raise Refused(413, f"the body is longer than {service.body_max} octets")
            case h11.EndOfMessage() if request is not None:
                return replace(request, body=bytes(body))
            case _:
                return None


def _request(head: h11.Request, routes: Routes) -> Request:
    """Return a request without its body; refuse one that no route takes before the body is read."""
    method = head.method.decode("ascii", "replace")
    path, _, query = head.target.decode("ascii", "replace").partition("?")
    methods = routes.get(path)
    allowed: Iterable[str] = methods or dict.fromkeys(name for each in routes.values() for name in each)
    if method not in allowed:
        raise Refused(405, f"{printable(path)} understands {', '.join(allowed)}", (("Allow", ", ".join(allowed)),))
    if methods is None:
        raise Refused(404, f"there is no {printable(path)}; there is {', '.join(routes)}")
    try:
        fields = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError as error:
        raise Refused(400, f"more than {FIELDS_MAX} fields in the query") from error
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return Request(method, path, fields, headers=headers)


def _head(reply: Reply, keep_alive: bool) -> h11.Response:
    now = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    headers = [("Date", now), ("Content-Type", reply.content_type), *reply.headers]
    if isinstance(reply.pieces, tuple):
        headers.append(("Content-Length", str(sum(map(len, reply.pieces)))))
    if not keep_alive:
        headers.append(("Connection", "close"))
    return h11.Response(status_code=reply.status, headers=headers, reason=HTTPStatus(reply.status).phrase)
