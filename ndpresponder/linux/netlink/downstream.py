"""What the kernel knows behind one downstream interface: its addresses, its neighbors, the stations on its ports.

Says what is there, and of an event whether that can have changed by it; what it means for targets is the source's.
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from ndpresponder.linux.netlink import changes
from ndpresponder.linux.netlink.dump import HEADER_LENGTH, Refused, attribute, attributes, decoding, dump, get, kind_of
from ndpresponder.wire.addresses import is_global

GROUPS: Final = changes.LINK | changes.NEIGHBOR | changes.IPV6_ADDRESS

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/neighbour.h
_GETLINK, _GETADDR, _NEWNEIGH, _GETNEIGH = 18, 22, 28, 30
_LINK_EVENTS, _ADDRESS_EVENTS, _NEIGHBOR_EVENTS = (16, 17), (20, 21), (28, 29)
_DELNEIGH: Final = 29
_IFINFOMSG: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change
_IFADDRMSG: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_NDMSG: Final = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_EXT_MASK, _IFLA_INFO_KIND = 3, 10, 18, 29, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX, _NDA_MASTER = 1, 2, 8, 9
_SKIP_STATISTICS: Final = struct.pack("=I", 1 << 3)
_RESOLVED: Final = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # NUD_REACHABLE | STALE | DELAY | PROBE | PERMANENT
_PERMANENT: Final = 0x80
_PROXY, _EXTERNALLY_LEARNED = 0x08, 0x10  # NTF_*
# How nearly all entries look, which there may be thousands of: read at once
_USUAL: Final = struct.Struct("=BxxxiHBB4x16s4x6s")
_USUAL_DST, _USUAL_LLADDR = struct.pack("=HH", 20, _NDA_DST), struct.pack("=HH", 10, _NDA_LLADDR)
_USUAL_END: Final = HEADER_LENGTH + _USUAL.size
_BODY: Final = HEADER_LENGTH + _NDMSG.size  # where the attributes of a neighbor begin


@dataclass(frozen=True, slots=True)
class Downstream:
    """One downstream interface as the kernel shows it."""

    index: int
    bridge: bool
    uplink: str  # the uplink that is this interface or a port of it; "" as it should be
    addresses: frozenset[tuple[bytes, int]]  # global ones with their prefix lengths, those of peers among them
    neighbours: Mapping[bytes, bytes]  # global address -> link-layer address; b"" if no port needs to confirm it
    stations: frozenset[bytes]  # link-layer addresses on the ports of a bridge

    def can_change_by(self, event: bytes, names: Collection[bytes]) -> bool:
        """Tell whether anything of this can be different after `event`; `names` are those of the links looked at."""
        if len(event) < _BODY:
            return True
        kind = kind_of(event)
        family, index = event[HEADER_LENGTH], struct.unpack_from("=i", event, HEADER_LENGTH + 4)[0]
        if kind in _NEIGHBOR_EVENTS:
            if family == socket.AF_INET6:
                return index == self.index and self._neighbour_changes(kind, event)
            return family == socket.AF_BRIDGE and self._station_changes(kind, event)
        if kind in _LINK_EVENTS:
            return index == self.index or _name(event) in names
        return kind in _ADDRESS_EVENTS and bool(index == self.index)

    def _neighbour_changes(self, kind: int, event: bytes) -> bool:
        address, lladdr = _neighbour(event)
        if address is None:
            return False
        return self.neighbours.get(address) != (lladdr if kind == _NEWNEIGH else None)

    def _station_changes(self, kind: int, event: bytes) -> bool:
        station = _station(event, self.index)
        return station is not None and (station in self.stations) != (kind == _NEWNEIGH)


def removes(event: bytes) -> bool:
    """Tell whether a neighbor or a station, of any link, was removed."""
    return len(event) >= HEADER_LENGTH and kind_of(event) == _DELNEIGH


async def ask_downstream(name: str, uplinks: Collection[str]) -> Downstream | None:
    """Return what lies behind the interface `name`; None if it does not exist.

    Raises:
        SourceUnavailable: the kernel cannot be asked now.
    """
    try:
        with decoding():
            index, _, bridge = await _link(name)
            addresses = frozenset(await _addresses(index))
            neighbours = await _neighbours(index)
            stations = frozenset(await _stations(index)) if bridge else frozenset()
    except Refused as error:
        if error.number == errno.ENODEV or (error.number == errno.EINVAL and not await _exists(name)):
            return None  # EINVAL: it was deleted while we asked
        raise
    with decoding():
        uplink = await _uplink_in(index, uplinks)
    return Downstream(index, bridge, uplink, addresses, neighbours, stations)


async def _exists(name: str) -> bool:
    try:
        await _link(name)
    except Refused as error:
        if error.number != errno.ENODEV:
            raise
        return False
    return True


async def master_of(name: str) -> int:
    """Return the index of the bridge or VRF that an interface belongs to, 0 without one.

    Raises:
        SourceUnavailable: the kernel cannot be asked now.
    """
    try:
        with decoding():
            return (await _link(name))[1]
    except Refused:
        return 0


async def _uplink_in(index: int, uplinks: Collection[str]) -> str:
    for uplink in uplinks:
        try:
            its_index, its_master, _ = await _link(uplink)
        except Refused as error:
            if error.number != errno.ENODEV:
                raise
            continue
        if index in (its_index, its_master):
            return uplink
    return ""


async def _link(name: str) -> tuple[int, int, bool]:
    """Return index, index of the master (0: none) and whether it is a bridge."""
    message = await get(
        _GETLINK,
        _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0),
        attribute(_IFLA_IFNAME, name.encode() + b"\0"),
        attribute(_IFLA_EXT_MASK, _SKIP_STATISTICS),
    )
    _, _, index, _, _ = _IFINFOMSG.unpack_from(message, HEADER_LENGTH)
    found = dict(attributes(message, HEADER_LENGTH + _IFINFOMSG.size))
    (master,) = struct.unpack("=i", found.get(_IFLA_MASTER, bytes(4)))
    info = dict(attributes(found.get(_IFLA_LINKINFO, b"")))
    return index, master, info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0") == b"bridge"


async def _addresses(index: int) -> list[tuple[bytes, int]]:
    found = []
    async with contextlib.aclosing(dump(_GETADDR, _IFADDRMSG.pack(socket.AF_INET6, 0, 0, 0, index))) as slices:
        async for messages in slices:
            for message in messages:
                _, length, _, _, its_index = _IFADDRMSG.unpack_from(message, HEADER_LENGTH)
                if its_index != index:
                    continue
                values = dict(attributes(message, HEADER_LENGTH + _IFADDRMSG.size))
                if _IFA_ADDRESS in values:  # the peer's where there is one, and what the length belongs to
                    found.append((values[_IFA_ADDRESS], length))
                if _IFA_LOCAL in values:
                    found.append((values[_IFA_LOCAL], 128))
    return [(address, length) for address, length in found if len(address) == 16 and is_global(address)]


async def _neighbours(index: int) -> dict[bytes, bytes]:
    found = {}
    of_link = attribute(_NDA_IFINDEX, struct.pack("=I", index))
    body = _NDMSG.pack(socket.AF_INET6, 0, 0, 0, 0)
    async with contextlib.aclosing(dump(_GETNEIGH, body, of_link)) as slices:
        async for messages in slices:
            for message in messages:
                address, lladdr = _neighbour(message)
                if address is not None and lladdr is not None:
                    found[address] = lladdr
    return found


async def _stations(index: int) -> list[bytes]:
    found: list[bytes] = []
    of_bridge = attribute(_NDA_MASTER, struct.pack("=I", index))
    body = _NDMSG.pack(socket.AF_BRIDGE, 0, 0, 0, 0)
    async with contextlib.aclosing(dump(_GETNEIGH, body, of_bridge)) as slices:
        async for messages in slices:
            found.extend(station for message in messages if (station := _station(message, index)) is not None)
    return found


def _neighbour(message: memoryview | bytes) -> tuple[bytes | None, bytes | None]:
    """Return the global address and, if it is resolved, the link-layer address (see `Downstream`) of an entry."""
    if (
        len(message) >= _USUAL_END
        and message[_BODY : _BODY + 4] == _USUAL_DST
        and message[_BODY + 20 : _BODY + 24] == _USUAL_LLADDR
    ):
        _, _, state, flags, _, address, lladdr = _USUAL.unpack_from(message, HEADER_LENGTH)
    else:
        _, _, state, flags, _ = _NDMSG.unpack_from(message, HEADER_LENGTH)
        values = dict(attributes(message, _BODY))
        address, lladdr = values.get(_NDA_DST), values.get(_NDA_LLADDR, b"")
    if address is None or len(address) != 16 or flags & _PROXY or not is_global(address):
        return None, None
    if state & _PERMANENT or flags & _EXTERNALLY_LEARNED:
        return address, b""
    # NUD_NOARP says nothing: where nothing is resolved, the kernel makes such an entry for whatever is sent
    return address, lladdr if state & _RESOLVED else None


def _station(message: memoryview | bytes, bridge: int) -> bytes | None:
    """Return the link-layer address of a forwarding entry, None if it is not one of a port of `bridge`."""
    _, _, state, _, _ = _NDMSG.unpack_from(message, HEADER_LENGTH)
    if state & _PERMANENT:  # the ports' own addresses
        return None
    values = dict(attributes(message, _BODY))
    if values.get(_NDA_MASTER) != struct.pack("=I", bridge):
        return None
    return values.get(_NDA_LLADDR)


def _name(event: bytes) -> bytes:
    return dict(attributes(event, HEADER_LENGTH + _IFINFOMSG.size)).get(_IFLA_IFNAME, b"").rstrip(b"\0")
