"""The answer, octet by octet, and what changes it: the requester, the policy, the uplink."""

from dataclasses import replace
from typing import Any

import pytest
from frames import ROUTER, ROUTER_LLADDR, UPLINK_LLADDR, advertisement, lladdr, option, solicitation, solicited_node
from sample_responder import (
    CLAIMED_TARGET,
    EXCLUDED_TARGET,
    GATEWAY,
    LIVE_TARGET,
    addresses,
    make_responder,
    outcome_of,
    uplink_state,
)

from ndpresponder.outcome import Outcome
from ndpresponder.policy.token_bucket import TokenBucket

VRRP_LLADDR = "00:00:5e:00:02:01"
BROADCAST = "ff:ff:ff:ff:ff:ff"
NEW_LLADDR = "02:00:00:00:00:22"
NONCE = option(14, b"\x01\x02\x03\x04\x05\x06")
SEND = option(11, bytes(190)) + option(12, bytes(150))


def answer(frame: bytes, **settings: Any) -> bytes | None:
    return make_responder(**settings).respond(frame)[1]


def octets(*parts: str) -> bytes:
    return bytes.fromhex("".join(parts))


def test_a_claimed_target_is_advertised_without_override() -> None:
    assert answer(solicitation(CLAIMED_TARGET)) == octets(
        "020000000001 020000000002 86dd",  # to the requester, from our own link-layer address
        "60000000 0020 3a ff",  # no traffic class, no flow label, 32 octets, ICMPv6, hop limit 255
        "20010db80000000000000000000000c1",  # from the target
        "fe800000000000000000000000000001",
        "88 00 d82b 40000000",  # Solicited
        "20010db80000000000000000000000c1",
        "0201 020000000002",
    )


def test_a_live_target_is_advertised_with_override() -> None:
    assert answer(solicitation(LIVE_TARGET)) == octets(
        "020000000001 020000000002 86dd",
        "60000000 0020 3a ff",
        "20010db80000000000000000000011fe",
        "fe800000000000000000000000000001",
        "88 00 95b1 60000000",  # Solicited, Override
        "20010db80000000000000000000011fe",
        "0201 020000000002",
    )


def test_a_probe_from_a_global_source_is_answered_there() -> None:
    frame = solicitation(LIVE_TARGET, GATEWAY, LIVE_TARGET)
    assert answer(frame, forwarding=True) == octets(
        "020000000001 020000000002 86dd",
        "60000000 0020 3a ff",
        "20010db80000000000000000000011fe",
        "20010db800000000ffff000000000001",
        "88 00 e678 e0000000",  # Router, Solicited, Override
        "20010db80000000000000000000011fe",
        "0201 020000000002",
    )


@pytest.mark.parametrize(
    ("checksum_and_flags", "target"), [("17aa 00000000", CLAIMED_TARGET), ("d52f 20000000", LIVE_TARGET)]
)
def test_dad_is_answered_to_all_nodes_unsolicited(checksum_and_flags: str, target: str) -> None:
    """ndp-proxy-go sets Solicited, pndpd goes to ff01::1, others to `::`: receivers discard all three."""
    interface = target.removeprefix("2001:db8::").zfill(32 - 8)
    assert answer(solicitation(target, "::"), dad="defend") == octets(
        "333300000001 020000000002 86dd",
        "60000000 0020 3a ff",
        "20010db8" + interface,
        "ff020000000000000000000000000001",
        "88 00" + checksum_and_flags,
        "20010db8" + interface,
        "0201 020000000002",
    )


@pytest.mark.parametrize(
    ("ethernet_destination", "slla"),
    [
        pytest.param(ROUTER_LLADDR, None, id="without the option, to the frame's source"),
        pytest.param(VRRP_LLADDR, VRRP_LLADDR, id="to the option's address, behind VRRP not the frame's source"),
        pytest.param(ROUTER_LLADDR, "00:00:00:00:00:00", id="zero is no address"),
        pytest.param(ROUTER_LLADDR, "33:33:00:00:00:01", id="nor is a group's"),
        pytest.param(ROUTER_LLADDR, BROADCAST, id="nor is everyone's"),
        pytest.param(ROUTER_LLADDR, UPLINK_LLADDR, id="nor is our own"),
    ],
)
def test_the_answer_goes_to_the_link_layer_address_that_can_take_it(
    ethernet_destination: str, slla: str | None
) -> None:
    assert answer(solicitation(slla=slla)) == advertisement(ethernet_destination=ethernet_destination)


