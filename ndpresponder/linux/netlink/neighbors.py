"""Read the kernel's neighbor entries: those on an uplink, its proxy entries, and those confirmed for a gateway.

An entry that is merely there proves nothing: a solicitation that somebody made up leaves one, with the link-layer
address that it names, and the state STALE. What was confirmed before is the caller's to remember.
"""

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


class Entry(NamedTuple):
    """The kernel's entry for one neighbor."""

    lladdr: bytes  # b"" where there is none
    ours: bool


def find_entry(index: int, address: bytes, states: int) -> Entry | None:
    """Return the entry for `address` on the link `index` if its state is one of `states` (NUD_*)."""

    def read(message: memoryview) -> Entry | None:
        values = nl.values_of(message, nl.NDMSG)
        ours = values.get(nl.NDA_PROTOCOL) == bytes([nl.OUR_PROTOCOL])
        return Entry(values.get(nl.NDA_LLADDR, b""), ours) if nl.head(message, nl.NDMSG)[2] & states else None

    return get(read, nl.RTM_GETNEIGH, nl.ndmsg(index=index), nl.attribute(nl.NDA_DST, address))


def is_reachable(index: int, address: bytes) -> bool:
    """Tell whether the kernel's entry for a neighbor is confirmed or permanent."""
    return find_entry(index, address, nl.CONFIRMED) is not None


class GatewayWatcher:
    """Tells which link-layer addresses are confirmed for the gateways of some links."""

    def __init__(self, links: Callable[[], Collection[Link]], confirm: Callable[[Link, bytes, bytes], None]) -> None:
        """Look at the gateways of `links`; `confirm` is called with a link, a gateway and its link-layer address."""
        self._links = links
        self._confirm = confirm
        self._changes = Changes(changes.NEIGHBOR, self._matters)
        self.notify = self._changes.notify  # the links changed

    async def run(self) -> None:
        """Look whenever an entry is confirmed; raise `SourceUnavailable` if netlink failed: run again."""
        await self._changes.follow(self._look, _LOOK_S)

    async def _look(self) -> float:
        for link in self._links():
            for gateway in link.served_gateways:
                entry = find_entry(link.index, gateway, nl.CONFIRMED)
                if entry is not None and len(entry.lladdr) == _LLADDR_LENGTH:
                    self._confirm(link, gateway, entry.lladdr)
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
