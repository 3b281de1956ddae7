"""A template filled with a target is the advertisement of RFC 4861 4.4, octet by octet."""

import pytest
from frames import ROUTER, ROUTER_LLADDR, UPLINK_LLADDR, advertisement, lladdr, packed

from ndpresponder.wire.advertisement import Body, Envelope, address, advertise, fill, prepare
from ndpresponder.wire.icmpv6 import word_sum
from ndpresponder.wire.layout import OVERRIDE_FLAG, ROUTER_FLAG, SOLICITED_FLAG

TARGETS = ["2001:db8::c1", "2001:db8::", "::2", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8:ffff:fffe::1"]


def template(flags: int = SOLICITED_FLAG) -> tuple[Envelope, Body]:
    envelope = address(lladdr(UPLINK_LLADDR), lladdr(ROUTER_LLADDR), packed(ROUTER), word_sum(packed(ROUTER)))
    return envelope, prepare(lladdr(UPLINK_LLADDR), flags)


def filled(prepared: tuple[Envelope, Body], target: str) -> bytes:
    return fill(*prepared, packed(target), word_sum(packed(target)))


@pytest.mark.parametrize("target", TARGETS)
def test_the_target_is_source_and_target(target: str) -> None:
    assert filled(template(), target) == advertisement(target)


@pytest.mark.parametrize("router", [False, True])
@pytest.mark.parametrize("solicited", [False, True])
@pytest.mark.parametrize("override", [False, True])
def test_each_flag_is_its_own_bit(router: bool, solicited: bool, override: bool) -> None:
    flags = router * ROUTER_FLAG | solicited * SOLICITED_FLAG | override * OVERRIDE_FLAG
    expected = advertisement(router=router, solicited=solicited, override=override)
    assert filled(template(flags), "2001:db8::c1") == expected


def test_a_template_is_filled_any_number_of_times() -> None:
    prepared = template()
    assert [filled(prepared, target) for target in TARGETS * 2] == [advertisement(target) for target in TARGETS * 2]


def test_a_checksum_of_zero_is_written_as_zero() -> None:
    with_zero_word = int.from_bytes(filled(template(), "2001:db8::")[56:58], "big")
    word = with_zero_word * 32768 % 65535  # the target counts twice, and 2 * 32768 is 1 modulo 65535
    target = f"2001:db8::{word:x}"
    assert filled(template(), target)[56:58] == bytes(2)
    assert filled(template(), target) == advertisement(target)


@pytest.mark.parametrize("target", TARGETS)
def test_one_advertisement_alone_has_the_same_octets(target: str) -> None:
    stations = lladdr(UPLINK_LLADDR), lladdr(ROUTER_LLADDR)
    assert advertise(*stations, packed(ROUTER), SOLICITED_FLAG, packed(target)) == advertisement(target)
