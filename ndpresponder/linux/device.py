"""Which index an interface has now, or that there is none of that name: which is not the same as not being told."""

import errno
import fcntl
import os
import socket
import struct
from typing import Final

from ndpresponder.errors import SourceUnavailable

_SIOCGIFINDEX: Final = 0x8933  # linux/sockios.h
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
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asked:
            answer = fcntl.ioctl(asked, _SIOCGIFINDEX, _IFREQ.pack(octets, 0))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return 0
        raise SourceUnavailable(f"{name}: {os.strerror(error.errno or 0)}") from error
    index: int = _IFREQ.unpack(answer)[1]
    return index
