"""Frames that are larger than a slot of the ring: the kernel puts the whole of each into the socket's queue as well.

It does both under one lock, so the queue has the order of the slots (net/packet/af_packet.c, tpacket_rcv). But the
queue may be full when a slot is filled, and a process may end after it took a frame and before it released the slot.
So a frame belongs to a slot only if it begins like it. A frame without a slot is thrown away.
"""

import socket
from typing import Final

_MAX_FRAME: Final = 65536
_LINK_ERRORS: Final = 2  # that may stand before a frame: each is reported once, and the frame is there the next time


class LongFrameQueue:
    """The queue of one packet socket, which never blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.first = b""  # taken from the queue, and not yet the frame of a slot

    def take(self, beginning: bytes, length: int) -> bytes | None:
        """Return the frame of the slot that holds this `beginning` of its `length` octets; None if it is lost."""
        frame = self.first or self._receive()
        if len(frame) == length and frame.startswith(beginning):
            self.first = b""
            return frame
        self.first = frame  # it belongs to a later slot
        return None

    def clear(self) -> None:
        """Throw away the frames that belong to no slot: while one waits, the socket is readable."""
        self.first = b""
        while self._receive():
            continue

    def _receive(self) -> bytes:
        for _ in range(1 + _LINK_ERRORS):
            try:
                return self._socket.recv(_MAX_FRAME)
            except BlockingIOError:
                break
            except OSError:  # the link went down: now that the error is taken, the frame can be
                continue
        return b""
