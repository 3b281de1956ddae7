"""The named places add up to a frame without gap or overlap, and name what `struct` finds there."""

import pytest
from frames import ROUTER, ROUTER_LLADDR, TARGET, lladdr, packed, solicitation, solicited_node

from ndpresponder.wire import layout

FRAME = solicitation(reserved=b"\xaa\xbb\xcc\xdd", checksum=0x1234, hop_limit=254, code=9)


@pytest.mark.parametrize(
    ("expected", "name"),
    [
        (b"\x33\x33\xff\x00\x00\xc1", "ETHERNET_DESTINATION"),
        (lladdr(ROUTER_LLADDR), "ETHERNET_SOURCE"),
        (b"\x86\xdd", "ETHER_TYPE"),
        (0x60, "VERSION"),
        (b"\x00\x20", "PAYLOAD_LENGTH"),
        (58, "NEXT_HEADER"),
        (254, "HOP_LIMIT"),
        (packed(ROUTER), "SOURCE"),
        (solicited_node(TARGET), "DESTINATION"),
        (135, "ICMP_TYPE"),
        (9, "ICMP_CODE"),
        (b"\x12\x34", "CHECKSUM"),
        (b"\xaa\xbb\xcc\xdd", "FLAGS"),
        (packed(TARGET), "TARGET"),
        (FRAME[6:38], "REQUESTER"),
    ],
)
def test_a_place_holds_its_field(expected: bytes | int, name: str) -> None:
    assert FRAME[getattr(layout, name)] == expected


def test_headers_end_where_the_next_thing_starts() -> None:
    assert layout.ICMP == layout.DESTINATION.stop == layout.ICMP_TYPE == 14 + 40
    assert layout.OPTIONS == layout.TARGET.stop == layout.ICMP + layout.SOLICITATION_HEADER
    assert layout.OPTIONS + 8 == layout.ADVERTISEMENT_LENGTH
