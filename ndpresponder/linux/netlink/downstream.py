"""Read what the kernel knows behind one downstream interface: addresses, neighbors, link-layer addresses on its ports.

It tells of an event whether the interface can have changed by it. What that means for targets is up to the source.
"""

import errno
import socket
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from ndpresponder.linux.netlink import changes
from ndpresponder.linux.netlink import layout as nl
from ndpresponder.linux.netlink.asking import Refused, dump, find_link
from ndpresponder.wire.addresses import is_global

GROUPS: Final = changes.LINK | changes.NEIGHBOR | changes.IPV6_ADDRESS

# How nearly all neighbor entries look, which there may be thousands of: read at once
_USUAL: Final = struct.Struct("=BxxxiHBB4x16s4x6s")
_USUAL_DST, _USUAL_LLADDR = struct.pack("=HH", 20, nl.NDA_DST), struct.pack("=HH", 10, nl.NDA_LLADDR)
_USUAL_END: Final = nl.HEADER_LENGTH + _USUAL.size
_BODY: Final = nl.HEADER_LENGTH + nl.NDMSG.size  # where the attributes of a neighbor begin


@dataclass(frozen=True, slots=True)
class Downstream:
    """One downstream interface as the kernel shows it."""

    index: int
    bridge: bool
    uplink: str  # the uplink that is this interface or a port of it; "" as it should be
    addresses: frozenset[tuple[bytes, int]]  # global ones with their prefix lengths, those of peers among them
    neighbors: Mapping[bytes, bytes]  # global address -> link-layer address; b"" if no port needs to confirm it
    lladdrs: frozenset[bytes]  # link-layer addresses on the ports of a bridge

    def can_change_by(self, event: bytes, names: Collection[bytes]) -> bool:
        """Tell whether anything of this can be different after `event`; `names` are those of the links looked at."""
        if len(event) < _BODY:
            return True
        kind = nl.kind_of(event)
        # They stand at the same place in the headers of links and addresses
        family, index, *_ = nl.head(event, nl.NDMSG)
        if kind in (nl.RTM_NEWNEIGH, nl.RTM_DELNEIGH):
            if family == socket.AF_INET6:
                address, lladdr = _neighbor(event) if index == self.index else (None, None)
                after = lladdr if kind == nl.RTM_NEWNEIGH else None
                return address is not None and self.neighbors.get(address) != after
            lladdr = _port_lladdr(self.index, event) if family == socket.AF_BRIDGE else None
            return lladdr is not None and (lladdr in self.lladdrs) != (kind == nl.RTM_NEWNEIGH)
        if kind in (nl.RTM_NEWLINK, nl.RTM_DELLINK):
            return index == self.index or nl.values_of(event, nl.IFINFOMSG).get(nl.IFLA_IFNAME, b"")[:-1] in names
        return kind in (nl.RTM_NEWADDR, nl.RTM_DELADDR) and bool(index == self.index)


def removes(event: bytes) -> bool:
    """Tell whether a neighbor or a forwarding entry, of any link, was removed."""
    return not event or nl.kind_of(event) == nl.RTM_DELNEIGH


async def ask_downstream(name: str, uplinks: Collection[str]) -> Downstream | None:
    """Return what lies behind the interface `name`; None if it does not exist."""
    link = find_link(name)
    if link is None:
        return None
    index, bridge = link.index, link.kind == "bridge"
    try:
        addresses = await _addresses(index)
        neighbors = await _neighbors(index)
        lladdrs = await _port_lladdrs(index) if bridge else frozenset()
    except Refused as error:
        if error.number == errno.ENODEV or (error.number == errno.EINVAL and find_link(name) is None):
            return None  # EINVAL: it was deleted while we asked
        raise
    its_uplinks = (each for each in uplinks if (found := find_link(each)) and index in (found.index, found.master))
    return Downstream(index, bridge, next(its_uplinks, ""), addresses, neighbors, lladdrs)


async def _addresses(index: int) -> frozenset[tuple[bytes, int]]:
    def read(message: memoryview) -> list[tuple[bytes, int]]:
        _, length, _, _, its_index = nl.head(message, nl.IFADDRMSG)
        values = nl.values_of(message, nl.IFADDRMSG) if its_index == index else {}
        # IFA_ADDRESS is the peer's where there is one, and what the length belongs to
        both = (values.get(nl.IFA_ADDRESS, b""), length), (values.get(nl.IFA_LOCAL, b""), 128)
        return [(address, length) for address, length in both if len(address) == 16 and is_global(address)]

    found = await dump(read, nl.RTM_GETADDR, nl.IFADDRMSG.pack(socket.AF_INET6, 0, 0, 0, index))
    return frozenset(each for both in found for each in both)


async def _neighbors(index: int) -> dict[bytes, bytes]:
    found = await dump(_neighbor, nl.RTM_GETNEIGH, nl.ndmsg(), nl.attribute(nl.NDA_IFINDEX, index))
    return {address: lladdr for address, lladdr in found if address is not None and lladdr is not None}


async def _port_lladdrs(index: int) -> frozenset[bytes]:
    of_bridge = nl.attribute(nl.NDA_MASTER, index)
    return frozenset(await dump(partial(_port_lladdr, index), nl.RTM_GETNEIGH, nl.ndmsg(socket.AF_BRIDGE), of_bridge))


def _neighbor(message: nl.Message) -> tuple[bytes | None, bytes | None]:
    """Return the global address and, if it is resolved, the link-layer address (see `Downstream`) of an entry."""
    if (
        len(message) >= _USUAL_END
        and message[_BODY : _BODY + 4] == _USUAL_DST
        and message[_BODY + 20 : _BODY + 24] == _USUAL_LLADDR
    ):
        _, _, state, flags, _, address, lladdr = nl.head(message, _USUAL)
    else:
        _, _, state, flags, _ = nl.head(message, nl.NDMSG)
        values = nl.values_of(message, nl.NDMSG)
        address, lladdr = values.get(nl.NDA_DST), values.get(nl.NDA_LLADDR, b"")
    if address is None or len(address) != 16 or flags & nl.NTF_PROXY or not is_global(address):
        return None, None
    if state & nl.NUD_PERMANENT or flags & nl.NTF_EXT_LEARNED:
        return address, b""
    # NUD_NOARP says nothing: where nothing is resolved, the kernel makes such an entry for whatever is sent
    return address, lladdr if state & nl.KNOWN else None


def _port_lladdr(bridge: int, message: nl.Message) -> bytes | None:
    """Return the link-layer address of a forwarding entry, None if it is not one of a port of `bridge`."""
    if nl.head(message, nl.NDMSG)[2] & nl.NUD_PERMANENT:  # the ports' own addresses
        return None
    values = nl.values_of(message, nl.NDMSG)
    return values.get(nl.NDA_LLADDR) if values.get(nl.NDA_MASTER) == struct.pack("=i", bridge) else None
