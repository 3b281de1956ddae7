"""Asks the kernel where it would forward a packet, as it would for one that comes in by the uplink.

Policy rules (`iif`, VRF) and routes for some source addresses only count then; asked without an input interface the
kernel tells where a packet of this host's own would go. Nothing here waits: an answer comes within the call, in some
20 us.
"""

import contextlib
import errno
import socket
import struct
from typing import Final, NamedTuple

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink.dump import HEADER_LENGTH, attribute, attributes, kind_of

# linux/netlink.h, linux/rtnetlink.h, linux/neighbour.h
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_RTMSG: Final = struct.Struct("=BBBBBBBBI")  # family, lengths, TOS, table, protocol, scope, type, flags
_NDMSG: Final = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_NEWROUTE, _GETROUTE, _NEWNEIGH, _GETNEIGH = 24, 26, 28, 30
_RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 2, 3, 4, 5, 7
_UNICAST, _LOCAL = 1, 2  # RTN_*
_NDA_DST: Final = 1
_REQUEST: Final = 1
_ERROR: Final = 2  # NLMSG_ERROR
_ANSWER: Final = 4096
SOMEBODY: Final = bytes.fromhex("2000" + "00" * 13 + "01")  # who sends the packet: any host beyond the router


class Way(NamedTuple):
    """Where packets for a target go."""

    link: int = 0  # the index of the interface that they leave by; 0: they do not leave
    gateway: bytes = b""  # the router on that link that they go to; none: to the target itself
    local: bool = False  # the target is this host's own address
    missing: bool = False  # there is no route; else, without a link, somebody made it unreachable on purpose
    unknown: bool = False  # the kernel did not answer, for want of memory say


_NO_ROUTE: Final = Way(missing=True)
_NOWHERE: Final = Way()
_UNKNOWN: Final = Way(unknown=True)


class Forwarding:
    """A socket to ask with."""

    def __init__(self) -> None:
        """Open it.

        Raises:
            SourceUnavailable: the system refuses it now.
        """
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        except OSError as error:
            raise SourceUnavailable(f"netlink: {error.strerror}") from error
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def way(self, target: bytes, uplink: int) -> Way:
        """Return where packets for `target` go that come in by the interface `uplink`; 0: that begin here."""
        arguments = attribute(_RTA_DST, target)
        length = 0
        if uplink:
            length = 128
            arguments += attribute(_RTA_SRC, SOMEBODY) + attribute(_RTA_IIF, struct.pack("=I", uplink))
        answer = self.question(_GETROUTE, _RTMSG.pack(socket.AF_INET6, 128, length, 0, 0, 0, 0, 0, 0), arguments)
        if answer is None:
            return _UNKNOWN
        if kind_of(answer) != _NEWROUTE:
            number = _refusal(answer)
            if number in (errno.ENOMEM, errno.ENOBUFS):
                return _UNKNOWN
            return _NO_ROUTE if number in (errno.ENETUNREACH, errno.ENODEV) else _NOWHERE
        kind = answer[HEADER_LENGTH + 7]
        if kind != _UNICAST:
            return Way(local=kind == _LOCAL)
        found = dict(attributes(answer, HEADER_LENGTH + _RTMSG.size))
        if _RTA_OIF not in found:
            return _NOWHERE
        (index,) = struct.unpack("=i", found[_RTA_OIF])
        return Way(index, found.get(_RTA_GATEWAY, b""))

    def source(self, target: bytes, link: int) -> bytes | None:
        """Return which of its addresses this host would send from to `target`, by way of `link`; None without any."""
        arguments = attribute(_RTA_DST, target) + attribute(_RTA_OIF, struct.pack("=I", link))
        answer = self.question(_GETROUTE, _RTMSG.pack(socket.AF_INET6, 128, 0, 0, 0, 0, 0, 0, 0), arguments)
        if answer is None or kind_of(answer) != _NEWROUTE:
            return None
        return dict(attributes(answer, HEADER_LENGTH + _RTMSG.size)).get(_RTA_PREFSRC)

    def neighbor_state(self, link: int, address: bytes) -> int:
        """Return the NUD_* state of the kernel's entry for a neighbor, 0 if there is none."""
        body = _NDMSG.pack(socket.AF_INET6, link, 0, 0, 0)
        answer = self.question(_GETNEIGH, body, attribute(_NDA_DST, address))
        if answer is None or kind_of(answer) != _NEWNEIGH:
            return 0
        state: int = _NDMSG.unpack_from(answer, HEADER_LENGTH)[2]
        return state

    def question(self, kind: int, body: bytes, argument: bytes) -> bytes | None:
        """Ask the kernel and return its one message, an error among them; None where it does not answer."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        length = HEADER_LENGTH + len(body) + len(argument)
        with contextlib.suppress(OSError):
            self._socket.send(_HEADER.pack(length, kind, _REQUEST, self._sequence, 0) + body + argument)
            while True:
                answer = self._socket.recv(_ANSWER)
                if _HEADER.unpack_from(answer)[3] == self._sequence:
                    return answer
        return None


def _refusal(answer: bytes) -> int:
    """Return the errno of an answer that is an error."""
    if kind_of(answer) != _ERROR:
        return errno.EPROTO
    number: int = struct.unpack_from("=i", answer, HEADER_LENGTH)[0]
    return -number