@pytest.mark.parametrize(
    ("ethernet_destination", "first"),
    [(VRRP_LLADDR, VRRP_LLADDR), (ROUTER_LLADDR, "33:33:00:00:00:01")],
    ids=["an address", "a group"],
)
def test_of_two_source_link_layer_addresses_the_first_counts(ethernet_destination: str, first: str) -> None:
    frame = solicitation(slla=first, options=option(1, NEW_LLADDR))
    assert answer(frame) == advertisement(ethernet_destination=ethernet_destination)


@pytest.mark.parametrize(
    ("why", "frame"),
    [
        ("a nonce before it (ndppd 1.0)", solicitation(slla=None, options=NONCE + option(1, ROUTER_LLADDR))),
        ("a nonce after it (pndpd snaps at 86 octets)", solicitation(options=NONCE)),
        ("SEND options (pndpd snaps at 86 octets)", solicitation(options=SEND)),
        ("an unknown option", solicitation(options=option(253, bytes(22)))),
        ("a target link-layer address", solicitation(options=option(2, VRRP_LLADDR))),
        ("1,400 octets of options", solicitation(options=option(14, bytes(6)) * 175)),
        ("reserved bits", solicitation(reserved=b"\xe0\x00\x00\x01")),
        ("no option at all (MetalLB)", solicitation(slla=None)),
        ("a frame to everyone", solicitation(ethernet_destination=BROADCAST)),
        ("a frame to all nodes", solicitation(ethernet_destination="33:33:00:00:00:01")),
        ("a frame to us, though to the group", solicitation(ethernet_destination=UPLINK_LLADDR)),
        ("padding", solicitation(padding=bytes(46))),
        ("padding that looks like options", solicitation(padding=option(1, VRRP_LLADDR) + bytes(8))),
        ("padding of one octet", solicitation(padding=b"\xff")),
    ],
)
def test_what_changes_nothing_in_the_answer(why: str, frame: bytes) -> None:
    assert answer(frame) == advertisement()


def test_padding_is_not_an_option_of_a_message_without_options() -> None:
    frame = solicitation(slla=None, padding=option(1, VRRP_LLADDR))
    assert answer(frame) == advertisement(ethernet_destination=ROUTER_LLADDR)


def test_traffic_class_and_flow_label_are_not_copied() -> None:
    frame = bytearray(solicitation())
    frame[14:18] = b"\x6e\x01\x23\x45"
    assert answer(bytes(frame)) == advertisement()


@pytest.mark.parametrize("source", ["2001:db8:ffff::2", "2001:db8::77", "fd00::1", "fe80::ffff:ffff:ffff:ffff"])
def test_any_unicast_source_is_answered_on_link_or_off(source: str) -> None:
    assert answer(solicitation(source=source)) == advertisement(destination=source)


@pytest.mark.parametrize("target", ["2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::ff00:0"])
def test_the_subnet_router_anycast_address_is_answered_like_any_other(target: str) -> None:
    assert answer(solicitation(target)) == advertisement(target)


@pytest.mark.parametrize("source", [ROUTER, "::"])
@pytest.mark.parametrize(
    ("router", "setting", "forwarding"),
    [
        (True, "auto", True),
        (False, "auto", False),
        (True, "always", False),
        (True, "always", True),
        (False, "never", True),
        (False, "never", False),
    ],
)
def test_router_flag(router: bool, setting: str, forwarding: bool, source: str) -> None:
    sent = answer(solicitation(source=source), forwarding=forwarding, router_flag=setting, dad="defend")
    to_all_nodes = {"destination": "ff02::1", "ethernet_destination": "33:33:00:00:00:01", "solicited": False}
    assert sent == advertisement(router=router, **(to_all_nodes if source == "::" else {}))


@pytest.mark.parametrize(
    ("override", "setting", "target"),
    [
        (True, "auto", LIVE_TARGET),
        (False, "auto", CLAIMED_TARGET),
        (True, "always", CLAIMED_TARGET),
        (True, "always", LIVE_TARGET),
        (False, "never", LIVE_TARGET),
        (False, "never", CLAIMED_TARGET),
    ],
)
def test_override_flag(override: bool, setting: str, target: str) -> None:
    assert answer(solicitation(target), override=setting) == advertisement(target, override=override)


