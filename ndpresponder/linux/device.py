"""Which index or name an interface has now, or that there is none: which is not the same as not being told.

The C library's if_nametoindex(3) and if_indextoname(3) say the same when no descriptor is left.
"""

import errno
import fcntl
import os
import socket
import struct
from typing import Final

from ndpresponder.errors import SourceUnavailable

_SIOCGIFNAME, _SIOCGIFINDEX = 0x8910, 0x8933  # linux/sockios.h
_IFREQ: Final = struct.Struct("=16si20x")
_LONGEST: Final = 15  # octets of a name (IFNAMSIZ)


def index_of(name: str) -> int:
    """Return the index of the interface called `name`, 0 if there is none.

    Raises:
        SourceUnavailable: the system cannot tell now, for want of a descriptor say.
    """
    try:
        octets = name.encode()
    except UnicodeEncodeError:
        return 0
    if len(octets) > _LONGEST or b"\0" in octets:
        return 0
    index: int = _ask(_SIOCGIFINDEX, octets, 0)[1]
    return index


def name_of(index: int) -> str:
    """Return the name of the interface with an index, "" if there is none.

    Raises:
        SourceUnavailable: the system cannot tell now.
    """
    octets: bytes = _ask(_SIOCGIFNAME, b"", index)[0]
    return octets.partition(b"\0")[0].decode(errors="surrogateescape")


def _ask(question: int, name: bytes, index: int) -> tuple[bytes, int]:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asked:
            answer = fcntl.ioctl(asked, question, _IFREQ.pack(name, index))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return b"", 0
        raise SourceUnavailable(f"interface {name.decode() or index}: {os.strerror(error.errno or 0)}") from error
    octets, found = _IFREQ.unpack(answer)
    return octets, found
