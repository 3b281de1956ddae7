"""Each input that ever failed, by what was wrong with it, at the subject that it was found for."""

import struct
from collections.abc import Iterator

import loops
import pytest
from fuzz import subject
from octets import packet
from of_netlink import BRIDGE, OIF, TARGET, message, route

from ndpresponder.linux.netlink.layout import attribute

ROUTES, BEHIND_BRIDGE, EVENT = b"\1\0\1\0", b"\2\0\0\0", b"\0\0\1\0"
CRASHERS = {
    "an errno that is none": (
        "netlink",
        BEHIND_BRIDGE + packet(BRIDGE) + packet(message(3, struct.pack("=i", -(2**31)))),
    ),
    "a message that claims more than there is": ("netlink", ROUTES + packet(message(24, bytes(12))[:20])),
    "a message without any length": ("netlink", ROUTES + packet(bytes(64))),
    "an end without a result": ("netlink", ROUTES + packet(message(3, b""))),
    "an answer of no octets": ("netlink", ROUTES),
    "a route without its fixed part": ("netlink", ROUTES + packet(message(24, bytes(4)))),
    "an index of one octet": ("netlink", ROUTES + packet(route(128, TARGET, attribute(4, b"\1")))),
    "an index of one octet in an event": ("netlink", EVENT + route(128, TARGET, attribute(6, b"\1"))),
    "a destination of no octets": ("netlink", ROUTES + packet(route(128, b"", OIF))),
    "a prefix longer than an address": ("netlink", ROUTES + packet(route(129, TARGET, OIF))),
    "a bridge with a negative index": (
        "netlink",
        BEHIND_BRIDGE + packet(BRIDGE[:20] + struct.pack("=i", -7) + BRIDGE[24:]),
    ),
    "a WireGuard program's errno that is none": ("wireguard", b"errno=99999999999999999999\n\n"),
}


@pytest.fixture(autouse=True, scope="module")
def loop() -> Iterator[None]:
    yield
    loops.close()


@pytest.mark.parametrize(("name", "octets"), CRASHERS.values(), ids=CRASHERS)
def test_what_once_failed_ends_well(name: str, octets: bytes) -> None:
    subject(name).check(octets)
