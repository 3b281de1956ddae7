"""Sends advertisements in batches: one copy and one system call for many (sendmmsg(2)), never waiting.

By a socket of its own. Each frame that leaves a socket wakes whoever waits for that socket, if only to find that it is
not readable: with the one that is read, a tenth of what an answer costs.
"""

import ctypes
import errno
import socket
from typing import Final

from ndpresponder.wire.layout import ADVERTISEMENT_LENGTH

BATCH: Final = 64  # advertisements in one system call
_SEND_BUFFER: Final = 1 << 20  # the kernel lowers it to net.core.wmem_max


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_IoVec)),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _MessageHeader(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _MsgHdr), ("sent", ctypes.c_uint))


class Sender:
    """Sends on one link. Make it with `open_sender`."""

    __slots__ = ("_arena", "_messages", "_sendmmsg", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        """Send through `sock`, a bound packet socket."""
        self._socket = sock
        self._arena = bytearray(BATCH * ADVERTISEMENT_LENGTH)
        self._messages = _prepare_messages(self._arena)
        self._sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg

    def close(self) -> None:
        """Close the socket; closing twice is harmless."""
        self._socket.close()

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
            first = ctypes.byref(self._messages, done * ctypes.sizeof(_MessageHeader))
            sent = self._sendmmsg(self._socket.fileno(), first, count - done, 0)
            if sent > 0:
                done += sent
            else:
                # sendmmsg(2) reports the error of the first message it could not send
                error = ctypes.get_errno()
                if error == errno.EINTR:
                    continue
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
    """Return what sends on the link with `index`: through `otherwise`, bound to it, if no other socket can be had."""
    sock = _bound(index) or otherwise
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    except OSError:
        if sock is not otherwise:  # that one its owner closes
            sock.close()
        raise
    return Sender(sock)


def _bound(index: int) -> socket.socket | None:
    """Return a packet socket that is bound to a link and, being bound to no protocol, receives nothing."""
    try:
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    except OSError:
        return None
    try:
        sender.bind((socket.if_indextoname(index), 0))
    except OSError:  # the link has gone
        sender.close()
        return None
    return sender


def _prepare_messages(arena: bytearray) -> "ctypes.Array[_MessageHeader]":
    """Point one message header at each advertisement's place in `arena`."""
    base = ctypes.addressof(ctypes.c_char.from_buffer(arena))
    messages = (_MessageHeader * BATCH)()
    for i, message in enumerate(messages):
        message.header.iov = ctypes.pointer(_IoVec(base + i * ADVERTISEMENT_LENGTH, ADVERTISEMENT_LENGTH))
        message.header.iov_length = 1
    return messages
