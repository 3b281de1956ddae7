"""Which packets an IPsec policy takes: they leave by the uplink, encrypted, and are behind this host all the same.

Only CAP_NET_ADMIN may see the policies. Without it nothing is known, which `takes` says.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Final

from ndpresponder.linux.netlink.dump import HEADER_LENGTH, attributes

# linux/netlink.h, linux/xfrm.h
_NETLINK_XFRM: Final = 6
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST, _DUMP, _ERROR, _DONE = 0x1, 0x300, 2, 3
_NEWPOLICY, _GETPOLICY = 0x13, 0x15
_SELECTOR: Final = struct.Struct("=16s16s8xHBB")  # destination, source, ports, family, lengths of both
_POLICY_LENGTH, _DIRECTION = 168, 160
_OUT: Final = 1  # what is forwarded passes these as well
_XFRMA_TMPL: Final = 5  # without a template a policy lets pass as it is, or drops
_ANSWER: Final = 32768
_MAX_MESSAGES: Final = 64
_KEPT_S: Final = 1.0

_Destinations = frozenset[tuple[int, int]]


class IpsecPolicies:
    """The policies for what leaves, read again when they are older than a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._destinations: _Destinations | None = None
        self._until_s = -_KEPT_S

    def takes(self, target: bytes) -> bool | None:
        """Tell whether a policy takes packets for `target`; None where the kernel does not say, or not to us."""
        if self._clock() >= self._until_s:
            self._destinations = _read()
            self._until_s = self._clock() + _KEPT_S
        if self._destinations is None:
            return None
        value = int.from_bytes(target, "big")
        return any(value >> 128 - length == its >> 128 - length for its, length in self._destinations)


def _read() -> _Destinations | None:
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _NETLINK_XFRM
        ) as asked:
            asked.send(_HEADER.pack(HEADER_LENGTH, _GETPOLICY, _REQUEST | _DUMP, 1, 0))
            return frozenset(_answers(asked))
    except OSError:  # EPERM, or a kernel without IPsec
        return None


def _answers(asked: socket.socket) -> Iterator[tuple[int, int]]:
    for _ in range(_MAX_MESSAGES):
        octets, offset = asked.recv(_ANSWER), 0
        while offset + HEADER_LENGTH <= len(octets):
            length, kind, _, _, _ = _HEADER.unpack_from(octets, offset)
            if kind == _DONE or length < HEADER_LENGTH:
                return
            message = octets[offset : offset + length]
            if kind == _ERROR:
                raise PermissionError
            if kind == _NEWPOLICY:
                with contextlib.suppress(struct.error, IndexError):
                    yield from _destination(message)
            offset += length + 3 & ~3


def _destination(message: bytes) -> Iterator[tuple[int, int]]:
    """Yield the destinations of a policy that encrypts what leaves, unless they are all there is."""
    destination, _, family, length, _ = _SELECTOR.unpack_from(message, HEADER_LENGTH)
    leaves = message[HEADER_LENGTH + _DIRECTION] == _OUT
    encrypts = _XFRMA_TMPL in dict(attributes(message, HEADER_LENGTH + _POLICY_LENGTH))
    if leaves and encrypts and family == socket.AF_INET6 and 0 < length <= 128:
        yield int.from_bytes(destination, "big"), length
