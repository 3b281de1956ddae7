"""Any octets where the kernel should answer or tell of a change: routes, neighbors, or `SourceUnavailable`.

The kernel does not lie; yet what it may say is more than was foreseen, and a surprise must not end the daemon.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator
from unittest import mock

import loops
from octets import Octets, packet

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink import asking
from ndpresponder.linux.netlink.downstream import Downstream, ask_downstream
from ndpresponder.linux.netlink.layout import attribute, attributes
from ndpresponder.linux.netlink.routes import Route, Wanted, ask_routes, concerns

DATAGRAMS_MAX = 12
_WITHIN = ((0x20010DB8 << 96, 32), (0xFD << 120, 8))
_KNOWN = Downstream(7, True, "", frozenset(), {}, frozenset())


def check(octets: bytes) -> None:
    """Judge one event, or ask for routes or for what is behind a bridge, with these datagrams as the answer."""
    choices = Octets(octets)
    what = choices.byte() % 3
    wanted = Wanted(
        choices.pick((frozenset({254}), frozenset({254, 1000}))), choices.byte() % 129, _WITHIN[: choices.byte() % 3]
    )
    if what == 0:
        event = choices.rest()
        assert isinstance(concerns(event, wanted), Route | bool)
        assert _KNOWN.can_change_by(event, [b"up0"]) in (True, False)
        list(attributes(event))
        return
    datagrams = []
    while choices and len(datagrams) < DATAGRAMS_MAX:
        datagrams.append(choices.packet())
    loops.run(_routes(datagrams, wanted) if what == 1 else _behind_bridge(datagrams))


async def _routes(datagrams: list[bytes], wanted: Wanted) -> None:
    with _answered(datagrams), contextlib.suppress(SourceUnavailable):
        for route in await ask_routes(wanted):
            assert route.table in wanted.tables
            assert route.length >= max(1, wanted.shortest)


async def _behind_bridge(datagrams: list[bytes]) -> None:
    with _answered(datagrams), contextlib.suppress(SourceUnavailable):
        behind = await ask_downstream("br0", ["up0"])
        if behind is not None:
            assert all(len(address) == 16 for address in behind.neighbors)
            assert all(len(address) == 16 for address, _ in behind.addresses)


@contextlib.contextmanager
def _answered(datagrams: list[bytes]) -> Iterator[None]:
    """Let a socket with these datagrams take the kernel's place; each question has the next ones up to an empty one."""
    waiting = list(datagrams)

    def ask(*_: object) -> socket.socket:
        ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        with kernels:
            while waiting and (datagram := waiting.pop(0)):
                kernels.send(datagram)
        return ours

    with mock.patch.object(asking, "_ask", ask):
        yield


def message(kind: int, body: bytes, *values: bytes) -> bytes:
    octets = body + b"".join(values)
    return struct.pack("=IHHII", 16 + len(octets), kind, 2, 1, 0) + octets + bytes(-len(octets) % 4)


def route(length: int, destination: bytes, *values: bytes) -> bytes:
    head = struct.pack("=BBBBBBBBI", socket.AF_INET6, length, 0, 0, 254, 3, 0, 1, 0)
    return message(24, head, attribute(1, destination), *values)


def _neighbour(family: int, *values: bytes, state: int = 2) -> bytes:
    return message(28, struct.pack("=BxxxiHBB", family, 7, state, 0, 1), *values)


TARGET = (0x20010DB8 << 96 | 0xC1).to_bytes(16, "big")
_STATION = bytes((2, 0, 0, 0, 0, 5))
_DONE = message(3, bytes(4))
OIF = attribute(4, struct.pack("=i", 7))
_HOPS = attribute(9, struct.pack("=HBBi", 8, 0, 0, 7) + struct.pack("=HBBi", 8, 1, 0, 8))
_NAMED = attribute(3, b"br0\0"), attribute(18, attribute(1, b"bridge\0"))
BRIDGE = message(16, struct.pack("=BxHiII", 0, 1, 7, 1, 0), *_NAMED)
_ADDRESS = message(20, struct.pack("=BBBBI", socket.AF_INET6, 64, 0, 0, 7), attribute(1, TARGET), attribute(2, TARGET))
_NEIGHBOR = _neighbour(socket.AF_INET6, attribute(1, TARGET), attribute(2, _STATION))
_PORT = _neighbour(socket.AF_BRIDGE, attribute(2, _STATION), attribute(9, struct.pack("=I", 7)))
SEEDS = (
    b"\1\0\1\0" + packet(route(128, TARGET, OIF) + route(64, TARGET, _HOPS) + _DONE),
    b"\1\1\x40\1" + packet(route(64, TARGET, attribute(15, struct.pack("=I", 1000)), OIF)) + packet(_DONE),
    b"\1\0\0\0" + packet(message(2, struct.pack("=i", -2))),
    b"\2\0\0\0" + b"\0\0".join(map(packet, (BRIDGE, _ADDRESS + _DONE, _NEIGHBOR + _DONE, _PORT + _DONE, BRIDGE))),
    *(b"\0\0\1\0" + event for event in (_NEIGHBOR, _PORT, BRIDGE, _ADDRESS, route(128, TARGET, _HOPS))),
)
DICTIONARY = (*(struct.pack("=HH", *each) for each in ((20, 1), (10, 2), (8, 9), (4, 4))), _DONE)
