"""The kernel's own proxy entries: addresses for which it answers solicitations on an interface (ip-neighbour(8))."""

import contextlib
import socket
import struct
from typing import Final

from ndpresponder.linux.netlink.dump import HEADER_LENGTH, attributes, decoding, dump

# linux/rtnetlink.h, linux/neighbour.h
_GETNEIGH: Final = 30
_NDMSG: Final = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_NTF_PROXY: Final = 0x08
_NDA_DST: Final = 1


async def proxied_on(index: int) -> list[bytes]:
    """Return the addresses for which the kernel has proxy entries on the link `index`.

    Raises:
        SourceUnavailable: the kernel cannot be asked now.
    """
    found: list[bytes] = []
    body = _NDMSG.pack(socket.AF_INET6, 0, 0, _NTF_PROXY, 0)
    async with contextlib.aclosing(dump(_GETNEIGH, body)) as slices:
        async for messages in slices:
            for message in messages:
                with decoding():
                    _, its_index, _, flags, _ = _NDMSG.unpack_from(message, HEADER_LENGTH)
                if its_index == index and flags & _NTF_PROXY:
                    address = dict(attributes(message, HEADER_LENGTH + _NDMSG.size)).get(_NDA_DST, b"")
                    if len(address) == 16:
                        found.append(address)
    return found
