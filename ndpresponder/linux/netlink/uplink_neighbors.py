"""Which addresses the neighbors on an uplink have, as the kernel knows them."""

import contextlib
import socket
import struct
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from ndpresponder.linux.netlink.dump import HEADER_LENGTH, Refused, attribute, attributes, decoding, dump

# linux/rtnetlink.h, linux/neighbour.h
_GETNEIGH: Final = 30
_NDMSG: Final = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX = 1, 2, 8
_PROXY: Final = 0x08  # NTF_PROXY
_STALE: Final = 0x04  # NUD_STALE
_VALID: Final = 0x02 | _STALE | 0x08 | 0x10 | 0x80  # or NUD_REACHABLE, DELAY, PROBE, PERMANENT


class Resident(NamedTuple):
    """A neighbor."""

    lladdr: bytes
    stale: bool  # it has not been heard lately, or was never asked


async def residents(index: int, own: Collection[bytes]) -> dict[bytes, Resident]:
    """Return the neighbors on the link `index` by their addresses, but for those at one of our `own` lladdrs.

    Raises:
        SourceUnavailable: the kernel cannot be asked now.
    """
    found: dict[bytes, Resident] = {}
    of_link = attribute(_NDA_IFINDEX, struct.pack("=I", index))
    try:
        asked = dump(_GETNEIGH, _NDMSG.pack(socket.AF_INET6, 0, 0, 0, 0), of_link)
        async with contextlib.aclosing(asked) as slices:
            async for messages in slices:
                with decoding():
                    found.update(each for message in messages for each in _resident(message, index, own))
    except Refused:  # the link is gone
        return {}
    return found


def _resident(message: memoryview, index: int, own: Collection[bytes]) -> Iterator[tuple[bytes, Resident]]:
    """Yield the neighbor of an entry, if it is one on this link."""
    _, its_index, state, flags, _ = _NDMSG.unpack_from(message, HEADER_LENGTH)
    values = dict(attributes(message, HEADER_LENGTH + _NDMSG.size))
    lladdr = values.get(_NDA_LLADDR, b"")
    if its_index == index and state & _VALID and not flags & _PROXY and lladdr not in own:
        yield values.get(_NDA_DST, b""), Resident(lladdr, bool(state & _STALE))
