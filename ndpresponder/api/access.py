"""Opens the control socket and decides who may come in: root, the daemon's own user, the group of the socket file.

Those who stay too long, or are too many, are shown out; who may not come in is told so and nothing else. All the rest
is imported when the first client comes: most daemons are never asked.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from ndpresponder.api.listening import refused
from ndpresponder.api.subject import Subject
from ndpresponder.linux.unix_socket import UnixSocket, open_unix_socket, peer_of
from ndpresponder.observe.logs import get_logger

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Subject, int], Awaitable[None]]

CLIENTS_MAX: Final = 16
_AGAIN_S: Final = 10.0  # until it is tried again
_LOOK_S: Final = 10.0  # between looks whether the file is still there: who clears /run, or ends, may remove it
_BUFFER: Final = 8192  # octets that are read ahead, at most twice as many
_STAY_OUT: Final = "this is for root, the user of the daemon, and the group of the socket"
_BROKEN: Final = "the daemon cannot load what answers: was another version installed since it started? Restart it"


async def serve(
    path: str, subject: Subject, on_listening: Callable[[], None], load: Callable[[], Talk] | None = None
) -> None:
    """Serve the control socket at `path` until cancelled; while it cannot be had, that is a warning, and no more.

    It is tried again, and opened anew when its file was removed or replaced: nobody would find it any more.
    """
    log, said = get_logger(), ""
    while True:
        with contextlib.ExitStack() as stack:
            try:
                opened = _open(Path(path), stack)
            except OSError as error:
                if (why := str(refused(f"--control {path}", error))) != said:
                    log.warning("nobody can ask this daemon", why=why)
                said = why
                on_listening()  # it does not, and nobody is to wait for that
                await asyncio.sleep(_AGAIN_S)
                continue
            door = _Door(opened, subject, load or _load)
            server = await asyncio.start_server(door.enter, sock=opened.listener, backlog=CLIENTS_MAX, limit=_BUFFER)
            on_listening()
            if said:
                log.info("this daemon can be asked now", control=path)
                said = ""
            try:
                while opened.group is not None:  # noqa: ASYNC110  nothing tells that a file is gone
                    await asyncio.sleep(_LOOK_S)
            finally:
                server.close()  # those who are in may finish: one of them may have asked for the reload that ends this
            log.warning("the file of the control socket was removed or replaced: it is opened anew", control=path)


def _open(path: Path, stack: contextlib.ExitStack) -> UnixSocket:
    """Open the socket, and its directory if that is all that is missing; `stack` takes both away again."""
    if not path.parent.exists():
        path.parent.mkdir()
        stack.callback(_remove_directory, path.parent)
    opened = open_unix_socket(path)
    stack.callback(opened.remove)
    return opened


def _remove_directory(path: Path) -> None:
    with contextlib.suppress(OSError):  # somebody else keeps something there
        path.rmdir()


class _Door:
    """The clients that are in, longest there first."""

    def __init__(self, opened: UnixSocket, subject: Subject, load: Callable[[], Talk]) -> None:
        self._opened = opened
        self._load = load
        self._subject = subject
        self._clients: dict[asyncio.Task[None], None] = {}
        self._loaded: Talk | None = None

    def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let a client in, or tell it to stay out."""
        connection: socket.socket = writer.get_extra_info("socket")
        peer = peer_of(connection)
        if peer.uid not in (0, os.geteuid()) and self._opened.group not in peer.groups:
            writer.write(_refusal("403 Forbidden", _STAY_OUT))
            writer.close()
            return
        while len(self._clients) >= CLIENTS_MAX:
            oldest = next(iter(self._clients))
            del self._clients[oldest]
            oldest.cancel()
        task = asyncio.create_task(self._talk(reader, writer, peer.uid))
        self._clients[task] = None

        def show_out(done: asyncio.Task[None]) -> None:  # also one who had to go before the task ever ran
            self._clients.pop(done, None)
            writer.transport.abort()

        task.add_done_callback(show_out)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, uid: int) -> None:
        try:
            if self._loaded is None:  # in a thread: it takes some 30 ms, and solicitations must not wait
                self._loaded = await asyncio.to_thread(self._load)
            await self._loaded(reader, writer, self._subject, uid)
        except Exception:
            get_logger().exception("the control socket cannot be served")
            writer.write(_refusal("503 Service Unavailable", _BROKEN))


def _load() -> Talk:
    from ndpresponder.api.control import talk

    return talk


def _refusal(status: str, why: str) -> bytes:
    body = f'{{"error": "{why}"}}\n'
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
    return f"{head}\r\n\r\n{body}".encode()
