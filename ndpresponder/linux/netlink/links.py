"""What the kernel says of the uplinks: index, address, state, own addresses, default gateways."""

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pyroute2.netlink.exceptions import NetlinkError

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.interface import accepts_advertisements, forwarding, ipv6_disabled
from ndpresponder.linux.netlink import changes
from ndpresponder.linux.netlink.changes import Changes
from ndpresponder.linux.netlink.frame_takers import taken
from ndpresponder.linux.netlink.onlink import Onlink, leads_away, of_address, of_route, of_unnumbered
from ndpresponder.linux.netlink.requests import Interrupted, asking, is_error, packed
from ndpresponder.wire.addresses import is_link_local, subnet_router_anycast

# linux/rtnetlink.h, linux/neighbour.h, net/if.h, linux/if_arp.h
_GROUPS: Final = changes.LINK | changes.IPV6_ADDRESS | changes.IPV6_ROUTE | changes.IPV6_NETCONF
_ROUTE_EVENTS: Final = (24, 25)  # RTM_NEWROUTE, RTM_DELROUTE
_UNICAST: Final = 1  # RTN_UNICAST
# RTPROT_KERNEL, RTPROT_RA: routes by which the kernel, or a manager in its place, says that a prefix is on this link
_ON_LINK_PROTOCOLS: Final = (2, 9)
_SUBNET: Final = 64  # RFC 4291 2.5.4
_OF_ADVERTISEMENTS: Final = 9  # RTPROT_RA
_CONFIRMED: Final = 0x02 | 0x40 | 0x80  # NUD_REACHABLE | NUD_NOARP | NUD_PERMANENT
_UP_AND_RUNNING: Final = 0x1 | 0x40  # IFF_UP | IFF_RUNNING
_ARPHRD_ETHER: Final = 1
_OPTIMISTIC, _DADFAILED, _TENTATIVE = 0x04, 0x08, 0x40  # IFA_F_*
_ATTEMPTS: Final = 5

MAX_SERVED_GATEWAYS: Final = 16  # who sends router advertisements can make up any number


@dataclass(frozen=True, slots=True)
class Link:
    """One uplink as the kernel shows it."""

    name: str  # as configured; the kernel accepts an alternative name too
    device: str  # its present main name
    index: int
    lladdr: bytes
    hardware_type: int  # ARPHRD_*
    up: bool
    forwarding: bool
    addresses: frozenset[bytes]
    gateways: frozenset[bytes]
    unproven: frozenset[bytes] = frozenset()  # of the addresses, those that may be another host's (RFC 4862 5.4)
    onlink: Onlink = frozenset()  # the prefixes that are on-link here, see `onlink`
    taken_by: str = ""  # the interface that takes its frames before a packet socket sees them
    taken_kind: str = ""  # what that one is, such as bridge; empty: nothing takes them
    ipv6_disabled: bool = False
    subnets: frozenset[tuple[bytes, int]] = frozenset()  # of the addresses, and advertised: networks and lengths
    static_gateways: frozenset[bytes] = frozenset()  # of the gateways, those that no router advertisement brought
    longest_known: tuple[bytes, ...] = field(default=(), compare=False)  # gateways, in the order of their merits

    @property
    def anycast(self) -> frozenset[bytes]:
        """The addresses of the routers of the link's subnets: theirs to answer for, or the kernel's."""
        return frozenset(filter(None, (subnet_router_anycast(*prefix) for prefix in self.subnets)))

    @property
    def never(self) -> frozenset[bytes]:
        """What is never answered for here, whatever a source says."""
        return self.addresses | self.gateways | self.anycast

    @property
    def sources(self) -> frozenset[bytes]:
        """The addresses that may be sent from."""
        return self.addresses - self.unproven

    @property
    def ethernet(self) -> bool:
        """Whether neighbor discovery by Ethernet addresses takes place here at all."""
        return self.hardware_type == _ARPHRD_ETHER

    @property
    def hears(self) -> bool:
        """Whether frames that arrive reach a packet socket."""
        return not self.taken_kind

    @property
    def served_gateways(self) -> list[bytes]:
        """The gateways to keep in touch with: static ones first, which nobody can make up, then the longest known."""
        places = {gateway: place for place, gateway in enumerate(self.longest_known)}
        last = len(places)
        ordered = sorted(
            self.gateways, key=lambda each: (each not in self.static_gateways, places.get(each, last), each)
        )
        return ordered[:MAX_SERVED_GATEWAYS]


Links = Mapping[str, Link | None]


class LinkWatcher:
    """Publishes the state of the named uplinks, None for one that does not exist, whenever it changes."""

    def __init__(
        self, names: Iterable[str], publish: Callable[[Links], None], buffer: int = changes.RECEIVE_BUFFER
    ) -> None:
        """Watch `names`; `buffer` is the receive buffer for events asked for, in octets."""
        self._names = tuple(names)
        self._publish = publish
        self._changes = Changes(_GROUPS, self._matters, buffer)
        self._links: Links | None = None

    @property
    def overruns(self) -> int:
        """How often the kernel had to drop events because nobody had read them yet."""
        return self._changes.overruns

    def forget(self) -> None:
        """Publish after the next change whatever it finds: somebody knows that the links are not what they were."""
        self._links = None

    async def run(self) -> None:
        """Follow the uplinks until cancelled.

        Raises:
            SourceUnavailable: netlink failed; run again.
        """
        await self._changes.follow(self._ask)

    def _matters(self, event: bytes) -> bool:
        links = self._links
        return links is None or _matters(event, {link.index for link in links.values() if link})

    async def _ask(self) -> None:
        with contextlib.suppress(Interrupted):
            async with asking() as netlink:
                links = {name: await _ask_link(netlink, name) for name in self._names}
            if links != self._links:
                self._publish(links)  # which may fail: then once more
                self._links = links


