"""A client of the control socket that knows nothing but HTTP, in our own name or in that of another user."""

import http.client
import json
import os
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Any

DEADLINE_S = 10


def connected(path: Path, deadline_s: float = DEADLINE_S) -> socket.socket:
    """Return a connection to a control socket."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(deadline_s)
    try:
        client.connect(str(path))
    except BaseException:
        client.close()
        raise
    return client


def is_open(path: Path) -> bool:
    """Tell whether somebody listens there: a moment after the file has appeared."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def say(client: socket.socket, method: str, target: str, body: bytes = b"") -> None:
    """Send a request."""
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)


def heard(client: socket.socket) -> tuple[int, str]:
    """Return the status and the body of the response."""
    response = http.client.HTTPResponse(client)
    response.begin()
    with response:
        return response.status, response.read().decode()


def ask(path: Path, method: str, target: str, **said: Any) -> tuple[int, Any]:
    """Return the status and the JSON that a request ends in."""
    with connected(path) as client:
        say(client, method, target, json.dumps(said).encode() if said else b"")
        status, text = heard(client)
        return status, json.loads(text)


def ask_as(path: Path, uid: int, gid: int, groups: Collection[int] = (), target: str = "/status") -> str:
    """Return the status, or the error, that another user gets."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        word = "?"
        try:
            os.setgroups([*groups])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            with connected(path) as client:
                try:
                    say(client, "GET", target)
                except BrokenPipeError:  # it has answered already
                    word = "hung up"
                word = str(heard(client)[0])
        except OSError as error:
            word = type(error).__name__
        finally:
            os.write(writing, word.encode())
            os._exit(0)
    os.close(writing)
    try:
        return os.read(reading, 100).decode()
    finally:
        os.close(reading)
        os.waitpid(child, 0)
