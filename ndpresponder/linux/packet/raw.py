"""Open packet sockets in the one order that is safe.

With protocol 0 a socket receives nothing until it is bound. So the filter comes first and the bind last: no unfiltered
frame is ever queued. The kernel binds by name, which another link may have taken since its index was read. So the index
is read again after the bind.
"""

import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterator
from typing import Final

from ndpresponder.errors import LinkNotReady
from ndpresponder.wire.classic_bpf import Program, encode
from ndpresponder.wire.layout import ETH_P_IPV6

_SO_ATTACH_FILTER: Final = 26  # asm/socket.h

# linux/socket.h, linux/if_packet.h
SOL_PACKET: Final = 263
PACKET_STATISTICS: Final = 6
PACKET_VERSION: Final = 10
TPACKET_V2: Final = 1


@contextlib.contextmanager
def unbound_socket(program: Program | None = None) -> Iterator[socket.socket]:
    """Yield a packet socket that is not bound, and has `program` for its filter; close it if the block raises."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        if program is not None:
            attach_filter(sock, program)
        yield sock
    except BaseException:
        sock.close()
        raise


def sock_fprog(program: Program) -> "tuple[bytes, ctypes.Array[ctypes.c_char]]":
    """Return struct sock_fprog (linux/filter.h), and the instructions that it points at: keep them for the call."""
    code = ctypes.create_string_buffer(encode(program), 8 * len(program))
    return struct.pack("@HP", len(program), ctypes.addressof(code)), code


def attach_filter(sock: socket.socket, program: Program) -> None:
    """Attach `program`; on a socket that has a filter already the two are exchanged atomically (socket(7))."""
    fprog, _code = sock_fprog(program)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def bind(sock: socket.socket, name: str, index: int) -> None:
    """Receive IPv6 from the link `name` from now on; raise `LinkNotReady` if it has another `index`, or OSError."""
    sock.bind((name, ETH_P_IPV6))
    if not index or index_of(name) != index:
        raise LinkNotReady(f"{name} changed while it was being opened")


def index_of(name: str) -> int:
    """Return the index of a link, 0 if there is none."""
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(name)
    return 0


def take_counts(sock: socket.socket) -> tuple[int, int]:
    """Return how many frames a socket got since the last call, and how many of them the kernel had no room for."""
    packets, drops = struct.unpack("=II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    return packets, drops
