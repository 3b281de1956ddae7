"""Makes the kernel find out whether a target is behind this host, and hears what it finds. Needs CAP_NET_RAW alone.

The kernel resolves a neighbor it does not know when it has a packet for it: an empty datagram to the discard port, with
a hop limit of 1, is one. Of a neighbor it knows, but has not heard lately, it would take eight seconds to find out;
a solicitation of our own, answered, confirms the kernel's entry at once.

The questions are asked and answered within one call each, without waiting: some 20 us.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink import bell
from ndpresponder.linux.netlink.dump import HEADER_LENGTH, attribute, attributes, kind_of
from ndpresponder.wire.solicitation import solicit

# linux/netlink.h, linux/rtnetlink.h, linux/neighbour.h, linux/if_arp.h
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_RTMSG: Final = struct.Struct("=BBBBBBBBI")  # family, lengths, TOS, table, protocol, scope, type, flags
_NDMSG: Final = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_NEWROUTE, _GETROUTE, _NEWNEIGH, _DELNEIGH, _GETNEIGH = 24, 26, 28, 29, 30
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_UNICAST, _LOCAL = 1, 2  # RTN_*
_NDA_DST: Final = 1
_PROXY: Final = 0x08  # NTF_PROXY
_REQUEST: Final = 1
_ARPHRD_ETHER: Final = 1
_DISCARD_PORT: Final = 9

STALE: Final = 0x04 | 0x08 | 0x10  # NUD_STALE | NUD_DELAY | NUD_PROBE: known, but not heard lately
CONFIRMED: Final = 0x02 | 0x40 | 0x80  # NUD_REACHABLE | NUD_NOARP | NUD_PERMANENT
FAILED: Final = 0x20

_RECEIVE_BUFFER: Final = 1 << 20
_EVENTS_PER_TURN: Final = 256
_ANSWER: Final = 4096


class Neighbor(NamedTuple):
    """Who has to be there for a target to be: the target itself, or the router that leads to it."""

    link: int  # the index of the downstream interface
    address: bytes


class Unknown(NamedTuple):
    """A neighbor that must be asked."""

    neighbor: Neighbor
    source: bytes  # what the kernel would send from; b"" if it does not say
    stale: bool  # the kernel knows its link-layer address


class Resolver:
    """Asks and hears; `uplink` is the index of the interface behind which no target is."""

    def __init__(self, uplink: int) -> None:
        """Open the sockets.

        Raises:
            SourceUnavailable: the system refuses them now.
        """
        self._uplink = uplink
        self._sequence = 0
        with contextlib.ExitStack() as stack:
            try:
                self._questions = stack.enter_context(_socket(socket.AF_NETLINK, socket.SOCK_RAW))
                self._events = stack.enter_context(_socket(socket.AF_NETLINK, socket.SOCK_RAW))
                self._events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
                self._events.bind((0, bell.NEIGHBOR))
                self._datagrams = stack.enter_context(_socket(socket.AF_INET6, socket.SOCK_DGRAM))
                self._datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 1)
                self._frames = stack.enter_context(_socket(socket.AF_PACKET, socket.SOCK_RAW))
            except OSError as error:
                raise SourceUnavailable(f"cannot verify targets: {error.strerror}") from error
            self._sockets = stack.pop_all()

    def close(self) -> None:
        """Close the sockets."""
        self._sockets.close()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the kernel has found out something."""
        return self._events.fileno()

    def look(self, target: bytes) -> Unknown | bool:
        """Return whether `target` is behind this host as far as the kernel knows, or whom to ask."""
        answer = self._question(
            _GETROUTE, _RTMSG.pack(socket.AF_INET6, 128, 0, 0, 0, 0, 0, 0, 0), attribute(_RTA_DST, target)
        )
        if answer is None or kind_of(answer) != _NEWROUTE:
            return False
        kind = answer[HEADER_LENGTH + 7]
        if kind != _UNICAST:
            return kind == _LOCAL
        found = dict(attributes(answer, HEADER_LENGTH + _RTMSG.size))
        (index,) = struct.unpack("=i", found[_RTA_OIF])
        if index == self._uplink:
            return False
        neighbor = Neighbor(index, found.get(_RTA_GATEWAY, target))
        state = self._state(neighbor)
        if state & CONFIRMED:
            return True
        return Unknown(neighbor, found.get(_RTA_PREFSRC, b""), bool(state & STALE))

    def ask(self, target: bytes, unknown: Unknown) -> bool:
        """Ask for `target`; return whether it is there, as far as nobody needs to be waited for."""
        if unknown.stale and unknown.source and self._solicit(unknown):
            return False
        with contextlib.suppress(OSError):  # no way there after all, or a firewall: then nobody will be heard
            self._datagrams.sendto(b"", (socket.inet_ntop(socket.AF_INET6, target), _DISCARD_PORT))
        return bool(self._state(unknown.neighbor) & CONFIRMED)  # where no link-layer addresses are

    def heard(self) -> Iterator[tuple[Neighbor, int]]:
        """Yield what the kernel has found out: a neighbor and its NUD_* state, 0 for one it has forgotten."""
        for _ in range(_EVENTS_PER_TURN):
            try:
                event = self._events.recv(_ANSWER)
            except BlockingIOError:
                return
            except OSError:  # events were lost: who waits for them asks again
                continue
            if kind_of(event) not in (_NEWNEIGH, _DELNEIGH):
                continue
            family, index, state, flags, _ = _NDMSG.unpack_from(event, HEADER_LENGTH)
            if family != socket.AF_INET6 or index == self._uplink or flags & _PROXY:
                continue
            address = dict(attributes(event, HEADER_LENGTH + _NDMSG.size)).get(_NDA_DST)
            if address is not None:
                yield Neighbor(index, address), state if kind_of(event) == _NEWNEIGH else 0

    def _state(self, neighbor: Neighbor) -> int:
        body = _NDMSG.pack(socket.AF_INET6, neighbor.link, 0, 0, 0)
        answer = self._question(_GETNEIGH, body, attribute(_NDA_DST, neighbor.address))
        if answer is None or kind_of(answer) != _NEWNEIGH:
            return 0
        state: int = _NDMSG.unpack_from(answer, HEADER_LENGTH)[2]
        return state

    def _solicit(self, unknown: Unknown) -> bool:
        """Solicit a neighbor ourselves; return whether its interface is one where that is possible."""
        index, address = unknown.neighbor
        with contextlib.suppress(OSError):
            self._frames.bind((socket.if_indextoname(index), 0))
            _, _, _, hardware_type, lladdr = self._frames.getsockname()
            if hardware_type == _ARPHRD_ETHER:
                self._frames.send(solicit(lladdr, unknown.source, address))
                return True
        return False

    def _question(self, kind: int, body: bytes, argument: bytes) -> bytes | None:
        """Ask the kernel and return its one message, an error among them."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        length = HEADER_LENGTH + len(body) + len(argument)
        with contextlib.suppress(OSError):
            self._questions.send(_HEADER.pack(length, kind, _REQUEST, self._sequence, 0) + body + argument)
            while True:
                answer = self._questions.recv(_ANSWER)
                if _HEADER.unpack_from(answer)[3] == self._sequence:
                    return answer
        return None


def _socket(family: int, kind: int) -> socket.socket:
    return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
