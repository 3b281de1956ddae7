"""What every packet socket needs before it is bound: its filter."""

import ctypes
import socket
import struct
from typing import Final

from ndpresponder.wire.filters import Instruction, encode

_SO_ATTACH_FILTER: Final = 26  # asm/socket.h


def attach_filter(sock: socket.socket, program: tuple[Instruction, ...]) -> None:
    """Attach `program`; on a socket that has a filter already the two are exchanged atomically (socket(7))."""
    code = ctypes.create_string_buffer(encode(program), 8 * len(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
