"""Follow the uplinks, or read them once: link, addresses, routes, and which prefixes are on-link there.

A connected route says it outright: a router advertised the prefix as on-link, or a person wrote it. An address of the
uplink says it as well. One that is longer than /64 stands for its /64, which a provider gives to one link (RFC 4291
2.5.4): a host whose uplink has a /128 and a link-local gateway has no connected route. An uplink without any address
is known outside by the address that the kernel would send from there, so that one counts for it. While the kernel waits
for a router advertisement, nothing is on-link yet.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from ndpresponder.errors import SourceUnavailable, is_shortage
from ndpresponder.linux.interface import accepts_advertisements, is_set
from ndpresponder.linux.netlink import changes
from ndpresponder.linux.netlink import layout as nl
from ndpresponder.linux.netlink.asking import Interrupted, LinkEntry, Refused, dump, find_link, get
from ndpresponder.linux.netlink.changes import Changes
from ndpresponder.linux.netlink.link import PASSTHRU, Link
from ndpresponder.wire.addresses import is_global, is_link_local, is_unique_local

_GROUPS: Final = changes.LINK | changes.IPV6_ADDRESS | changes.IPV6_ROUTE | changes.IPV6_NETCONF
_ATTEMPTS: Final = 5
_UP_AND_RUNNING: Final = 0x1 | 0x40  # IFF_UP | IFF_RUNNING, net/if.h

# Masters that leave the frames with their ports: a VRF only routes them, batman-adv takes nothing but its own protocol.
_LEAVE_FRAMES: Final = ("vrf", "batadv")
_TAPS: Final = ("macvtap", "ipvtap")  # what they receive is read from a character device
_ON_TOP: Final = ("macvlan", "macvtap")
_UPPER: Final = "upper_"
_UNNAMED: Final = "master"  # a kind that the kernel does not name, such as a failover device

_WIDEST: Final = 32  # no link has a wider prefix: such a route, say 2000::/3, is a default route by another name
_SUBNET: Final = 64  # RFC 4291 2.5.4
_GLOBAL: Final = (1 << 125, 3)  # 2000::/3, RFC 3587 3
_ELSEWHERE: Final = bytes.fromhex("20" + "00" * 15)  # it stands for any host beyond the default route

Links = Mapping[str, Link | None]


class _Address(NamedTuple):
    own: bytes
    far: bytes  # the address of the peer, where there is one; else our own
    length: int  # of the prefix that `far` is in
    flags: int


class _Route(NamedTuple):
    destination: bytes
    length: int
    protocol: int
    is_advertised: bool
    routers: tuple[bytes, ...]  # of the next hops on this link, b"" for one without a router


class LinkWatcher:
    """Publishes the state of the named uplinks, None for one that does not exist, whenever it changes."""

    def __init__(self, names: Iterable[str], publish: Callable[[Links], None]) -> None:
        self._names = tuple(names)
        self._publish = publish
        self._links: Links | None = None
        self.changes = Changes(_GROUPS, self._matters)

    def forget(self) -> None:
        """Publish after the next change whatever it finds: somebody knows that the links are not what they were."""
        self._links = None

    async def run(self) -> None:
        """Follow the uplinks until cancelled; raise `SourceUnavailable` if netlink failed: run again."""
        await self.changes.follow(self._ask)

    def _matters(self, event: bytes) -> bool:
        """Tell whether `event` can concern an uplink: of the many routes, default ones and those on the link do."""
        if self._links is None or len(event) < nl.HEADER_LENGTH + nl.RTMSG.size:
            return True
        if nl.kind_of(event) not in (nl.RTM_NEWROUTE, nl.RTM_DELROUTE) or nl.head(event, nl.RTMSG)[1] == 0:
            return True
        values = nl.values_of(event, nl.RTMSG)
        if nl.RTA_MULTIPATH in values:
            return True
        index = nl.number(values, nl.RTA_OIF)
        return nl.RTA_GATEWAY not in values and any(link.index == index for link in self._links.values() if link)

    async def _ask(self) -> None:
        with contextlib.suppress(Interrupted):
            links = {name: await _ask_link(name) for name in self._names}
            if links != self._links:
                self._publish(links)  # which may fail: then once more
                self._links = links


async def ask_links(names: Collection[str]) -> Links:
    """Return the present state of the named links, None for one that does not exist."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(Interrupted):
            return {name: await _ask_link(name) for name in names}
    raise SourceUnavailable("netlink: the links changed again and again while they were read")


async def _ask_link(name: str) -> Link | None:
    """Return the present state of a link, None if there is none; raise `Interrupted` if it changed meanwhile."""
    link = find_link(name)
    try:
        return None if link is None else await _read(name, link)
    except Refused as error:
        if error.number == errno.ENODEV:
            return None
        raise


async def _read(name: str, link: LinkEntry) -> Link:
    taken_by, taken_kind = _taken(link)
    addresses, routes = await _addresses(link.index), await _routes(link.index)
    onlink: set[tuple[int, int]] = set()
    subnets = [(address.far, address.length) for address in addresses]
    subnets += [(route.destination, route.length) for route in routes if route.is_advertised]
    for address in addresses:
        has_peer = address.own != address.far
        onlink.update(_of_address(address.far, address.length))
        onlink.update(_of_address(address.own, 128 if has_peer else address.length))
    for route in routes:
        if route.length >= _WIDEST and b"" in route.routers and is_global(route.destination):
            onlink.add(_prefix(route.destination, route.length))
    defaults = [route for route in routes if not route.length]
    gateways = [(each, route.protocol) for route in defaults for each in route.routers if len(each) == 16]
    if not onlink and (gateways or not accepts_advertisements(link.name)):
        onlink.update(_of_unnumbered(link.index))
    return Link(
        name=name,
        device=link.name,
        index=link.index,
        lladdr=link.values.get(nl.IFLA_ADDRESS, b""),
        hardware_type=link.hardware_type,
        up=link.flags & _UP_AND_RUNNING == _UP_AND_RUNNING,
        forwarding=is_set(link.name, "forwarding"),
        addresses=frozenset(address.own for address in addresses),
        gateways=frozenset(gateway for gateway, _ in gateways),
        unproven=frozenset(address.own for address in addresses if _is_unproven(address.flags)),
        onlink=frozenset(onlink),
        taken_by=taken_by,
        taken_kind=taken_kind,
        ipv6_disabled=is_set(link.name, "disable_ipv6"),
        subnets=frozenset(_prefix(*each) for each in subnets if each[1] < 128 and not is_link_local(each[0])),
        static_gateways=frozenset(gateway for gateway, protocol in gateways if protocol != nl.RTPROT_RA),
    )