@pytest.mark.parametrize(
    ("outcome", "setting", "target"),
    [
        (Outcome.ANSWERED_UNICAST, "always", CLAIMED_TARGET),
        (Outcome.ANSWERED_UNICAST, "always", LIVE_TARGET),
        (Outcome.ANSWERED_UNICAST, "live", LIVE_TARGET),
        (Outcome.UNICAST_POLICY, "live", CLAIMED_TARGET),
        (Outcome.UNICAST_POLICY, "never", LIVE_TARGET),
    ],
)
def test_unicast_setting(outcome: Outcome, setting: str, target: str) -> None:
    assert outcome_of(solicitation(target, destination=target), unicast=setting) is outcome


@pytest.mark.parametrize("settings", [{"unicast": "never"}, {"dad": "ignore"}])
def test_settings_for_probes_and_dad_leave_address_resolution_alone(settings: dict[str, str]) -> None:
    assert outcome_of(solicitation(), **settings) is Outcome.ANSWERED_MULTICAST


def test_a_probe_is_answered_like_an_address_resolution() -> None:
    assert answer(solicitation(destination=CLAIMED_TARGET)) == answer(solicitation())


@pytest.mark.parametrize("target", [CLAIMED_TARGET, LIVE_TARGET])
def test_dad_in_a_frame_to_us_alone_is_answered_to_its_sender_alone(target: str) -> None:
    """A switch that turns multicast into unicast (RFC 6085) sends such; who makes one up must not flood the link."""
    alone = solicitation(target, "::", ethernet_destination=UPLINK_LLADDR)
    to_all, to_one = (answer(frame, dad="defend") for frame in (solicitation(target, "::"), alone))
    assert to_all is not None
    assert to_one == lladdr(ROUTER_LLADDR) + to_all[6:]
    assert outcome_of(solicitation(CLAIMED_TARGET, "::", ethernet_destination=UPLINK_LLADDR)) is Outcome.DAD_POLICY


def test_each_defence_is_told_of_and_nothing_else() -> None:
    told: list[bytes] = []
    responder = make_responder()
    responder.on_defence = told.append
    wanted = [solicitation(LIVE_TARGET, "::", ethernet_source=f"02:00:00:00:0a:{n:02x}") for n in range(3)]
    for frame in (*wanted, solicitation(LIVE_TARGET), solicitation(CLAIMED_TARGET, "::"), wanted[0]):
        responder.respond(frame)
    assert [*wanted, wanted[0]] == told
    responder.rehearse(wanted[0], None)
    assert len(told) == 4


@pytest.mark.parametrize("live", [(), ("2001:db8::",)])
def test_the_anycast_address_of_the_links_routers_is_theirs(live: tuple[str, ...]) -> None:
    responder = make_responder(live=live, dad="defend")
    assert responder.respond(solicitation("2001:db8::"))[0] is Outcome.ANSWERED_MULTICAST
    responder.set_state(replace(uplink_state(), anycast=addresses("2001:db8::")))
    asked = (solicitation("2001:db8::"), solicitation("2001:db8::", "::"), solicitation("2001:db8::1"))
    endings = [Outcome.EXCLUDED, Outcome.EXCLUDED, Outcome.ANSWERED_MULTICAST]
    assert [responder.respond(frame)[0] for frame in asked] == endings


def test_ignored_dad_still_lets_probes_through() -> None:
    assert outcome_of(solicitation(destination=CLAIMED_TARGET), dad="ignore") is Outcome.ANSWERED_UNICAST


def test_a_group_shared_with_an_excluded_target_is_still_ours() -> None:
    target = "2001:db8::1:2bad:0001"
    assert solicited_node(target)[13:] == solicited_node("2001:db8::2bad:1")[13:]
    assert outcome_of(solicitation(target)) is Outcome.ANSWERED_MULTICAST
    assert outcome_of(solicitation(EXCLUDED_TARGET)) is Outcome.EXCLUDED


def test_one_frame_has_one_answer_for_each_of_two_targets_in_one_group() -> None:
    """ndp-proxy-go forgets the target when it looks for duplicates."""
    responder = make_responder()
    targets = ("2001:db8::1:0:c1", "2001:db8::2:0:c1")
    assert [responder.respond(solicitation(target))[1] for target in targets] == list(map(advertisement, targets))


