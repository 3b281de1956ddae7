"""One client's request and its reply, as HTTP/1.1: whatever it sends, or does not read, ends within two deadlines.

A reply may be long: it is made piece by piece while the client reads, and solicitations are answered in between.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

import h11

HEADERS_MAX: Final = 8192  # octets of request line and headers
BODY_MAX: Final = 4096
FIELDS_MAX: Final = 8  # of a query
TIMEOUT_S: Final = 10.0  # for the request, and again for the reply
_READ: Final = 4096


class Refused(Exception):
    """A request cannot be granted: the status and what to say."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What it gets: JSON, or lines of it."""

    status: int
    pieces: Iterable[bytes]
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = field(default=())


def reply(status: int, data: Mapping[str, Any]) -> Reply:
    """Return a reply of one JSON object."""
    return Reply(status, (json.dumps(data).encode() + b"\n",))


async def converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    answer: Callable[[Request], Awaitable[Reply]],
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Read one request, answer it and close; `answer` must not raise, and goes on when the client does not wait."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADERS_MAX)
    writer.transport.set_write_buffer_limits(high=0)  # so that `drain` means that the client has it
    with contextlib.ExitStack() as stack:
        stack.callback(writer.transport.abort)
        stack.enter_context(contextlib.suppress(OSError, TimeoutError, h11.LocalProtocolError))
        try:
            async with asyncio.timeout(timeout_s):
                request = await _read(http, reader)
        except Refused as refused:
            answered = reply(refused.status, {"error": str(refused)})
        except h11.RemoteProtocolError as error:
            answered = reply(error.error_status_hint, {"error": f"this is not HTTP: {error}"})
        else:
            if request is None:
                return
            answered = await asyncio.shield(asyncio.ensure_future(answer(request)))
        async with asyncio.timeout(timeout_s):
            await _write(http, writer, answered)


async def _read(http: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    """Return the request, None if the client went away."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = http.next_event()
        match event:
            case h11.NEED_DATA:
                http.receive_data(await reader.read(_READ))
            case h11.Request():
                head = event
            case h11.Data():
                body += event.data
                if len(body) > BODY_MAX:
                    raise Refused(413, f"the body is longer than {BODY_MAX} octets")
            case h11.EndOfMessage() if head is not None:
                return _request(head, bytes(body))
            case _:
                return None


def _request(head: h11.Request, body: bytes) -> Request:
    path, _, query = head.target.decode("ascii", "replace").partition("?")
    try:
        fields = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError as error:
        raise Refused(400, f"more than {FIELDS_MAX} fields in the query") from error
    return Request(head.method.decode("ascii", "replace"), path, fields, body)


async def _write(http: h11.Connection, writer: asyncio.StreamWriter, answered: Reply) -> None:
    headers = [("Content-Type", answered.content_type), ("Connection", "close"), *answered.headers]
    if isinstance(answered.pieces, tuple):
        headers.append(("Content-Length", str(sum(map(len, answered.pieces)))))
    reason = HTTPStatus(answered.status).phrase
    writer.write(http.send(h11.Response(status_code=answered.status, headers=headers, reason=reason)) or b"")
    for piece in answered.pieces:
        writer.write(http.send(h11.Data(data=piece)) or b"")
        await writer.drain()
        await asyncio.sleep(0)  # solicitations come first
    writer.write(http.send(h11.EndOfMessage()) or b"")
    await writer.drain()
