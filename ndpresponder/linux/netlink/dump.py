"""Dumps of what can be large, such as neighbors and routes, read in slices: the event loop has its turn between two.

Plain sockets and fixed offsets: pyroute2 builds dictionaries of all there is, which blocks the loop for some hundred
milliseconds at 10,000 entries. Hands out the kernel's messages as they are, and never decodes what nobody asks for.
"""

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import AsyncGenerator, Iterator
from typing import Final

from ndpresponder.errors import SourceUnavailable

Message = memoryview  # one netlink message, header included

# linux/netlink.h, linux/rtnetlink.h
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE: Final = struct.Struct("=HH")  # rtattr: length, type
HEADER_LENGTH: Final = _HEADER.size
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_TYPE_BITS: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_SOL_NETLINK, _NETLINK_GET_STRICT_CHK = 270, 12
_SLICE: Final = 8192  # octets that the kernel hands out at once: about 80 neighbors
_STALLED_S: Final = 5.0
_ERRNO_MAX: Final = 4095  # MAX_ERRNO, linux/err.h


class Refused(SourceUnavailable):
    """The kernel refuses to answer this question; `number` is its errno."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


async def dump(kind: int, body: bytes, *filters: bytes) -> AsyncGenerator[list[Message], None]:
    """Yield, slice by slice, the answer to a dump request of type `kind`.

    `body` is the fixed header of the family; `filters` are attributes, by which the kernel selects. What changes
    meanwhile may be missing or be there twice: listen for events before. Close it (`contextlib.aclosing`), or its
    socket stays until it is collected.

    Raises:
        Refused: there is no such interface or table.
        SourceUnavailable: the kernel cannot be asked now.
    """
    with _ask(kind, _REQUEST | _DUMP, body, filters) as asked:
        while True:
            messages: list[Message] = []
            for message_kind, message in _split(await _receive(asked)):
                if message_kind in (_DONE, _ERROR):
                    _check(message)
                    yield messages
                    return
                messages.append(message)
            yield messages
            await asyncio.sleep(0)


async def get(kind: int, body: bytes, *filters: bytes) -> Message:
    """Return the one message that answers a request of type `kind`; raises as `dump` does."""
    with _ask(kind, _REQUEST, body, filters) as asked:
        for message_kind, message in _split(await _receive(asked)):
            if message_kind == _ERROR:
                _check(message)
            return message
    raise SourceUnavailable("netlink: an empty answer")


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute for a request."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(message: memoryview | bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of the attributes that begin at `offset`, as far as they are whole."""
    end = len(message)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(message, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & _TYPE_BITS, bytes(message[offset + 4 : offset + length])
        offset += length + 3 & ~3


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Read messages within this: what is shorter than it says makes the source unavailable, as `dump` does."""
    try:
        yield
    except struct.error as error:
        raise SourceUnavailable("netlink: a message that cannot be read") from error


def kind_of(message: memoryview | bytes) -> int:
    """Return the type of a message, RTM_*."""
    kind: int = struct.unpack_from("=H", message, 4)[0]
    return kind


def _split(octets: bytes) -> Iterator[tuple[int, Message]]:
    view, offset = memoryview(octets), 0
    while offset + HEADER_LENGTH <= len(octets):
        length, kind, _, _, _ = _HEADER.unpack_from(octets, offset)
        if not HEADER_LENGTH <= length <= len(octets) - offset:
            raise SourceUnavailable("netlink: a message of an impossible length")
        yield kind, view[offset : offset + length]
        offset += length + 3 & ~3


def _check(message: Message) -> None:
    if len(message) < HEADER_LENGTH + 4:
        raise SourceUnavailable("netlink: an end that does not say how it ended")
    (number,) = struct.unpack_from("=i", message, HEADER_LENGTH)
    if number:
        raise Refused(-number if -_ERRNO_MAX <= number < 0 else errno.EPROTO)


def _ask(kind: int, flags: int, body: bytes, filters: tuple[bytes, ...]) -> socket.socket:
    request = body + b"".join(filters)
    asked = None
    try:
        asked = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        asked.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)  # or the kernel would ignore the filters
        asked.send(_HEADER.pack(HEADER_LENGTH + len(request), kind, flags, 1, 0) + request)
    except OSError as error:
        if asked is not None:
            asked.close()
        raise SourceUnavailable(f"netlink: {error.strerror}") from error
    return asked


async def _receive(asked: socket.socket) -> bytes:
    try:
        async with asyncio.timeout(_STALLED_S):
            octets = await asyncio.get_running_loop().sock_recv(asked, _SLICE)
    except TimeoutError as error:
        raise SourceUnavailable("netlink: the kernel does not answer") from error
    except OSError as error:
        raise SourceUnavailable(f"netlink: {error.strerror}") from error
    if not octets:
        raise SourceUnavailable("netlink: an empty answer")
    return octets
