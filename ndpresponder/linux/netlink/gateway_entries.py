"""Tell which link-layer address the kernel has confirmed for a gateway: that of a reachable or permanent entry.

An entry that is merely there proves nothing: a solicitation that somebody made up leaves one, with the link-layer
address that it names, and the state STALE. What was confirmed before is the caller's to remember.
"""

import errno
import socket
import struct
from collections.abc import Callable, Collection
from typing import Final

from ndpresponder.linux.netlink import changes
from ndpresponder.linux.netlink.changes import Changes
from ndpresponder.linux.netlink.dump import HEADER_LENGTH, Refused, attribute, attributes, decoding, get, kind_of
from ndpresponder.linux.netlink.links import Link

# linux/rtnetlink.h, linux/neighbour.h
_NEWNEIGH, _GETNEIGH = 28, 30
_NDMSG: Final = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_NDA_DST, _NDA_LLADDR = 1, 2
_CONFIRMED: Final = 0x02 | 0x40 | 0x80  # NUD_REACHABLE | NUD_NOARP | NUD_PERMANENT
_BODY: Final = HEADER_LENGTH + _NDMSG.size
_LLADDR_LENGTH: Final = 6
_LOOK_S: Final = 10.0  # at the latest; an entry is reachable for 15 s or more (RFC 4861 10)
_PAUSE_S: Final = 0.1  # at least between two looks


class GatewayWatcher:
    """Tells which link-layer addresses are confirmed for the gateways of some links."""

    def __init__(self, links: Callable[[], Collection[Link]], confirm: Callable[[Link, bytes, bytes], None]) -> None:
        """Look at the gateways of `links`; `confirm` is called with a link, a gateway and its link-layer address."""
        self._links = links
        self._confirm = confirm
        self._changes = Changes(changes.NEIGHBOR, self._matters)
        self.notify = self._changes.notify  # the links changed

    async def run(self) -> None:
        """Look whenever an entry is confirmed, until cancelled.

        Raises:
            SourceUnavailable: netlink failed; run again.
        """
        await self._changes.follow(self._look, _LOOK_S)

    async def _look(self) -> float:
        for link in self._links():
            for gateway in link.served_gateways:
                lladdr = await ask_confirmed(link.index, gateway)
                if lladdr is not None:
                    self._confirm(link, gateway, lladdr)
        return _PAUSE_S

    def _matters(self, event: bytes) -> bool:
        """Tell whether `event` says that an entry of one of our gateways is confirmed."""
        if len(event) < _BODY or kind_of(event) != _NEWNEIGH:
            return False
        family, index, state, _, _ = _NDMSG.unpack_from(event, HEADER_LENGTH)
        if family != socket.AF_INET6 or not state & _CONFIRMED:
            return False
        address = dict(attributes(event, _BODY)).get(_NDA_DST)
        return any(link.index == index and address in link.gateways for link in self._links())


async def ask_confirmed(index: int, address: bytes) -> bytes | None:
    """Return the link-layer address that the kernel has confirmed for `address` on the link `index`, None if none.

    Raises:
        SourceUnavailable: the kernel cannot be asked now.
    """
    try:
        message = await get(_GETNEIGH, _NDMSG.pack(socket.AF_INET6, index, 0, 0, 0), attribute(_NDA_DST, address))
    except Refused as error:
        if error.number in (errno.ENOENT, errno.ENODEV):
            return None
        raise
    with decoding():
        _, _, state, _, _ = _NDMSG.unpack_from(message, HEADER_LENGTH)
    lladdr = dict(attributes(message, _BODY)).get(_NDA_LLADDR, b"")
    return lladdr if state & _CONFIRMED and len(lladdr) == _LLADDR_LENGTH else None
