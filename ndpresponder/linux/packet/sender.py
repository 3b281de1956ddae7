"""Send advertisements in batches: one copy and one system call for many (sendmmsg(2)), never waiting.

The sender has a socket of its own. Each frame that leaves a socket wakes the loop if it waits for that socket, only to
find that it is not readable: a tenth of what an answer costs.
"""

import contextlib
import ctypes
import errno
import socket
import struct
from typing import Final

from ndpresponder.linux.packet.raw import unbound_socket
from ndpresponder.wire.layout import ADVERTISEMENT_LENGTH

BATCH: Final = 64  # advertisements in one system call
_SEND_BUFFER: Final = 1 << 20  # the kernel lowers it to net.core.wmem_max
_IOVEC: Final = struct.Struct("@PN")  # address, length
# struct mmsghdr (recvmmsg(2)): name, its length, iovec, how many, control, its length, flags; what was sent
_MMSGHDR: Final = struct.Struct("@PIPNPNi0PI0P")


class Sender:
    """Sends on one link. Make it with `open_sender`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._socket = sock
        self.close = sock.close
        self._arena = bytearray(BATCH * ADVERTISEMENT_LENGTH)
        self._messages = _prepare_messages(self._arena)
        self._sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg

    def send(self, advertisements: list[bytes]) -> list[tuple[int, int]]:
        """Send at most `BATCH` advertisements; return position and errno of each one that the kernel refused."""
        count = len(advertisements)
        if count == 1:  # cheaper than by way of the arena
            error = self.send_one(advertisements[0])
            return [(0, error)] if error else []
        data = b"".join(advertisements)
        self._arena[: len(data)] = data
        refused: list[tuple[int, int]] = []
        done = 0
        while done < count:
            first = ctypes.byref(self._messages, done * _MMSGHDR.size)
            sent = self._sendmmsg(self._socket.fileno(), first, count - done, 0)
            if sent > 0:
                done += sent
            # sendmmsg(2) reports the error of the first message it could not send
            elif (error := ctypes.get_errno()) != errno.EINTR:
                refused.append((done, error))
                done += 1
        return refused

    def send_one(self, frame: bytes) -> int:
        """Send one frame of any length; return the errno if the kernel refused, else 0."""
        try:
            self._socket.send(frame)
        except OSError as error:
            return error.errno or errno.EIO
        return 0


def open_sender(index: int, otherwise: socket.socket) -> Sender:
    """Return a sender on the link with `index`: by `otherwise`, bound to it, if the system refuses another socket."""
    with contextlib.suppress(OSError), unbound_socket() as sock:  # too few descriptors, or the link has gone
        sock.bind((socket.if_indextoname(index), 0))  # to no protocol, so that it receives nothing
        return Sender(sock)
    return Sender(otherwise)


def _prepare_messages(arena: bytearray) -> "ctypes.Array[ctypes.c_char]":
    """Return one message header for each advertisement's place in `arena`, and behind them what they point at."""
    messages = ctypes.create_string_buffer(BATCH * (_MMSGHDR.size + _IOVEC.size))
    base = ctypes.addressof(ctypes.c_char.from_buffer(arena))
    for position in range(BATCH):
        iovec = BATCH * _MMSGHDR.size + position * _IOVEC.size
        _IOVEC.pack_into(messages, iovec, base + position * ADVERTISEMENT_LENGTH, ADVERTISEMENT_LENGTH)
        header = (0, 0, ctypes.addressof(messages) + iovec, 1, 0, 0, 0, 0)
        _MMSGHDR.pack_into(messages, position * _MMSGHDR.size, *header)
    return messages
