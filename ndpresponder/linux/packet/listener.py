"""Receive the few frames that are not solicitations, for pin, MLD and announcements. Needs CAP_NET_RAW only."""

import asyncio
import os
from typing import Final

from ndpresponder.errors import LinkNotReady
from ndpresponder.linux.packet.raw import bind, index_of, raw_socket
from ndpresponder.wire.classic_bpf import Instruction
from ndpresponder.wire.filters import of_link

_MAX_FRAME: Final = 2048
_BATCH: Final = 64  # frames between two returns to the event loop


class Listener:
    """Frames of one link that one program accepts, and none of a VLAN on it; `close` it."""

    def __init__(self, name: str, program: tuple[Instruction, ...]) -> None:
        """Listen on the Ethernet link `name` from now on.

        Raises:
            LinkNotReady: there is no such link now, or the socket was refused.
        """
        try:
            index = index_of(name)
            with raw_socket(of_link(index, program)) as self._socket:
                bind(self._socket, name, index)
        except OSError as error:
            raise LinkNotReady(f"{name}: {os.strerror(error.errno or 0)}") from error

    @property
    def bound(self) -> bool:
        """Whether the link it was opened on still exists; one with the same index may have come in its place."""
        return bool(self._socket.getsockname()[0])

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket in a thread, if a loop runs: that waits for an RCU grace period, some 10 ms."""
        try:
            asyncio.get_running_loop().run_in_executor(None, self._socket.close)
        except RuntimeError:  # no loop runs, or the system has no thread left
            self._socket.close()

    def receive(self) -> list[bytes]:
        """Return the frames that wait, a bounded number of them; an error of the link is none."""
        frames: list[bytes] = []
        while len(frames) < _BATCH:
            try:
                frames.append(self._socket.recv(_MAX_FRAME))
            except OSError:  # nothing is left, or the link went down, which netlink says as well
                break
        return frames
