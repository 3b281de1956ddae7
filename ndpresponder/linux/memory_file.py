"""A few octets for a successor, in memory that has no name in any file system.

Whoever ends in the midst of writing leaves what was written before. The memory:

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


class MemoryFile:
    """What the memory of `descriptor` holds; it stays the caller's."""

    def __init__(self, descriptor: int) -> None:
        """Begin with memory that is empty, or was written by a predecessor."""
        self._descriptor = descriptor

    def read(self) -> bytes:
        """Return what was written last, nothing if nothing was.

        Raises:
            OSError: the descriptor is of something else.
        """
        place = self._place(self._which())
        length = os.pread(self._descriptor, _LENGTH.size, place)
        if len(length) < _LENGTH.size:
            return b""
        return os.pread(self._descriptor, min(_LENGTH.unpack(length)[0], MOST), place + _LENGTH.size)

    def write(self, data: bytes) -> None:
        """Have `data`, `MOST` octets at most, read from now on.

        Raises:
            OSError: there is no memory.
        """
        other = 1 - self._which()
        whole = _LENGTH.pack(len(data)) + data
        if os.pwrite(self._descriptor, whole, self._place(other)) < len(whole):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.pwrite(self._descriptor, bytes((other,)), 0)

    def _which(self) -> int:
        return int(os.pread(self._descriptor, 1, 0) == b"\1")

    def _place(self, which: int) -> int:
        return _FIRST + which * _ROOM


def new_memory(name: str) -> int:
    """Return the descriptor of empty memory; `name` is seen in /proc only.

    Raises:
        OSError: the system has none, or forbids it.
    """
    return os.memfd_create(name, os.MFD_CLOEXEC)
