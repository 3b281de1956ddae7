"""Ask the kernel where it would forward a packet, as it would for one that comes in by the uplink.

Policy rules (`iif`, VRF) and routes for some source addresses only count then; asked without an input interface the
kernel tells where a packet of this host's own would go. Nothing here waits: an answer comes within the call.
"""

import contextlib
import errno
import socket
import struct
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink import layout as nl
from ndpresponder.linux.netlink.asking import Refused, answer, messages, open_socket, request, translated

SOMEBODY: Final = bytes.fromhex("2000" + "00" * 13 + "01")  # a sender of packets: any host beyond the router

# linux/xfrm.h
_NEWPOLICY, _GETPOLICY = 0x13, 0x15
_SELECTOR: Final = struct.Struct("=16s16s8xHBB")  # destination, source, ports, family, lengths of both
_POLICY_LENGTH, _DIRECTION = 168, 160
_OUT: Final = 1  # forwarded packets pass these policies as well
_XFRMA_TMPL: Final = 5  # without a template a policy lets packets pass as they are, or drops them
_ANSWER: Final = 32768
_MAX_MESSAGES: Final = 64
_KEPT_S: Final = 1.0

_Destinations = frozenset[tuple[int, int]]


class Way(NamedTuple):
    """Where packets for a target go."""

    link: int = 0  # the index of the interface that they leave by; 0: they do not leave
    gateway: bytes = b""  # the router on that link that they go to; none: to the target itself
    local: bool = False  # the target is this host's own address
    missing: bool = False  # there is no route; else, without a link, somebody made it unreachable on purpose


class Forwarding:
    """A socket to ask with."""

    def __init__(self) -> None:
        with translated():
            self._socket = open_socket()
        self.close = self._socket.close
        self._sequence = 0

    def way(self, target: bytes, uplink: int) -> Way:
        """Return where packets for `target` go that come in by the interface `uplink`; 0: that begin here."""
        arguments = nl.attribute(nl.RTA_DST, target)
        if uplink:
            arguments += nl.attribute(nl.RTA_SRC, SOMEBODY) + nl.attribute(nl.RTA_IIF, uplink)
        try:
            route = self._ask(nl.RTM_GETROUTE, nl.rtmsg(128, 128 if uplink else 0), arguments)
        except Refused as error:
            if error.number in (errno.ENOMEM, errno.ENOBUFS):
                raise
            return Way(missing=error.number in (errno.ENETUNREACH, errno.ENODEV))
        kind = nl.head(route, nl.RTMSG)[7]
        if kind != nl.RTN_UNICAST:
            return Way(local=kind == nl.RTN_LOCAL)
        found = nl.values_of(route, nl.RTMSG)
        return Way(nl.number(found, nl.RTA_OIF), found.get(nl.RTA_GATEWAY, b"")) if nl.RTA_OIF in found else Way()

    def source(self, target: bytes, link: int) -> bytes | None:
        """Return which of its addresses this host would send from to `target`, by way of `link`; None without any."""
        try:
            arguments = nl.attribute(nl.RTA_DST, target) + nl.attribute(nl.RTA_OIF, link)
            route = self._ask(nl.RTM_GETROUTE, nl.rtmsg(128), arguments)
        except SourceUnavailable:
            return None
        return nl.values_of(route, nl.RTMSG).get(nl.RTA_PREFSRC)

    def neighbor_state(self, link: int, address: bytes) -> int:
        """Return the NUD_* state of the kernel's entry for a neighbor, 0 if there is none."""
        try:
            entry = self._ask(nl.RTM_GETNEIGH, nl.ndmsg(index=link), nl.attribute(nl.NDA_DST, address))
        except SourceUnavailable:
            return 0
        state: int = nl.head(entry, nl.NDMSG)[2]
        return state

    def _ask(self, kind: int, body: bytes, arguments: bytes) -> memoryview:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        with translated():
            self._socket.send(request(kind, 0, body, arguments, sequence=self._sequence))
            return answer(self._socket, self._sequence)


class IpsecPolicies:
    """The IPsec policies for packets that leave, read again when they are older than a second.

    Such packets leave by the uplink, encrypted, and yet their target is behind this host. Only CAP_NET_ADMIN may see
    the policies.
    """

    def __init__(self) -> None:
        self._destinations: _Destinations | None = None
        self._until_s = -_KEPT_S

    def takes(self, target: bytes) -> bool | None:
        """Tell whether a policy takes packets for `target`; None where the kernel does not say, or not to us."""
        if time.monotonic() >= self._until_s:
            self._destinations = _read_policies()
            self._until_s = time.monotonic() + _KEPT_S
        if self._destinations is None:
            return None
        value = int.from_bytes(target, "big")
        return any(value >> 128 - length == its >> 128 - length for its, length in self._destinations)


def _read_policies() -> _Destinations | None:
    found: set[tuple[int, int]] = set()
    with contextlib.suppress(OSError, SourceUnavailable), open_socket(nl.NETLINK_XFRM) as asked:
        asked.send(request(_GETPOLICY, nl.NLM_F_DUMP))
        for _ in range(_MAX_MESSAGES):
            for kind, message in messages(asked.recv(_ANSWER)):
                if kind == nl.NLMSG_ERROR:  # EPERM, or a kernel without IPsec
                    return None
                if kind == nl.NLMSG_DONE:
                    return frozenset(found)
                if kind == _NEWPOLICY:
                    with contextlib.suppress(struct.error, IndexError):
                        found.update(_destination(message))
        return frozenset(found)
    return None


def _destination(message: nl.Message) -> Iterator[tuple[int, int]]:
    """Yield the destinations of a policy that encrypts what leaves, unless they are all there is."""
    destination, _, family, length, _ = nl.head(message, _SELECTOR)
    leaves = message[nl.HEADER_LENGTH + _DIRECTION] == _OUT
    encrypts = _XFRMA_TMPL in dict(nl.attributes(message, nl.HEADER_LENGTH + _POLICY_LENGTH))
    if leaves and encrypts and family == socket.AF_INET6 and 0 < length <= 128:
        yield int.from_bytes(destination, "big"), length
