"""Every way a frame can end, each with frames that end so: the table a new outcome needs a row in.

A row names what is wrong with an otherwise right solicitation.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from frames import ROUTER_LLADDR, UPLINK_LLADDR, option, solicitation, solicited_node, tagged
from sample_responder import (
    CLAIMED_TARGET,
    EXCLUDED_TARGET,
    GATEWAY,
    LIVE_TARGET,
    OWN_ADDRESS,
    OWN_LINK_LOCAL,
    make_responder,
)

from ndpresponder.outcome import IGNORED, Kind, Outcome

ALL_NODES = {"destination": "ff02::1", "ethernet_destination": "33:33:00:00:00:01"}
GROUP = {"destination": solicited_node(CLAIMED_TARGET)}
SLLA = option(1, ROUTER_LLADDR)


class Row(NamedTuple):
    outcome: Outcome
    why: str
    frame: bytes
    settings: Mapping[str, Any] = {}
    to_other_host: bool = False


def _to(target: str, **fields: Any) -> bytes:
    """Build a reachability probe."""
    return solicitation(target, destination=target, **fields)


ENDINGS = [
    Row(Outcome.ANSWERED_MULTICAST, "address resolution", solicitation()),
    Row(Outcome.ANSWERED_UNICAST, "reachability probe", _to(CLAIMED_TARGET)),
    Row(Outcome.ANSWERED_DAD, "duplicate address detection", solicitation(LIVE_TARGET, "::")),
    Row(Outcome.ANSWERED_DAD, "claimed, and defended", solicitation(source="::"), {"dad": "defend"}),
    Row(Outcome.ANSWERED_DAD, "claimed, and found", solicitation(source="::"), {"is_there": lambda _: True}),
    # Length and form
    Row(Outcome.TOO_SHORT, "nothing at all", b""),
    Row(Outcome.TOO_SHORT, "an Ethernet header", solicitation()[:14]),
    Row(Outcome.TOO_SHORT, "one octet less than the headers", solicitation(slla=None)[:77]),
    Row(Outcome.NOT_IPV6, "EtherType of IPv4", solicitation(ether_type=0x0800)),
    Row(Outcome.NOT_IPV6, "IP version 4", solicitation(version=4)),
    Row(Outcome.NOT_IPV6, "an 802.1Q tag in place", tagged(solicitation(), 5)),
    Row(Outcome.NOT_ICMPV6, "a hop-by-hop header before it", solicitation(next_header=0)),
    Row(Outcome.NOT_ICMPV6, "a fragment", solicitation(next_header=44)),
    Row(Outcome.NOT_ICMPV6, "npd6: TCP from a port 0x87xx", solicitation(next_header=6)),
    Row(Outcome.NOT_ICMPV6, "npd6: UDP from a port 0x87xx", solicitation(next_header=17)),
    Row(Outcome.BAD_PAYLOAD_LENGTH, "zero", solicitation(payload_length=0)),
    Row(Outcome.BAD_PAYLOAD_LENGTH, "beyond the frame", solicitation(payload_length=40)),
    Row(Outcome.BAD_PAYLOAD_LENGTH, "the largest", solicitation(payload_length=65528)),
    Row(Outcome.NOT_SOLICITATION, "a router solicitation", solicitation(kind=133)),
    Row(Outcome.NOT_SOLICITATION, "an advertisement", solicitation(kind=136)),
    Row(Outcome.BAD_CODE, "1", solicitation(code=1)),
    # Validity (7.1.1)
    Row(Outcome.BAD_HOP_LIMIT, "254: forwarded once", solicitation(hop_limit=254)),
    Row(Outcome.BAD_HOP_LIMIT, "0", solicitation(hop_limit=0)),
    Row(Outcome.BAD_CHECKSUM, "zero", solicitation(checksum=0)),
    Row(Outcome.BAD_CHECKSUM, "the last octet of the target differs", solicitation()[:77] + b"\x02" + SLLA),
    Row(Outcome.BAD_CHECKSUM, "of a longer message", solicitation(options=SLLA, payload_length=32)),
    Row(Outcome.MESSAGE_TOO_SHORT, "no target", solicitation(payload_length=8)),
    Row(Outcome.MESSAGE_TOO_SHORT, "23 octets", solicitation(payload_length=23)),
    Row(Outcome.BAD_OPTION, "npd6, mdlayher/ndp: length 0", solicitation(slla=None, options=bytes(8))),
    Row(Outcome.BAD_OPTION, "length 0 after a good one", solicitation(options=b"\x0e" + bytes(7))),
    Row(Outcome.BAD_OPTION, "past the end", solicitation(options=b"\x0e\x02" + bytes(6))),
    Row(Outcome.BAD_OPTION, "255 units", solicitation(slla=None, options=b"\x01\xff" + bytes(6))),
    Row(Outcome.BAD_OPTION, "mdlayher/ndp: half an option", solicitation(slla=None, options=b"\x01\x01\x02\x00")),
    Row(Outcome.BAD_OPTION, "mdlayher/ndp: one octet of an option", solicitation(slla=None, options=b"\x01")),
    Row(Outcome.BAD_OPTION, "one octet after a good one", solicitation(options=b"\x00")),
    Row(Outcome.BAD_SLLA_LENGTH, "two units", solicitation(slla=bytes(14))),
    Row(Outcome.BAD_SLLA_LENGTH, "the second one only", solicitation(options=option(1, bytes(14)))),
    Row(Outcome.BAD_TARGET, "multicast", solicitation("ff02::1:ff00:c1")),
    Row(Outcome.BAD_TARGET, "the unspecified address", solicitation("::")),
    Row(Outcome.BAD_TARGET, "loopback", solicitation("::1")),
    Row(Outcome.DAD_WITH_SLLA, "the requester's", solicitation(source="::", slla=ROUTER_LLADDR)),
    Row(Outcome.DAD_WITH_SLLA, "ndppd: none expected, none read", solicitation(source="::", slla=bytes(6))),
    Row(Outcome.DAD_BAD_DESTINATION, "the target", _to(CLAIMED_TARGET, source="::")),
    Row(Outcome.DAD_BAD_DESTINATION, "all nodes", solicitation(source="::", **ALL_NODES)),
    Row(Outcome.DAD_BAD_DESTINATION, "another group", solicitation("2001:db8::c2", "::", **GROUP)),
    # Addresses
    Row(Outcome.BAD_SOURCE, "multicast", solicitation(source="ff02::2")),
    Row(Outcome.BAD_SOURCE, "loopback", solicitation(source="::1")),
    Row(Outcome.BAD_SOURCE, "v4-mapped", solicitation(source="::ffff:192.0.2.1")),
    Row(Outcome.SOURCE_IS_TARGET, "in a group", solicitation(source=CLAIMED_TARGET)),
    Row(Outcome.SOURCE_IS_TARGET, "in a probe", _to(CLAIMED_TARGET, source=CLAIMED_TARGET)),
    Row(Outcome.OWN_SOURCE, "global", solicitation(source=OWN_ADDRESS)),
    Row(Outcome.OWN_SOURCE, "link-local", solicitation(source=OWN_LINK_LOCAL)),
    Row(Outcome.BAD_DESTINATION, "all nodes", solicitation(**ALL_NODES)),
    Row(Outcome.BAD_DESTINATION, "another group", solicitation("2001:db8::c2", **GROUP)),
    Row(
        Outcome.BAD_DESTINATION,
        "the group with interface scope",
        solicitation(destination="ff01::1:ff00:c1"),
    ),
    Row(Outcome.BAD_DESTINATION, "our own address", solicitation(destination=OWN_ADDRESS)),
    # Ethernet
    Row(Outcome.VLAN_TAGGED, "a tag the kernel took away", solicitation(), {}, True),
    Row(Outcome.OWN_FRAME, "our link-layer address", solicitation(ethernet_source=UPLINK_LLADDR)),
    Row(Outcome.OTHER_LLADDR, "a probe", _to(CLAIMED_TARGET, ethernet_destination="02:00:00:00:00:99")),
    Row(Outcome.OTHER_LLADDR, "a group", solicitation(ethernet_destination="02:00:00:00:00:99")),
    Row(Outcome.OTHER_LLADDR, "promiscuous", _to(CLAIMED_TARGET, ethernet_destination="02:00:00:00:00:99"), {}, True),
    Row(
        Outcome.UNICAST_IN_MULTICAST,
        "the group's frame",
        _to(CLAIMED_TARGET, ethernet_destination="33:33:ff:00:00:c1"),
    ),
    Row(
        Outcome.UNICAST_IN_MULTICAST, "a broadcast frame", _to(CLAIMED_TARGET, ethernet_destination="ff:ff:ff:ff:ff:ff")
    ),
    Row(Outcome.BAD_ETHERNET_SOURCE, "multicast", solicitation(ethernet_source="33:33:00:00:00:01", slla=None)),
    Row(Outcome.BAD_ETHERNET_SOURCE, "broadcast", solicitation(ethernet_source="ff:ff:ff:ff:ff:ff", slla=None)),
    Row(Outcome.BAD_ETHERNET_SOURCE, "zero", solicitation(ethernet_source="00:00:00:00:00:00")),
    # Policy
    Row(Outcome.NOT_OURS, "outside every prefix", solicitation("2001:db8:1::c1")),
    Row(Outcome.NOT_OURS, "nothing is ours", solicitation(), {"claimed": (), "live": ()}),
    Row(Outcome.EXCLUDED, "configured", solicitation(EXCLUDED_TARGET)),
    Row(Outcome.EXCLUDED, "live, yet configured so", solicitation(EXCLUDED_TARGET), {"live": (EXCLUDED_TARGET,)}),
    Row(Outcome.EXCLUDED, "npd6: our own address", solicitation(OWN_ADDRESS)),
    Row(Outcome.EXCLUDED, "our own address, outside every prefix", solicitation(OWN_ADDRESS), {"claimed": ()}),
    Row(Outcome.EXCLUDED, "the gateway", solicitation(GATEWAY)),
    Row(Outcome.EXCLUDED, "the gateway, though called live", solicitation(GATEWAY), {"live": (GATEWAY,)}),
    Row(Outcome.LINK_LOCAL_TARGET, "the first", solicitation("fe80::")),
    Row(Outcome.LINK_LOCAL_TARGET, "the last", solicitation("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
    Row(Outcome.UNICAST_POLICY, "never", _to(LIVE_TARGET), {"unicast": "never"}),
    Row(Outcome.UNICAST_POLICY, "live, but it is claimed", _to(CLAIMED_TARGET), {"unicast": "live"}),
    Row(Outcome.DAD_POLICY, "claimed only", solicitation(source="::")),
    Row(Outcome.DAD_POLICY, "ignore", solicitation(LIVE_TARGET, "::"), {"dad": "ignore"}),
    Row(Outcome.DAD_POLICY, "found, yet", solicitation(source="::"), {"dad": "ignore", "is_there": lambda _: True}),
    Row(Outcome.NOT_VERIFIED, "not found", solicitation(source="::"), {"is_there": lambda _: False}),
    Row(Outcome.RATE_LIMITED, "nothing left", solicitation(), {"take": lambda _: False}),
    Row(Outcome.NOT_VERIFIED, "nobody there", solicitation(), {"is_there": lambda _: False}),
    Row(Outcome.NOT_VERIFIED, "nobody there to probe", _to(CLAIMED_TARGET), {"is_there": lambda _: False}),
    Row(
        Outcome.NOT_VERIFIED, "before the rate", solicitation(), {"is_there": lambda _: False, "take": lambda _: False}
    ),
    Row(Outcome.ANSWERED_MULTICAST, "it is there", solicitation(), {"is_there": lambda _: True}),
    Row(Outcome.ANSWERED_MULTICAST, "live", solicitation(LIVE_TARGET), {"is_there": lambda _: False}),
    Row(Outcome.DRY_RUN, "everything else is right", solicitation(), {"dry_run": True}),
]


@pytest.mark.parametrize("row", ENDINGS, ids=lambda row: f"{row.outcome.label}: {row.why}")
def test_a_frame_ends_as_its_row_says(row: Row) -> None:
    outcome, advertisement = make_responder(**row.settings).respond(row.frame, row.to_other_host)
    assert (outcome, advertisement is not None) == (row.outcome, row.outcome.answered)


@pytest.mark.parametrize("row", ENDINGS, ids=lambda row: f"{row.outcome.label}: {row.why}")
def test_a_frame_ends_so_again_after_a_good_one_of_the_same_requester(row: Row) -> None:
    responder = make_responder(**row.settings)
    for frame in (row.frame, solicitation(), solicitation(slla=None), row.frame):
        outcome, _ = responder.respond(frame, row.to_other_host)
    assert outcome == row.outcome


def test_an_uplink_that_is_down_ends_every_frame() -> None:
    responder = make_responder()
    responder.set_state(None)
    assert {responder.respond(row.frame) for row in ENDINGS} == {(Outcome.NOT_READY, None)}


def test_every_outcome_has_a_row() -> None:
    # NOT_READY has the test above, OVERLOADED those in test_overload; SEND_FAILED is what becomes of an answer
    # that the kernel refused, and what is TOO_OLD no responder ever sees
    elsewhere = {Outcome.NOT_READY, Outcome.OVERLOADED, Outcome.SEND_FAILED, Outcome.TOO_OLD}
    assert {row.outcome for row in ENDINGS} == set(Outcome) - elsewhere


def test_outcomes_count_from_zero_so_that_a_list_can_hold_them() -> None:
    assert list(Outcome) == list(range(len(Outcome)))


@pytest.mark.parametrize("kind", Kind)
def test_an_answer_has_the_value_of_its_kind(kind: Kind) -> None:
    assert Outcome(kind).name == f"ANSWERED_{kind.name}"
    assert Outcome(kind).answered


def test_all_that_is_no_answer_is_ignored() -> None:
    assert list(Outcome) == [*map(Outcome, Kind), *IGNORED]


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_explains_itself(outcome: Outcome) -> None:
    assert re.fullmatch("[a-z][a-z0-9_]*", outcome.label)
    assert outcome.meaning
    assert not outcome.meaning.endswith(".")
