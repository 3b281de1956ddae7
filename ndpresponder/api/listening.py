"""Open the sockets that are served on, or take over passed ones, and keep the number of clients bounded.

It must never take an address away from another process that listens there. A passed socket is used as a duplicate:
closing it takes nothing away from the manager or from a successor.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

from ndpresponder.errors import SystemRefused, is_shortage
from ndpresponder.linux.unix_socket import open_unix_socket
from ndpresponder.observe.logs import get_logger

READ_AHEAD: Final = 8192  # octets of a client, at most twice as many

# linux/in.h, linux/in6.h: at boot an address may come, or be found unique, after us
_FREEBIND: Final[Mapping[int, tuple[int, int]]] = {
    socket.AF_INET: (socket.IPPROTO_IP, 15),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 78),
}
_NOT_OURS: Final = "it is not ours to use; choose a port from 1024 up, or a directory this user may write to"
_ADVICE: Final[Mapping[int, str]] = {
    errno.EADDRINUSE: "another process listens there; stop that one (`ss -lxtp` shows it) or choose another address",
    errno.EACCES: _NOT_OURS,
    errno.EPERM: _NOT_OURS,
    errno.EROFS: _NOT_OURS,
    errno.EAFNOSUPPORT: "this kind of socket is forbidden (RestrictAddressFamilies= in the unit): let "
    "ndpresponder-metrics.socket pass one, install ndpresponder-metrics-port.conf, or write unix:PATH",
    errno.ENOTSOCK: "remove it or choose another path",
    errno.ENOENT: "the directory does not exist; create it (RuntimeDirectory= in the unit)",
}


class Clients:
    """The connected clients, the least recently served first; each is served by a task of its own."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._closed = False
        self.connected: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def admit(self, writer: asyncio.StreamWriter, talk: Coroutine[Any, Any, None]) -> None:
        """Run `talk` and cut the connection at its end; the least recently served client makes room."""
        if self._closed:  # the kernel had accepted the connection before
            talk.close()
            writer.transport.abort()
            return
        while len(self.connected) >= self._most:
            self._cut(next(iter(self.connected)))
        task = asyncio.create_task(talk)
        self.connected[task] = writer

        def end(done: asyncio.Task[None]) -> None:  # not in `talk`: a client may be cut before its task has run
            self.connected.pop(done, None)
            writer.transport.abort()

        task.add_done_callback(end)

    def served(self) -> None:
        """Make the client of the running task the most recently served one."""
        task = asyncio.current_task()
        if task in self.connected:
            self.connected[task] = self.connected.pop(task)

    def close(self) -> None:
        """Cut all clients, also those to come."""
        self._closed = True
        for task in list(self.connected):
            self._cut(task)

    def _cut(self, task: asyncio.Task[None]) -> None:
        del self.connected[task]
        task.cancel()


def open_listener(listen: str, stack: contextlib.ExitStack) -> socket.socket:
    """Return a listening socket for `ADDR:PORT`, `[v6]:PORT` or `unix:PATH`, whose file `stack` removes.

    Raises:
        SystemRefused: the system refuses it; the message says why and what to do.
    """
    try:
        if listen.startswith("unix:"):
            opened = open_unix_socket(Path(listen.removeprefix("unix:")))
            stack.callback(opened.remove)
            return opened.listener
        return _open_tcp(listen)
    except OSError as error:
        raise refused(f"--metrics {listen}", error) from error


def refused(setting: str, error: OSError) -> SystemRefused:
    """Return the error that says which setting the system refuses, why, and what to do."""
    advice = _ADVICE.get(error.errno or 0, "choose another address")
    return SystemRefused(f"{setting}: {error.strerror or error}: {advice}")


def _open_tcp(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV  # a name service must not hold up the loop
    node = host.strip("[]").encode()  # bytes: for a str Python loads its tables of international names
    infos = socket.getaddrinfo(node, port, type=socket.SOCK_STREAM, flags=numeric)
    family, kind, proto, _, address = infos[0]
    with contextlib.ExitStack() as on_failure:
        listener = on_failure.enter_context(socket.socket(family, kind, proto))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # [::] means IPv4 as well
        try:
            listener.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            listener.setsockopt(*_FREEBIND[family], 1)
            listener.bind(address)
            get_logger().warning("no interface has this address now: nobody can scrape until one has", listen=listen)
        listener.listen()
        on_failure.pop_all()
    return listener


def take_over(descriptor: int) -> socket.socket:
    """Return a duplicate of the listening socket that was passed as `descriptor`.

    Raises:
        SystemRefused: it is none; the message says what to look at.
        OSError: memory or descriptors are short now.
    """
    try:
        with contextlib.ExitStack() as stack:
            passed = socket.socket(fileno=descriptor)
            stack.callback(passed.detach)  # it stays open for the manager
            listener = passed.dup()
        if listener.type == socket.SOCK_STREAM and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return listener
        listener.close()
        why = "it does not listen for connections"
    except OSError as error:
        if is_shortage(error):
            raise
        why = error.strerror or str(error)
    raise SystemRefused(
        f"the descriptor {descriptor} that was passed for metrics is of no use: {why}; "
        "the socket unit needs ListenStream= and Accept=no"
    )


def address_of(listener: socket.socket) -> str:
    """Return where `listener` listens, written as in the configuration."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host, port, *_ = name
    return f"[{host}]:{port}" if listener.family == socket.AF_INET6 else f"{host}:{port}"
