"""What a solicitation asks for, and the options it carries."""

import pytest
from frames import ROUTER_LLADDR, TARGET, lladdr, option, solicitation

from ndpresponder.outcome import Kind, Outcome
from ndpresponder.wire.layout import SOURCE_LLADDR_OPTION
from ndpresponder.wire.solicitation import kind_of, lladdr_option

SLLA = option(1, ROUTER_LLADDR)
OTHER = option(1, "02:00:00:00:00:03")
NONCE = option(14, b"\x01\x02\x03\x04\x05\x06")


@pytest.mark.parametrize(
    ("kind", "frame"),
    [
        (Kind.MULTICAST, solicitation()),
        (Kind.UNICAST, solicitation(destination=TARGET)),
        (Kind.DAD, solicitation(source="::")),
        (Kind.DAD, solicitation(source="::", destination=TARGET)),
        (Kind.MULTICAST, solicitation(checksum=0)),
        (Kind.MULTICAST, solicitation()[:20]),
        (Kind.UNICAST, solicitation(destination=TARGET)[:20]),
    ],
)
def test_the_kind_of_a_frame_is_told_by_its_addresses_alone(kind: Kind, frame: bytes) -> None:
    assert kind_of(frame) is kind


@pytest.mark.parametrize("length", range(90))
def test_a_frame_of_any_length_has_a_kind(length: int) -> None:
    assert kind_of(solicitation()[:length]) in Kind


@pytest.mark.parametrize(
    ("expected", "options"),
    [
        pytest.param(None, b"", id="none"),
        pytest.param(lladdr(ROUTER_LLADDR), SLLA, id="one"),
        pytest.param(lladdr(ROUTER_LLADDR), SLLA + OTHER, id="two, of which the first counts"),
        pytest.param(lladdr(ROUTER_LLADDR), NONCE + SLLA, id="after a nonce"),
        pytest.param(lladdr(ROUTER_LLADDR), SLLA + NONCE, id="before a nonce"),
        pytest.param(lladdr(ROUTER_LLADDR), option(0, bytes(30)) + SLLA, id="after an option of type 0"),
        pytest.param(None, option(255, bytes(2038)), id="the longest unknown option"),
        pytest.param(None, option(2, ROUTER_LLADDR), id="the target's, which is another option"),
        pytest.param(bytes(6), option(1, bytes(6)), id="zero, which the responder judges"),
        pytest.param(Outcome.BAD_OPTION, b"\x01", id="a type and no length"),
        pytest.param(Outcome.BAD_OPTION, b"\x01\x00", id="length 0"),
        pytest.param(Outcome.BAD_OPTION, SLLA + bytes(8), id="length 0 behind a good one"),
        pytest.param(Outcome.BAD_OPTION, SLLA + b"\x0e", id="one octet behind a good one"),
        pytest.param(Outcome.BAD_OPTION, SLLA[:7], id="past the end by one octet"),
        pytest.param(Outcome.BAD_OPTION, b"\xfd\xff" + bytes(100), id="an unknown one past the end"),
        pytest.param(Outcome.BAD_SLLA_LENGTH, option(1, bytes(14)), id="16 octets long"),
        pytest.param(Outcome.BAD_SLLA_LENGTH, SLLA + option(1, bytes(14)), id="the second one 16 octets long"),
    ],
)
def test_source_link_layer_address(expected: bytes | Outcome | None, options: bytes) -> None:
    assert lladdr_option(options, SOURCE_LLADDR_OPTION) == expected
