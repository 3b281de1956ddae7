"""The kernel's entry of a gateway is kept alive when it needs it, from an address that a filter lets pass."""

import dataclasses

import pytest
from frames import UPLINK_LLADDR, packed, solicitation
from sample_link import GATEWAY, LINK, OWN
from sample_responder import addresses

from ndpresponder.gateway.keepalive import solicitations
from ndpresponder.linux.netlink import MAX_SERVED_GATEWAYS, Link
from ndpresponder.wire.addresses import best_source


def sent(policy: str, link: Link | None = LINK, reachable: bool = False) -> list[bytes]:
    """Return what one round sends."""

    def is_reachable(index: int, address: bytes) -> bool:
        assert (index, address) == (7, packed(GATEWAY))
        return reachable

    return solicitations(link, policy == "always", is_reachable)


ASKED = [solicitation(GATEWAY, source=OWN, ethernet_source=UPLINK_LLADDR)]


@pytest.mark.parametrize(
    ("policy", "forwarding", "reachable", "asks"),
    [
        ("auto", True, False, True),
        ("auto", True, True, False),
        ("auto", False, False, False),
        ("always", True, True, True),
        ("always", False, True, True),
    ],
)
def test_a_gateway_is_solicited_when_the_policy_says_so(
    policy: str, forwarding: bool, reachable: bool, asks: bool
) -> None:
    link = dataclasses.replace(LINK, forwarding=forwarding)
    assert sent(policy, link, reachable) == (ASKED if asks else [])


def test_nothing_is_sent_on_a_link_that_is_down() -> None:
    assert sent("always", None) == []


def test_nothing_is_sent_without_a_global_address_or_a_gateway() -> None:
    assert sent("always", dataclasses.replace(LINK, addresses=addresses("fe80::2"))) == []
    assert sent("always", dataclasses.replace(LINK, gateways=frozenset())) == []


def test_gateways_that_strangers_make_up_are_limited_and_cannot_displace_a_global_one() -> None:
    crowd = addresses(*(f"fe80::{number:x}" for number in range(1000)))
    asked = sent("always", dataclasses.replace(LINK, gateways=LINK.gateways | crowd))
    assert len(asked) == MAX_SERVED_GATEWAYS
    assert asked[0] == ASKED[0]


@pytest.mark.parametrize(
    ("own", "destination", "source"),
    [
        (("2001:db8::2", "2001:db8:1::2"), "2001:db8:1::1", "2001:db8:1::2"),
        (("fd00::2", "2001:db8::2", "fe80::2"), "fe80::1", "2001:db8::2"),
        (("fd00::2", "2001:db8::2"), "fd00::1", "fd00::2"),
        (("fd00::2", "fe80::2"), "fe80::1", "fd00::2"),
        (("fe80::2", "::1"), "2001:db8::1", None),
        ((), "2001:db8::1", None),
    ],
)
def test_the_source_is_the_global_address_nearest_to_the_destination(
    own: tuple[str, ...], destination: str, source: str | None
) -> None:
    assert best_source(addresses(*own), packed(destination)) == (source and packed(source))


@pytest.mark.parametrize("policy", ["auto", "always"])
def test_nobody_is_asked_from_an_address_that_may_be_anothers(policy: str) -> None:
    assert sent(policy, dataclasses.replace(LINK, unproven=addresses(OWN))) == []
    both = dataclasses.replace(LINK, addresses=addresses(OWN, "2001:db8::3"), unproven=addresses(OWN))
    (frame,) = sent(policy, both)
    assert frame[22:38] == packed("2001:db8::3")
