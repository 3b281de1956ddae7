"""Serve the control socket: open it, and admit root, the daemon's own user and the group of the socket file.

Another client is refused with a reason and nothing else. The rest of the API is imported when the first client comes:
most daemons are never asked.
"""

import asyncio
import contextlib
import os
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final

from ndpresponder.api.listening import READ_AHEAD, Clients, refused
from ndpresponder.api.snapshot import DaemonHandle
from ndpresponder.linux.loop import beat
from ndpresponder.linux.unix_socket import UnixSocket, open_unix_socket, peer_of
from ndpresponder.observe.logs import get_logger

CLIENTS_MAX: Final = 16
_AGAIN_S: Final = 10.0  # between attempts to open the socket
_LOOK_S: Final = 10.0  # between looks whether the file is still there: a program that clears /run may remove it
_STAY_OUT: Final = "this is for root, the user of the daemon, and the group of the socket"
_BROKEN: Final = "the daemon cannot load what answers: was another version installed since it started? Restart it"


async def serve(path: str, daemon: DaemonHandle, on_listening: Callable[[], None]) -> None:
    """Serve the control socket at `path` until cancelled; while it cannot be opened, that is a warning, and no more.

    It is tried again, and opened anew when its file was removed or replaced: no client would find it any more.
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
                on_listening()  # it does not, and the start must not wait for that
                await asyncio.sleep(_AGAIN_S)
                continue
            enter = partial(_enter, opened, daemon, Clients(CLIENTS_MAX))
            server = await asyncio.start_server(enter, sock=opened.listener, backlog=CLIENTS_MAX, limit=READ_AHEAD)
            on_listening()
            if said:
                log.info("this daemon can be asked now", control=path)
                said = ""
            try:
                while opened.group is not None:
                    await beat(_LOOK_S)
            finally:
                server.close()  # its clients may finish: one of them may have asked for the reload that ends this
            log.warning("the file of the control socket was removed or replaced: it is opened anew", control=path)


def _open(path: Path, stack: contextlib.ExitStack) -> UnixSocket:
    """Open the socket, and its directory if only that is missing; `stack` removes both again."""
    if not path.parent.exists():
        path.parent.mkdir()
        stack.callback(_remove_directory, path.parent)
    opened = open_unix_socket(path)
    stack.callback(opened.remove)
    return opened


def _remove_directory(path: Path) -> None:
    with contextlib.suppress(OSError):  # somebody else keeps something there
        path.rmdir()


def _enter(
    opened: UnixSocket, daemon: DaemonHandle, clients: Clients, reader: StreamReader, writer: StreamWriter
) -> None:
    peer = peer_of(writer.get_extra_info("socket"))
    if peer.uid in (0, os.geteuid()) or opened.group in peer.groups:
        clients.admit(writer, _talk(reader, writer, daemon, peer.uid))
    else:
        writer.write(_refusal("403 Forbidden", _STAY_OUT))
        writer.close()


async def _talk(reader: StreamReader, writer: StreamWriter, daemon: DaemonHandle, uid: int) -> None:
    try:
        # It takes some 30 ms at first, and solicitations must not wait
        control = await asyncio.to_thread(import_module, "ndpresponder.api.control")
        await control.talk(reader, writer, daemon, uid)
    except Exception:
        get_logger().exception("the control socket cannot be served")
        writer.write(_refusal("503 Service Unavailable", _BROKEN))


def _refusal(status: str, why: str) -> bytes:
    body = f'{{"error": "{why}"}}\n'
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
    return f"{head}\r\n\r\n{body}".encode()