async def ask_links(names: Collection[str]) -> Links:
    """Return the present state of the named links, None for one that does not exist.

    Raises:
        SourceUnavailable: the kernel cannot be asked now.
    """
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(Interrupted):
            async with asking() as netlink:
                return {name: await _ask_link(netlink, name) for name in names}
    raise SourceUnavailable("netlink: the links changed again and again while they were read")


async def is_reachable(index: int, address: bytes) -> bool:
    """Tell whether the kernel's neighbor entry for `address` on the link `index` is confirmed or permanent.

    Raises:
        SourceUnavailable: the kernel cannot be asked now.
    """
    async with asking() as netlink:
        text = socket.inet_ntop(socket.AF_INET6, address)
        try:
            entries = await netlink.neigh("get", family=socket.AF_INET6, ifindex=index, dst=text)
        except NetlinkError as error:
            if is_error(error, errno.ENOENT, errno.ENODEV):
                return False
            raise
        return any(entry["state"] & _CONFIRMED for entry in entries)


def _matters(event: bytes, uplinks: Collection[int]) -> bool:
    """Tell whether `event` can concern an uplink: default routes do, and those without a router there; others do not.

    A router has many others.
    """
    if len(event) < 18:
        return True
    (kind,) = struct.unpack_from("=H", event, 4)
    destination_length = event[17]
    return kind not in _ROUTE_EVENTS or destination_length == 0 or not leads_away(event, uplinks)


async def _ask_link(netlink: Any, name: str) -> Link | None:
    try:
        (link,) = await netlink.link("get", ifname=name)
        index = link["index"]
        taken_by, taken_kind = await taken(netlink, link)
        # dump_filter=None: the kernel alone selects. pyroute2 would let it dump all that the host has, and then take
        # multipath routes away because they have no one `oif`.
        addresses = await netlink.addr("dump", family=socket.AF_INET6, index=index, dump_filter=None)
        own: dict[bytes, Any] = {}
        onlink: set[tuple[int, int]] = set()
        subnets: set[tuple[bytes, int]] = set()
        async for address in addresses:
            # with a peer, this is the address of that one, and ours stands elsewhere
            far, length = packed(address.get("address")), address["prefixlen"]
            ours = packed(local) if (local := address.get("local")) else far
            own[ours] = address.get("flags")
            onlink.update((*of_address(far, length), *of_address(ours, length if ours == far else 128)))
            subnets.add(_subnet(far, length))
        gateways: list[tuple[bytes, int]] = []
        async for route in await netlink.route(
            "dump", family=socket.AF_INET6, oif=index, type=_UNICAST, dump_filter=None
        ):
            gateways.extend(_gateways(route, index))
            onlink.update(of_route(route, index))
            if _is_advertised(route):
                subnets.add(_subnet(packed(route.get("dst")), route["dst_len"]))
        if not onlink and (gateways or not accepts_advertisements(link.get("ifname"))):
            onlink.update(await of_unnumbered(netlink, index))
    except NetlinkError as error:
        if is_error(error, errno.ENODEV):
            return None
        raise
    device = link.get("ifname")
    lladdr = link.get("address") or ""
    return Link(
        name=name,
        device=device,
        index=index,
        lladdr=bytes.fromhex(lladdr.replace(":", "")),
        hardware_type=link["ifi_type"],
        up=link["flags"] & _UP_AND_RUNNING == _UP_AND_RUNNING,
        forwarding=forwarding(device),
        addresses=frozenset(own),
        gateways=frozenset(gateway for gateway, _ in gateways),
        unproven=frozenset(address for address, flags in own.items() if _is_unproven(flags)),
        onlink=frozenset(onlink),
        taken_by=taken_by,
        taken_kind=taken_kind,
        ipv6_disabled=ipv6_disabled(device),
        subnets=frozenset(subnet for subnet in subnets if subnet[1] < 128 and not is_link_local(subnet[0])),
        static_gateways=frozenset(gateway for gateway, protocol in gateways if protocol != _OF_ADVERTISEMENTS),
    )


def _subnet(address: bytes, length: int) -> tuple[bytes, int]:
    """Return the network of an address, and its length."""
    host_bits = 128 - length
    return (int.from_bytes(address, "big") >> host_bits << host_bits).to_bytes(16, "big"), length


def _is_advertised(route: Any) -> bool:
    """Tell whether the kernel, or a manager in its place, has a route because a subnet is on the link.

    A longer one than that of a subnet is not believed: a stranger's router advertisement can make up any, and would
    choose which targets are excluded.
    """
    on_link = route["proto"] in _ON_LINK_PROTOCOLS and not route.get("gateway")
    return on_link and 0 < route["dst_len"] <= _SUBNET


def _is_unproven(flags: int) -> bool:
    """Tell whether duplicate address detection has not succeeded; an optimistic address may be used (RFC 4429)."""
    return bool(flags & _DADFAILED or (flags & _TENTATIVE and not flags & _OPTIMISTIC))


def _gateways(route: Any, index: int) -> Iterable[tuple[bytes, int]]:
    """Yield the next hops of a default route by way of the link `index`, and who made the route."""
    if route["dst_len"]:
        return
    for hop in route.get("multipath") or (route,):
        gateway = hop.get("gateway")
        if gateway and hop.get("oif") == index:
            yield packed(gateway), route["proto"]
