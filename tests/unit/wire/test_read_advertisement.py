"""What an advertisement of somebody else says, and that a wrong one says nothing (RFC 4861 7.1.2)."""

import pytest
from frames import ROUTER_LLADDR, UPLINK_LLADDR, advertisement, lladdr, packed, tagged
from hypothesis import given
from hypothesis import strategies as st

from ndpresponder.wire.advertisement import Received, read_advertisement

GATEWAY, OWN = "2001:db8::1", "2001:db8::2"
TO_US = {"ethernet_source": ROUTER_LLADDR, "ethernet_destination": UPLINK_LLADDR}
ANSWER = advertisement(GATEWAY, OWN, **TO_US)
SAID = Received(packed(GATEWAY), lladdr(ROUTER_LLADDR), packed(OWN), True)


def changed(position: int, *octets: int) -> bytes:
    return ANSWER[:position] + bytes(octets) + ANSWER[position + len(octets) :]


def test_a_solicited_answer_is_heard() -> None:
    assert read_advertisement(ANSWER) == SAID


def test_an_advertisement_to_all_nodes_is_heard_as_unsolicited() -> None:
    frame = advertisement(GATEWAY, "ff02::1", solicited=False, ethernet_source=ROUTER_LLADDR)
    assert read_advertisement(frame) == SAID._replace(destination=packed("ff02::1"), solicited=False)


def test_padding_is_not_read() -> None:
    assert read_advertisement(ANSWER + b"\x02\x01\xff\xff") == SAID


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        ANSWER[:77],
        ANSWER[:-1],
        tagged(ANSWER, 5),
        changed(14, 0x40),
        changed(20, 17),
        changed(21, 254),
        changed(18, 0, 16),
        changed(54, 135),
        changed(55, 1),
        changed(56, 0, 0),
        changed(79, 0),
        changed(85, 0xFF),
        advertisement("ff02::5", OWN, **TO_US),
        advertisement(GATEWAY, "ff02::1", ethernet_source=ROUTER_LLADDR),
        advertisement(GATEWAY, OWN, ethernet_source="33:33:00:00:00:01"),
        advertisement(GATEWAY, OWN, ethernet_source="00:00:00:00:00:00"),
    ],
    ids=[
        "empty",
        "no header",
        "cut",
        "tagged",
        "version 4",
        "not ICMPv6",
        "forwarded",
        "short",
        "solicitation",
        "code",
        "no checksum",
        "option of length 0",
        "wrong checksum",
        "multicast target",
        "solicited to all",
        "multicast lladdr",
        "no lladdr",
    ],
)
def test_a_wrong_advertisement_says_nothing(frame: bytes) -> None:
    assert read_advertisement(frame) is None


@given(st.binary(max_size=120), st.integers(0, 86))
def test_no_bytes_raise(noise: bytes, kept: int) -> None:
    read_advertisement(noise)
    read_advertisement(ANSWER[:kept] + noise)
