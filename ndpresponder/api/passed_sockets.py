"""Takes over the listening sockets that the service manager passed, so that serving needs no right to open any.

Each is used as a duplicate: whoever closes it takes nothing away from the manager or from a successor.
"""

import os
import socket

from ndpresponder.errors import SystemRefused, is_shortage


def take_over(descriptor: int) -> socket.socket:
    """Return a duplicate of the listening socket that was passed as `descriptor`.

    Raises:
        SystemRefused: it is none; the message says what to look at.
        OSError: there is too little of something now.
    """
    try:
        listener = _duplicate(descriptor)
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


def _duplicate(descriptor: int) -> socket.socket:
    duplicate = os.dup(descriptor)
    try:
        return socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        raise


def address_of(listener: socket.socket) -> str:
    """Return where `listener` listens, written as in the configuration."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host, port, *_ = name
    return f"[{host}]:{port}" if listener.family == socket.AF_INET6 else f"{host}:{port}"
