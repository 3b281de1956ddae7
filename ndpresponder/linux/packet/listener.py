"""Receive the few frames that are not solicitations, for pin, MLD and announcements. Needs CAP_NET_RAW only."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Final

from ndpresponder.errors import LinkNotReady, SourceUnavailable
from ndpresponder.linux.loop import watch
from ndpresponder.linux.packet.closing import close_in_thread
from ndpresponder.linux.packet.raw import bind, index_of, unbound_socket
from ndpresponder.wire.classic_bpf import Program
from ndpresponder.wire.filters import of_link

_MAX_FRAME: Final = 2048
_BATCH: Final = 64  # frames between two returns to the event loop


class Listener:
    """Frames of one link that one program accepts, and none of a VLAN on it; `close` it."""

    def __init__(self, name: str, program: Program) -> None:
        """Listen on the Ethernet link `name` from now on; raise `LinkNotReady` if that is not possible now."""
        try:
            index = index_of(name)
            with unbound_socket(of_link(index, program)) as self._socket:
                bind(self._socket, name, index)
        except OSError as error:
            raise LinkNotReady(f"{name}: {os.strerror(error.errno or 0)}") from error
        self.fileno = self._socket.fileno

    @property
    def bound(self) -> bool:
        """Whether the link it was opened on still exists; one with the same index may have come in its place."""
        return bool(self._socket.getsockname()[0])

    def close(self) -> None:
        """Close the socket in a moment."""
        close_in_thread(self._socket.close)

    def receive(self) -> list[bytes]:
        """Return the frames that wait, a bounded number of them; an error of the link is none."""
        frames: list[bytes] = []
        while len(frames) < _BATCH:
            try:
                frames.append(self._socket.recv(_MAX_FRAME))
            except OSError:  # nothing is left, or the link went down, which netlink says as well
                break
        return frames


class Ear:
    """Hands on each frame that one program accepts, on one link at a time."""

    def __init__(self, program: Program, take: Callable[[bytes], None]) -> None:
        self._program = program
        self._take = take
        self._listener: Listener | None = None

    def open(self, name: str) -> None:
        """Listen on the link `name`, unless the ear is open already.

        Raises:
            LinkNotReady, SourceUnavailable: the link is going, or there is no room for a socket; try again later.
        """
        if self._listener is None:
            self._listener = Listener(name, self._program)
            try:
                watch(self._listener, self._on_readable)
            except SourceUnavailable:
                self.close()
                raise

    def try_open(self, name: str) -> bool:
        """Listen as `open` does; return whether that is possible now."""
        with contextlib.suppress(LinkNotReady, SourceUnavailable):
            self.open(name)
        return self._listener is not None

    def close(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _on_readable(self) -> None:
        for frame in self._listener.receive() if self._listener else ():
            self._take(frame)
