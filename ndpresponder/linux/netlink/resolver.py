"""Finds out whether a target is behind this host: what the kernel knows, else a solicitation of our own downstream.

It goes past the kernel's neighbor table, which a scan could fill, and past what keeps a process from sending
datagrams (a firewall, IPAddressDeny= of systemd), so that CAP_NET_RAW is all it needs. Who is there is heard by its
advertisement; if the kernel knows the neighbor, that confirms the kernel's own entry as well. Nothing here waits: the
kernel's answers come within the call, in some 20 us.
"""

import contextlib
import fcntl
import socket
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink import changes
from ndpresponder.linux.netlink import layout as nl
from ndpresponder.linux.netlink.forwarding import Forwarding, IpsecPolicies
from ndpresponder.linux.packet.raw import attach_filter
from ndpresponder.wire.addresses import is_link_local
from ndpresponder.wire.advertisement import read_advertisement
from ndpresponder.wire.filters import ADVERTISEMENTS
from ndpresponder.wire.layout import ETH_P_IPV6
from ndpresponder.wire.solicitation import solicit

# linux/if_arp.h, net/if.h
_ARPHRD_ETHER: Final = 1
_SIOCGIFFLAGS, _IFF_NOARP = 0x8913, 0x80
_IFREQ: Final = struct.Struct("=16sH22x")  # name, flags
_PACKET_HOST: Final = 0

_RECEIVE_BUFFER: Final = 1 << 20
_EVENTS_PER_TURN: Final = 256
_ANSWER: Final = 4096
_SOMEBODY_THERE: Final = bytes.fromhex("fe80" + "00" * 6 + "ff" * 8)  # one that is solicited from a link-local address

_Indexes = Callable[[], Collection[int]]


class Neighbor(NamedTuple):
    """Who has to be there for a target to be: the target itself, or the router that leads to it."""

    link: int  # the index of the downstream interface
    address: bytes


class Unknown(NamedTuple):
    """The neighbors that must be asked, of which one has to be there."""

    sources: Mapping[Neighbor, bytes]  # what each is asked from on its link
    stale: bool = False  # the kernel knows it, but has not heard it lately
    unrouted: bool = False  # no route leads to it behind this host: it may be on each of the links that are followed


