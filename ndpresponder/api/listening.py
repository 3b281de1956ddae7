"""Opens the socket that /metrics is served on, and says in words why the system will not have it.

It must never take an address away from somebody who listens there.
"""

import errno
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ndpresponder.errors import SystemRefused
from ndpresponder.linux.unix_socket import open_unix_socket
from ndpresponder.observe.logs import get_logger

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


def open_listener(listen: str) -> tuple[socket.socket, Callable[[], None]]:
    """Return a listening socket for `ADDR:PORT`, `[v6]:PORT` or `unix:PATH`, and what to call when it is closed.

    Raises:
        SystemRefused: the system will not have it; the message says why and what to do.
    """
    try:
        if listen.startswith("unix:"):
            opened = open_unix_socket(Path(listen.removeprefix("unix:")))
            return opened.listener, opened.remove
        return _open_tcp(listen), lambda: None
    except OSError as error:
        raise refused(f"--metrics {listen}", error) from error


def refused(setting: str, error: OSError) -> SystemRefused:
    """Return the error that says what the system will not have, why, and what to do."""
    advice = _ADVICE.get(error.errno or 0, "choose another address")
    return SystemRefused(f"{setting}: {error.strerror or error}: {advice}")


def _open_tcp(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV  # a name service must not hold up the loop
    node = host.strip("[]").encode()  # bytes: for a str Python loads its tables of international names
    infos = socket.getaddrinfo(node, port, type=socket.SOCK_STREAM, flags=numeric)
    family, kind, proto, _, address = infos[0]
    listener = socket.socket(family, kind, proto)
    try:
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
    except OSError:
        listener.close()
        raise
    return listener