# Which interface takes the frames before a packet socket sees them


def _taken(link: LinkEntry) -> tuple[str, str]:
    """Return name and kind of what takes the frames of `link`; an empty kind if nothing does, no name for a tap."""
    kind = nl.text(link.info, nl.IFLA_INFO_SLAVE_KIND) or _UNNAMED
    if not link.master or kind in _LEAVE_FRAMES:
        return ("", link.kind) if link.kind in _TAPS else _on_top(link)
    master = find_link(link.master)
    return (master.name, kind) if master else ("", "")


def _on_top(link: LinkEntry) -> tuple[str, str]:
    """Return a macvlan in passthru mode: all unicast frames are its, and with them whatever an answer would attract."""
    try:
        entries = os.listdir(f"/sys/class/net/{link.name}")
    except OSError as error:
        if is_shortage(error):
            raise
        return "", ""
    for name in (each.removeprefix(_UPPER) for each in entries if each.startswith(_UPPER)):
        upper = find_link(name)
        if upper and upper.kind in _ON_TOP and nl.number(upper.values, nl.IFLA_LINK) == link.index:
            data = dict(nl.attributes(upper.info.get(nl.IFLA_INFO_DATA, b"")))
            if nl.number(data, nl.IFLA_MACVLAN_MODE) == nl.MACVLAN_MODE_PASSTHRU:
                return name, PASSTHRU
    return "", ""


# Addresses and routes


async def _addresses(index: int) -> list[_Address]:
    def read(message: memoryview) -> _Address:
        _, length, flags, _, _ = nl.head(message, nl.IFADDRMSG)
        values = nl.values_of(message, nl.IFADDRMSG)
        far = values[nl.IFA_ADDRESS]
        return _Address(values.get(nl.IFA_LOCAL, far), far, length, flags)

    return await dump(read, nl.RTM_GETADDR, nl.IFADDRMSG.pack(socket.AF_INET6, 0, 0, 0, index), whole=True)


async def _routes(index: int) -> list[_Route]:
    def read(message: memoryview) -> _Route | None:
        _, length, _, _, _, protocol, _, _, flags = nl.head(message, nl.RTMSG)
        values = nl.values_of(message, nl.RTMSG)
        hops = (hop for its_index, _, hop in nl.next_hops(values, flags) if its_index == index)
        routers = tuple(hop.get(nl.RTA_GATEWAY) or hop.get(nl.RTA_VIA, b"") for hop in hops)
        # The kernel, or a manager in its place, has such a route because a subnet is on the link. A longer one is not
        # believed: a made-up router advertisement can name any, and would choose which targets are excluded
        on_link = protocol in (nl.RTPROT_KERNEL, nl.RTPROT_RA) and nl.RTA_GATEWAY not in values
        is_advertised = on_link and 0 < length <= _SUBNET
        if length and not is_advertised and b"" not in routers:  # a router has many others
            return None
        return _Route(values.get(nl.RTA_DST, bytes(16)), length, protocol, is_advertised, routers)

    body = nl.rtmsg(kind=nl.RTN_UNICAST)
    return await dump(read, nl.RTM_GETROUTE, body, nl.attribute(nl.RTA_OIF, index), whole=True)


def _is_unproven(flags: int) -> bool:
    """Tell whether duplicate address detection has not succeeded; an optimistic address may be used (RFC 4429)."""
    return bool(flags & nl.IFA_F_DADFAILED or (flags & nl.IFA_F_TENTATIVE and not flags & nl.IFA_F_OPTIMISTIC))


def _of_address(address: bytes, length: int) -> Iterator[tuple[int, int]]:
    """Yield the prefix that an address of the uplink shows to be on-link."""
    if is_global(address) and length >= _WIDEST:
        yield _prefix(address, min(length, _SUBNET))


def _of_unnumbered(index: int) -> list[tuple[int, int]]:
    """Return what may belong to the link `index`, which has neither an address nor a connected route.

    That is the /64 of the global address that the kernel would send from to hosts beyond. A host without any shows
    nothing at all: then every global address may, and no private one.
    """

    def read(route: memoryview) -> bytes | None:
        return nl.values_of(route, nl.RTMSG).get(nl.RTA_PREFSRC)

    elsewhere = nl.attribute(nl.RTA_DST, _ELSEWHERE), nl.attribute(nl.RTA_OIF, index)
    try:
        source = get(read, nl.RTM_GETROUTE, nl.rtmsg(128), *elsewhere)
    except Refused:  # no such route now
        return [_GLOBAL]
    if source is None or not is_global(source) or is_unique_local(source):
        return [_GLOBAL]  # a private address is nobody's name outside
    return list(_of_address(source, 128))


def _prefix(address: bytes, length: int) -> tuple[int, int]:
    shift = 128 - length
    return int.from_bytes(address, "big") >> shift << shift, length