class Resolver:
    """Asks and hears."""

    def __init__(self, uplinks: _Indexes, uplink: int = 0, followed: _Indexes = tuple) -> None:
        """Open the sockets; `uplinks` returns the indexes of the interfaces behind which no target is.

        `uplink` is the one that packets come in by, 0 for packets of this host's own. On those that `followed` returns
        a target may be that has no route to it yet.
        """
        self._uplinks = uplinks
        self._uplink = uplink
        self._followed = followed
        self._policies = IpsecPolicies()
        with contextlib.ExitStack() as stack:
            self._kernel = stack.enter_context(contextlib.closing(Forwarding()))
            try:
                self._events = stack.enter_context(changes.open_events(changes.NEIGHBOR, _RECEIVE_BUFFER))
                self._sender = stack.enter_context(_socket())
                # On all links, since any may be downstream; a socket with its protocol is bound to all from the start
                self._listener = stack.enter_context(_socket(socket.htons(ETH_P_IPV6)))
                attach_filter(self._listener, ADVERTISEMENTS)
                with contextlib.suppress(BlockingIOError):
                    while True:  # drop the frames that came before the filter
                        self._listener.recv(1)
            except OSError as error:
                raise SourceUnavailable(f"cannot verify targets: {error.strerror}") from error
            self.close = stack.pop_all().close

    def sockets(self) -> tuple[socket.socket, socket.socket]:
        """Return the sockets that become readable when `heard` has something."""
        return self._events, self._listener

    def look(self, target: bytes) -> Unknown | bool:
        """Return whether `target` is behind this host as far as the kernel knows, or which neighbor to ask."""
        try:
            way = self._kernel.way(target, self._uplink)
        except SourceUnavailable:
            return False
        if way.link and way.link not in self._uplinks():
            neighbor = Neighbor(way.link, way.gateway or target)
            state = self._kernel.neighbor_state(*neighbor)
            if state & nl.CONFIRMED:
                return True
            source = self._source(neighbor)
            return Unknown({neighbor: source}, bool(state & nl.STALE)) if source else False
        if way.local or not (way.link or way.missing):
            return way.local
        if way.link and self._policies.takes(target):  # it leaves encrypted: there is nobody to ask
            return True
        # Without a route, it may be on each link that is followed
        neighbors = [Neighbor(link, target) for link in self._followed() if link not in self._uplinks()]
        sources = {neighbor: source for neighbor in neighbors if (source := self._source(neighbor))}
        return Unknown(sources, unrouted=True) if sources else False

    def _source(self, neighbor: Neighbor) -> bytes | None:
        """Return what to ask from: a link-local address, as the kernel does for what it forwards, if the link has one.

        Who lives on a link without a global address of ours may have no way back to any other.
        """
        source = self._kernel.source(_SOMEBODY_THERE, neighbor.link)
        if source is not None and is_link_local(source):
            return source
        return self._kernel.source(neighbor.address, neighbor.link) or self._kernel.source(neighbor.address, 0)

    def ask(self, unknown: Unknown) -> bool:
        """Solicit the neighbors; return True where there are no link-layer addresses, and so nobody to ask."""
        nobody = [self._solicit(neighbor, source) for neighbor, source in unknown.sources.items()]
        return all(nobody) and not unknown.unrouted  # without a route, nobody to ask means nobody there

    def ask_neighbor(self, neighbor: Neighbor) -> None:
        """Solicit the neighbor that was found before."""
        if source := self._source(neighbor):
            self._solicit(neighbor, source)

    def _solicit(self, neighbor: Neighbor, source: bytes) -> bool:
        link, address = neighbor
        with contextlib.suppress(OSError):  # the link is gone or down: nobody will be heard
            name = socket.if_indextoname(link)
            self._sender.bind((name, 0))
            _, _, _, hardware_type, lladdr = self._sender.getsockname()
            flags: int = _IFREQ.unpack(fcntl.ioctl(self._sender, _SIOCGIFFLAGS, _IFREQ.pack(name.encode(), 0)))[1]
            if hardware_type != _ARPHRD_ETHER or flags & _IFF_NOARP:
                return True
            self._sender.send(solicit(lladdr, source, address))
        return False

    def heard(self) -> Iterator[tuple[Neighbor, int]]:
        """Yield what is news: a neighbor and its NUD_* state, 0 for one that the kernel has forgotten."""
        yield from self._advertised()
        yield from self._noticed()

    def _advertised(self) -> Iterator[tuple[Neighbor, int]]:
        uplinks = self._uplinks()
        for frame, (name, _, packet_type, _, _) in _received(self._listener):
            said = read_advertisement(frame) if packet_type == _PACKET_HOST else None
            if said is None:
                continue
            with contextlib.suppress(OSError):  # the link is gone
                link = socket.if_nametoindex(name)
                if link not in uplinks:
                    yield Neighbor(link, said.target), nl.NUD_REACHABLE

    def _noticed(self) -> Iterator[tuple[Neighbor, int]]:
        uplinks = self._uplinks()
        for event, _ in _received(self._events):
            if nl.kind_of(event) not in (nl.RTM_NEWNEIGH, nl.RTM_DELNEIGH):
                continue
            family, index, state, flags, _ = nl.head(event, nl.NDMSG)
            if family != socket.AF_INET6 or index in uplinks or flags & nl.NTF_PROXY:
                continue
            address = nl.values_of(event, nl.NDMSG).get(nl.NDA_DST)
            if address is not None:
                yield Neighbor(index, address), state if nl.kind_of(event) == nl.RTM_NEWNEIGH else 0


def _received(sock: socket.socket) -> Iterator[tuple[bytes, Any]]:
    for _ in range(_EVENTS_PER_TURN):
        try:
            yield sock.recvfrom(_ANSWER)
        except BlockingIOError:
            return
        except OSError:  # a link went down, or events were lost: the daemon solicits again what it waits for
            continue


def _socket(protocol: int = 0) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    return socket.socket(socket.AF_PACKET, kind, protocol)
