"""Keep a few octets for a successor, in memory of memfd_create(2), which has no name in any file system.

Each call raises OSError if the system has no memory or forbids it, or if the descriptor is of something else.

A process that ends in the midst of writing leaves what was written before. The memory:

    0         4096           4096 + 1 MiB
    | which | length | ... | length | ...
    |       | 0            | 1
"""

import errno
import os
import struct
from typing import Final

_LENGTH: Final = struct.Struct("=I")
_FIRST: Final = 4096
_ROOM: Final = 1 << 20
MOST: Final = _ROOM - _LENGTH.size


def read(descriptor: int) -> bytes:
    """Return the octets that were written last, none if nothing was."""
    place = _FIRST + _which(descriptor) * _ROOM
    length = os.pread(descriptor, _LENGTH.size, place)
    if len(length) < _LENGTH.size:
        return b""
    return os.pread(descriptor, min(_LENGTH.unpack(length)[0], MOST), place + _LENGTH.size)


def write(descriptor: int, data: bytes) -> None:
    """Have `data`, `MOST` octets at most, read from now on."""
    other = 1 - _which(descriptor)
    whole = _LENGTH.pack(len(data)) + data
    if os.pwrite(descriptor, whole, _FIRST + other * _ROOM) < len(whole):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.pwrite(descriptor, bytes((other,)), 0)


def _which(descriptor: int) -> int:
    return int(os.pread(descriptor, 1, 0) == b"\1")