def test_a_new_link_layer_address_applies_to_the_next_frame() -> None:
    responder = make_responder()
    responder.respond(solicitation())
    responder.set_state(uplink_state(NEW_LLADDR))
    assert responder.respond(solicitation())[1] == advertisement(ethernet_source=NEW_LLADDR)
    probe = solicitation(destination=CLAIMED_TARGET)
    assert responder.respond(probe) == (Outcome.OTHER_LLADDR, None)


def test_forwarding_switched_on_applies_to_the_next_frame() -> None:
    responder = make_responder()
    responder.respond(solicitation())
    responder.set_state(uplink_state(forwarding=True))
    assert responder.respond(solicitation())[1] == advertisement(router=True)


def test_a_target_that_becomes_live_or_goes_away_applies_to_the_next_frame() -> None:
    responder, live = make_responder(), make_responder(live=(CLAIMED_TARGET,))
    responder.respond(solicitation())
    responder.table = live.table
    assert responder.respond(solicitation())[1] == advertisement(override=True)
    responder.table = make_responder(claimed=()).table
    assert responder.respond(solicitation()) == (Outcome.NOT_OURS, None)


def test_a_link_that_comes_back_is_answered_on_again() -> None:
    responder = make_responder()
    responder.set_state(None)
    assert responder.respond(solicitation()) == (Outcome.NOT_READY, None)
    responder.set_state(uplink_state())
    assert responder.respond(solicitation())[1] == advertisement()


def test_the_rate_limit_holds_back_answers_and_nothing_else() -> None:
    now_s = 100.0
    responder = make_responder(take=TokenBucket(1, 2, lambda: now_s).take)
    for frame in (solicitation(checksum=0), solicitation("2001:db8:1::"), solicitation(EXCLUDED_TARGET)) * 3:
        assert responder.respond(frame)[0] is not Outcome.RATE_LIMITED
    frame = solicitation(LIVE_TARGET)
    outcomes = [responder.respond(frame)[0] for _ in range(3)]
    assert outcomes == [Outcome.ANSWERED_MULTICAST, Outcome.ANSWERED_MULTICAST, Outcome.RATE_LIMITED]
    now_s += 1
    assert responder.respond(frame)[0] is Outcome.ANSWERED_MULTICAST


@pytest.mark.parametrize(
    "frame", [solicitation(LIVE_TARGET), solicitation(destination=CLAIMED_TARGET)], ids=["live", "probe"]
)
@pytest.mark.parametrize("times", [1, 2], ids=["new", "remembered"])
def test_a_scan_of_a_claimed_prefix_leaves_half_of_the_burst_to_what_is_urgent(frame: bytes, times: int) -> None:
    responder = make_responder(take=TokenBucket(1, 8, lambda: 100.0).take)
    scan = [solicitation(f"2001:db8::{number:x}") for number in range(0x100, 0x10A)]
    assert [responder.respond(each)[0] for each in scan].count(Outcome.RATE_LIMITED) == 6
    assert [responder.respond(frame)[0] for _ in range(4)].count(Outcome.RATE_LIMITED) == 0
    assert {responder.respond(each)[0] for each in (frame, *scan) for _ in range(times)} == {Outcome.RATE_LIMITED}


@pytest.mark.parametrize("source", [ROUTER, "::"])
def test_dry_run_never_has_anything_to_send(source: str) -> None:
    responder = make_responder(dry_run=True, dad="defend")
    assert [responder.respond(solicitation(source=source)) for _ in range(2)] == [(Outcome.DRY_RUN, None)] * 2


@pytest.mark.parametrize("options", [b"", NONCE, SEND], ids=["nothing", "a nonce", "SEND"])
@pytest.mark.parametrize(("more", "slla"), [(8, None), (0, ...)], ids=["without SLLA", "with SLLA"])
def test_an_answer_is_at_most_8_octets_longer_than_its_solicitation(more: int, slla: Any, options: bytes) -> None:
    """86 octets always, because of the option: only a solicitation of 78, without any, is shorter."""
    frame = solicitation(slla=slla, options=options)
    sent = answer(frame)
    assert sent is not None
    assert len(sent) == 86
    assert len(sent) - len(frame) <= (0 if options else more)
