"""What the kernel says of a WireGuard interface: its octets as they come, one peer in parts, and its refusal."""

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, Self

import pytest
from frames import packed
from pyroute2.netlink.exceptions import NetlinkError

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink import wireguard
from ndpresponder.linux.netlink.layout import attribute
from ndpresponder.linux.wireguard_uapi import Peer

NOW_S = 1_800_000_000
FAMILY_ID, NESTED = 30, 0x8000
FIRST, SECOND = bytes(range(32)), bytes(range(32, 64))
FOUR = (socket.AF_INET, socket.inet_aton("192.168.4.4"), 32)
SIX = (socket.AF_INET6, packed("2001:db8::c1"), 128)
WIDER = (socket.AF_INET6, packed("2001:db8:5::"), 64)


def device(*peers: bytes) -> bytes:
    """Return one message of the answer: nlmsghdr, genlmsghdr, the interface, a part of its peers."""
    listed = b"".join(attribute(NESTED, each) for each in peers)
    body = struct.pack("=BBH", 0, 1, 0)
    body += attribute(1, struct.pack("=I", 7)) + attribute(2, b"wg0\0") + attribute(3, bytes([0xEE]) * 32)
    body += attribute(6, struct.pack("=H", 5000)) + attribute(NESTED | 8, listed)
    return struct.pack("=IHHII", 16 + len(body), FAMILY_ID, 2, 1, 0) + body


def peer(key: bytes, handshake_s: int | None, *allowed: tuple[int, bytes, int]) -> bytes:
    """Return a part of a peer; what goes on with an earlier part has no handshake."""
    octets = attribute(1, key)
    if handshake_s is not None:
        octets += attribute(2, bytes([0xEE]) * 32) + attribute(6, struct.pack("=qq", handshake_s, 3))
    entries = (
        attribute(1, struct.pack("=H", family)) + attribute(2, address) + attribute(3, bytes([length]))
        for family, address, length in allowed
    )
    return octets + attribute(NESTED | 9, b"".join(attribute(NESTED, entry) for entry in entries))


class Kernel:
    """Stands in for the socket, since not every kernel has WireGuard: its octets are decoded as the socket would."""

    prid = FAMILY_ID

    def __init__(self, *answers: bytes | NetlinkError) -> None:
        self.marshal = SimpleNamespace(msg_map={})
        self._answers = answers

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def setup_endpoint(self) -> None:
        pass

    async def info(self, name: str) -> AsyncIterator[Any]:
        assert name == "wg0"
        return self._decoded()

    async def _decoded(self) -> AsyncIterator[Any]:
        for answer in self._answers:
            if isinstance(answer, NetlinkError):
                raise answer
            message = self.marshal.msg_map[self.prid](answer)
            message.decode()
            yield message


def ask(monkeypatch: pytest.MonkeyPatch, *answers: bytes | NetlinkError) -> list[Peer] | None:
    monkeypatch.setattr(wireguard, "_Netlink", lambda **_: Kernel(*answers))
    return asyncio.run(wireguard.peers("wg0"))


def test_a_peer_in_two_parts_is_one_with_all_its_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = device(peer(SECOND, 0, FOUR), peer(FIRST, NOW_S, FOUR, SIX)), device(peer(FIRST, None, WIDER, FOUR))
    assert ask(monkeypatch, *parts) == [Peer(0, ()), Peer(NOW_S, (SIX[1:], WIDER[1:]))]


def test_an_interface_without_peers_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(monkeypatch, device()) == []


def test_a_kernel_that_may_not_tell_us_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceUnavailable, match="wg0: only CAP_NET_ADMIN"):
        ask(monkeypatch, NetlinkError(errno.EPERM))


@pytest.mark.parametrize("number", [errno.ENODEV, errno.ENOENT, errno.EOPNOTSUPP])
def test_an_interface_that_is_not_the_kernels_is_none(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    assert ask(monkeypatch, NetlinkError(number)) is None
