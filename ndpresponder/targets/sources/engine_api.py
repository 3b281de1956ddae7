"""A client of a container engine's HTTP API on a unix socket: one answer, or an endless stream of events.

The engine is not trusted with the event loop or the memory. Whatever it sends, and however slowly, ends in an answer of
at most `BODY_MAX` octets or in `SourceUnavailable`. The caller decodes the octets.
"""

import asyncio
import contextlib
import grp
import os
from collections.abc import AsyncGenerator
from typing import Final

import h11

from ndpresponder.errors import SourceUnavailable

BODY_MAX: Final = 4 << 20  # some 14,000 containers in one network; to decode more would hold up answers for too long
_HEADERS_MAX: Final = 16 << 10
_READ: Final = 8 << 10  # octets taken at a time: a body in chunks of one octet costs 5 microseconds each
_EVENTS_PAUSE_S: Final = 0.01  # between two reads of a stream, so that a storm of events costs a bounded share
_LINE_MAX: Final = 1 << 20


class NotThere(SourceUnavailable):
    """The engine knows nothing of that name (status 404)."""


class Engine:
    """The API of the engine that listens on the socket `path`; each request has a connection of its own."""

    def __init__(self, path: str) -> None:
        self.path = path

    async def get(self, target: str) -> bytes:
        """Return the body of the answer; the caller limits the time.

        Raises:
            NotThere, SourceUnavailable: there is no such thing, or no engine, or it does not speak HTTP.
        """
        body = bytearray()
        async with contextlib.aclosing(self._ask(target)) as parts:
            async for part in parts:
                body += part
                if len(body) > BODY_MAX:
                    raise SourceUnavailable(f"{self.path}: the answer to {target} is larger than {BODY_MAX >> 20} MiB")
                await asyncio.sleep(0)  # reading what is there already does not give way by itself
        return bytes(body)

    async def events(self, target: str) -> AsyncGenerator[bytes, None]:
        """Yield an empty line once the engine has begun a stream, and then the lines of that; `aclose` it.

        A line that is too long to be kept comes as empty ones, the last of them at its end.

        Raises:
            SourceUnavailable: the engine ended the stream, or never began it.
        """
        async with contextlib.aclosing(self._ask(target)) as parts:
            rest, skipping = await anext(parts), False
            yield rest
            async for part in parts:
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    yield b"" if skipping else line
                    skipping = False
                if len(rest) > _LINE_MAX:
                    rest, skipping = b"", True
                    yield rest
                await asyncio.sleep(_EVENTS_PAUSE_S)
        raise SourceUnavailable(f"{self.path}: the engine ended its events")

    async def _ask(self, target: str) -> AsyncGenerator[bytes, None]:
        """Send a request, and yield an empty part once its answer has begun, then the parts of the body."""
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADERS_MAX)
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await asyncio.open_unix_connection(self.path, limit=_READ)
            headers = [("Host", "engine"), ("User-Agent", "ndpresponder"), ("Connection", "close")]
            request = http.send(h11.Request(method="GET", target=target, headers=headers))
            writer.write((request or b"") + (http.send(h11.EndOfMessage()) or b""))
            event = await _next(http, reader)
            while isinstance(event, h11.InformationalResponse):
                event = await _next(http, reader)
            if not isinstance(event, h11.Response):
                raise SourceUnavailable(f"{self.path}: the engine closed the connection without an answer")
            if event.status_code != 200:
                kind = NotThere if event.status_code == 404 else SourceUnavailable
                raise kind(f"{self.path}: status {event.status_code} for {target}")
            yield b""
            while isinstance(event := await _next(http, reader), h11.Data):
                yield bytes(event.data)
        except h11.ProtocolError as error:
            raise SourceUnavailable(f"{self.path}: what answers is not HTTP: {error}") from error
        except OSError as error:
            raise SourceUnavailable(f"{self.path}: {_explain(self.path, error)}") from error
        finally:
            if writer is not None:
                writer.transport.abort()


async def _next(http: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await reader.read(_READ))
        await asyncio.sleep(0)
    return event


def _explain(path: str, error: OSError) -> str:
    """Return the failure in words, with a hint."""
    if isinstance(error, FileNotFoundError):
        return "there is no such socket; is the engine installed and running?"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there; is the engine running?"
    if not isinstance(error, PermissionError):
        return error.strerror or str(error)
    group = "docker or podman"
    with contextlib.suppress(OSError, KeyError):
        group = str(os.stat(path).st_gid)
        group = grp.getgrgid(int(group)).gr_name
    drop_in = "the drop-in systemd/ndpresponder-docker.conf lets the daemon join (its members are root as good as)"
    return f"permission denied; the socket is of group {group}, which {drop_in}"
