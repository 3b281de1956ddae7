"""An asynchronous generator that its reader leaves early is closed there and then, with the socket that it holds.

Otherwise the event loop closes it at some later time, in a task of its own that nobody waits for.
"""

import ast
import asyncio
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

import ndpresponder
from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink import asking
from ndpresponder.linux.netlink.downstream import ask_downstream

PACKAGE = Path(ndpresponder.__file__).parent
LINK = struct.pack("=BxHiII", 0, 1, 7, 1, 0)
CUT = struct.pack("=B", socket.AF_INET6)  # shorter than the header of any address


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body + bytes(-len(body) % 4)


def test_a_dump_whose_message_cannot_be_read_leaves_neither_socket_nor_task(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [message(16, LINK), message(20, CUT)]
    asked: list[socket.socket] = []

    def ask(*_: object) -> socket.socket:
        ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        with kernels:
            kernels.send(answers.pop(0))
        asked.append(ours)
        return ours

    async def fail() -> None:
        with pytest.raises(SourceUnavailable, match="cannot be read"):
            await ask_downstream("br0", ())
        assert [sock.fileno() for sock in asked] == [-1, -1]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    monkeypatch.setattr(asking, "_ask", ask)
    asyncio.run(fail())


def read_where_it_is_made(path: Path) -> Iterator[str]:
    """Yield the places where a generator is read that no name is left of to close it by."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.AsyncFor) and isinstance(node.iter, ast.Call):
            yield f"{path.relative_to(PACKAGE)}:{node.lineno}"
        if isinstance(node, ast.comprehension) and node.is_async and isinstance(node.iter, ast.Call):
            yield f"{path.relative_to(PACKAGE)}:{node.iter.lineno}"


def test_no_generator_is_read_without_a_name_to_close_it_by() -> None:
    assert [place for path in sorted(PACKAGE.rglob("*.py")) for place in read_where_it_is_made(path)] == []
