"""Read the kernel's neighbor entries: those on an uplink, its proxy entries, and those confirmed for a gateway.

An entry that is merely there proves nothing: a solicitation that somebody made up leaves one, with the link-layer
address that it names, and the state STALE. What was confirmed before is the caller's to remember.
"""

import errno
import socket
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from ndpresponder.linux.netlink import changes
from ndpresponder.linux.netlink import layout as nl
from ndpresponder.linux.netlink.asking import Refused, dump, get
from ndpresponder.linux.netlink.changes import Changes
from ndpresponder.linux.netlink.link import Link

_LLADDR_LENGTH: Final = 6
_LOOK_S: Final = 10.0  # at the latest; an entry is reachable for 15 s or more (RFC 4861 10)
_PAUSE_S: Final = 0.1  # at least between two looks


class UplinkNeighbor(NamedTuple):
    """A neighbor on an uplink."""

    lladdr: bytes
    stale: bool  # it has not been heard lately, or was never asked


async def neighbors_on(index: int, own: Collection[bytes]) -> dict[bytes, UplinkNeighbor]:
    """Return the neighbors on the link `index` by their addresses, but for those at one of our `own` lladdrs."""

    def read(message: memoryview) -> tuple[bytes, UplinkNeighbor] | None:
        _, its_index, state, flags, _ = nl.head(message, nl.NDMSG)
        values = nl.values_of(message, nl.NDMSG)
        lladdr = values.get(nl.NDA_LLADDR, b"")
        if its_index != index or not state & nl.KNOWN or flags & nl.NTF_PROXY or lladdr in own:
            return None
        return values.get(nl.NDA_DST, b""), UplinkNeighbor(lladdr, bool(state & nl.NUD_STALE))

    try:
        return dict(await dump(read, nl.RTM_GETNEIGH, nl.ndmsg(), nl.attribute(nl.NDA_IFINDEX, index)))
    except Refused:  # the link is gone
        return {}


async def proxied_on(index: int) -> list[bytes]:
    """Return the addresses for which the kernel answers on the link `index`, by its proxy entries (ip-neighbour(8))."""

    def read(message: memoryview) -> bytes | None:
        _, its_index, _, flags, _ = nl.head(message, nl.NDMSG)
        address = nl.values_of(message, nl.NDMSG).get(nl.NDA_DST, b"")
        return address if its_index == index and flags & nl.NTF_PROXY and len(address) == 16 else None

    return await dump(read, nl.RTM_GETNEIGH, nl.ndmsg(flags=nl.NTF_PROXY))


def confirmed_lladdr(index: int, address: bytes) -> bytes | None:
    """Return the link-layer address of a confirmed entry (b"" where there is none), None without such an entry."""

    def read(entry: memoryview) -> bytes | None:
        return (
            nl.values_of(entry, nl.NDMSG).get(nl.NDA_LLADDR, b"")
            if nl.head(entry, nl.NDMSG)[2] & nl.CONFIRMED
            else None
        )

    try:
        return get(read, nl.RTM_GETNEIGH, nl.ndmsg(index=index), nl.attribute(nl.NDA_DST, address))
    except Refused as error:
        if error.number in (errno.ENOENT, errno.ENODEV):
            return None
        raise


async def is_reachable(index: int, address: bytes) -> bool:
    """Tell whether the kernel's entry for a neighbor is confirmed or permanent; raises as `confirmed_lladdr` does."""
    return confirmed_lladdr(index, address) is not None


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
                lladdr = confirmed_lladdr(link.index, gateway)
                if lladdr is not None and len(lladdr) == _LLADDR_LENGTH:
                    self._confirm(link, gateway, lladdr)
        return _PAUSE_S

    def _matters(self, event: bytes) -> bool:
        """Tell whether `event` says that an entry of one of our gateways is confirmed."""
        if len(event) < nl.HEADER_LENGTH + nl.NDMSG.size or nl.kind_of(event) != nl.RTM_NEWNEIGH:
            return False
        family, index, state, _, _ = nl.head(event, nl.NDMSG)
        if family != socket.AF_INET6 or not state & nl.CONFIRMED:
            return False
        address = nl.values_of(event, nl.NDMSG).get(nl.NDA_DST)
        return any(link.index == index and address in link.gateways for link in self._links())
