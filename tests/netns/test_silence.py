"""When nothing is said, and why: each reason of the protocol, by one frame on a wire, before the real daemon.

For each frame exactly its reason is counted once and no advertisement leaves the host.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from daemon_process import FOLLOW_DEADLINE_S, Installed, received_as, within
from frames import TARGET, UPLINK_LLADDR, advertisement, option, solicitation, solicited_node, tagged
from kernel_runs import EVERY_FASTPATH, Fastpath
from peer import Peer, Wire, seconds_until
from requirements import require

from ndpresponder.outcome import Outcome

OWN = "2001:db8::2"
GATEWAY = "2001:db8::1"
EXCLUDED = "2001:db8::e1"
FOREIGN = "2001:db8:1::c1"
OTHER_LLADDR = "02:00:00:00:00:77"
GROUP_LLADDR = b"\x33\x33\xff\x00\x00\xc1"
NONCE = option(14, b"noncen")
SLLA = option(1, "02:00:00:00:00:01")

FRAMES: dict[str, tuple[Outcome, bytes]] = {
    # Length and form
    "one octet short of a target": (Outcome.TOO_SHORT, solicitation(slla=None)[:77]),
    "cut after its type": (Outcome.TOO_SHORT, solicitation()[:55]),
    "IP version 4": (Outcome.NOT_IPV6, solicitation(version=4)),
    "IP version 0": (Outcome.NOT_IPV6, solicitation(version=0)),
    "payload length one more than the frame": (Outcome.BAD_PAYLOAD_LENGTH, solicitation()[:-1]),
    "payload length of a frame that was cut": (Outcome.BAD_PAYLOAD_LENGTH, solicitation(payload_length=40)),
    "payload length zero": (Outcome.BAD_PAYLOAD_LENGTH, solicitation(payload_length=0)),
    "payload length 65535": (Outcome.BAD_OPTION, solicitation(payload_length=65535)),
    "payload length 65528": (Outcome.BAD_PAYLOAD_LENGTH, solicitation(payload_length=65528)),
    "code 1": (Outcome.BAD_CODE, solicitation(code=1)),
    "code 255": (Outcome.BAD_CODE, solicitation(code=255)),
    # Validity
    "hop limit 254": (Outcome.BAD_HOP_LIMIT, solicitation(hop_limit=254)),
    "hop limit 64": (Outcome.BAD_HOP_LIMIT, solicitation(hop_limit=64)),
    "hop limit 0": (Outcome.BAD_HOP_LIMIT, solicitation(hop_limit=0)),
    "wrong checksum": (Outcome.BAD_CHECKSUM, solicitation(checksum=0x1234)),
    "no checksum": (Outcome.BAD_CHECKSUM, solicitation(checksum=0)),
    "message of 20 octets": (Outcome.MESSAGE_TOO_SHORT, solicitation(payload_length=20)),
    "message of 23 octets": (Outcome.MESSAGE_TOO_SHORT, solicitation(payload_length=23)),
    "option of length zero": (Outcome.BAD_OPTION, solicitation(slla=None, options=b"\x01\x00" + bytes(6))),
    "option of length zero after a good one": (Outcome.BAD_OPTION, solicitation(options=b"\x0e\x00" + bytes(6))),
    "option past the end": (Outcome.BAD_OPTION, solicitation(slla=None, options=b"\x0e\x02" + bytes(6))),
    "option of 255 units": (Outcome.BAD_OPTION, solicitation(slla=None, options=b"\x0e\xff" + bytes(6))),
    "half an option": (Outcome.BAD_OPTION, solicitation(options=b"\x0e\x01\x00\x00")),
    "source link-layer option of 16 octets": (
        Outcome.BAD_SLLA_LENGTH,
        solicitation(slla=None, options=option(1, bytes(14))),
    ),
    "second source link-layer option of 16 octets": (
        Outcome.BAD_SLLA_LENGTH,
        solicitation(options=option(1, bytes(14))),
    ),
    "target ff02::1": (Outcome.BAD_TARGET, solicitation("ff02::1")),
    "target unspecified": (Outcome.BAD_TARGET, solicitation("::")),
    "target loopback": (Outcome.BAD_TARGET, solicitation("::1")),
    "duplicate address detection with an option": (
        Outcome.DAD_WITH_SLLA,
        solicitation(source="::", slla="02:00:00:00:00:01"),
    ),
    "duplicate address detection with an option after a nonce": (
        Outcome.DAD_WITH_SLLA,
        solicitation(source="::", options=NONCE + SLLA),
    ),
    "duplicate address detection to the target": (
        Outcome.DAD_BAD_DESTINATION,
        solicitation(source="::", destination=TARGET),
    ),
    "duplicate address detection to all nodes": (
        Outcome.DAD_BAD_DESTINATION,
        solicitation(source="::", destination="ff02::1"),
    ),
    # Addresses
    "multicast source": (Outcome.BAD_SOURCE, solicitation(source="ff02::1")),
    "loopback source": (Outcome.BAD_SOURCE, solicitation(source="::1")),
    "IPv4-mapped source": (Outcome.BAD_SOURCE, solicitation(source="::ffff:192.0.2.1")),
    "the target as source": (Outcome.SOURCE_IS_TARGET, solicitation(source=TARGET)),
    "our own source": (Outcome.OWN_SOURCE, solicitation(source=OWN)),
    "our own link-local source": (Outcome.OWN_SOURCE, solicitation(source="fe80::ff:fe00:2")),
    "to all nodes": (Outcome.BAD_DESTINATION, solicitation(destination="ff02::1")),
    "to the group of another target": (
        Outcome.BAD_DESTINATION,
        solicitation(destination=solicited_node("2001:db8::c2")),
    ),
    "to the group in a wider scope": (Outcome.BAD_DESTINATION, solicitation(destination="ff05::1:ff00:c1")),
    "to another unicast address": (Outcome.BAD_DESTINATION, solicitation(destination="2001:db8::c2")),
    "to our own address": (Outcome.BAD_DESTINATION, solicitation(destination=OWN)),
    # Ethernet
    "VLAN 5": (Outcome.VLAN_TAGGED, tagged(solicitation(), vid=5)),
    "VLAN 5 with priority": (Outcome.VLAN_TAGGED, tagged(solicitation(), vid=5, priority=7)),
    "VLAN 5, reachability probe": (Outcome.VLAN_TAGGED, tagged(solicitation(destination=TARGET), vid=5)),
    "VLAN 4095": (Outcome.VLAN_TAGGED, tagged(solicitation(), vid=4095)),
    "VLAN 5, larger than a slot of the ring": (
        Outcome.VLAN_TAGGED,
        tagged(solicitation(options=option(11, bytes(598))), vid=5),
    ),
    "sent by ourselves": (Outcome.OWN_FRAME, solicitation(ethernet_source=UPLINK_LLADDR)),
    "multicast to another host": (Outcome.OTHER_LLADDR, solicitation(ethernet_destination=OTHER_LLADDR)),
    "unicast to another host": (
        Outcome.OTHER_LLADDR,
        solicitation(destination=TARGET, ethernet_destination=OTHER_LLADDR),
    ),
    "unicast in a multicast frame": (
        Outcome.UNICAST_IN_MULTICAST,
        solicitation(destination=TARGET, ethernet_destination=GROUP_LLADDR),
    ),
    "unicast in a broadcast frame": (
        Outcome.UNICAST_IN_MULTICAST,
        solicitation(destination=TARGET, ethernet_destination="ff:ff:ff:ff:ff:ff"),
    ),
    "multicast station": (Outcome.BAD_ETHERNET_SOURCE, solicitation(ethernet_source="33:33:00:00:00:01")),
    "broadcast station": (Outcome.BAD_ETHERNET_SOURCE, solicitation(ethernet_source="ff:ff:ff:ff:ff:ff")),
    "zero station": (Outcome.BAD_ETHERNET_SOURCE, solicitation(ethernet_source=bytes(6))),
    # Policy
    "outside the prefix": (Outcome.NOT_OURS, solicitation(FOREIGN)),
    "just below the prefix": (Outcome.NOT_OURS, solicitation("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff")),
    "just above the prefix": (Outcome.NOT_OURS, solicitation("2001:db8::1:0")),
    "excluded by configuration": (Outcome.EXCLUDED, solicitation(EXCLUDED)),
    "the default gateway": (Outcome.EXCLUDED, solicitation(GATEWAY)),
    "the default gateway, duplicate address detection": (Outcome.EXCLUDED, solicitation(GATEWAY, "::")),
    "link-local target": (Outcome.LINK_LOCAL_TARGET, solicitation("fe80::c1")),
}
NEVER_SEEN = {
    "advertisement": advertisement(),
    "router solicitation": solicitation(kind=133),
    "router advertisement": solicitation(kind=134),
    "redirect": solicitation(kind=137),
    "echo request": solicitation(kind=128),
    "UDP": solicitation(next_header=17),
    "fragment": solicitation(next_header=44),
    "hop-by-hop options": solicitation(next_header=0),
    "destination options": solicitation(next_header=60),
    "IPv4": solicitation(ether_type=0x0800),
    "ARP": solicitation(ether_type=0x0806),
    "too short for a type": solicitation()[:54],
}
# What the wire cannot bring to the responder, because the kernel's filter comes before
FILTERED = {Outcome.NOT_ICMPV6, Outcome.NOT_SOLICITATION}
# What needs a setting or a state of its own: test_silence_policy, test_verify, test_floods, test_upgrade
ELSEWHERE = {
    Outcome.UNICAST_POLICY,
    Outcome.DAD_POLICY,
    Outcome.RATE_LIMITED,
    Outcome.NOT_READY,
    Outcome.DRY_RUN,
    Outcome.SEND_FAILED,
    Outcome.NOT_VERIFIED,
    Outcome.OVERLOADED,
    Outcome.TOO_OLD,
}


@pytest.fixture(scope="module", params=EVERY_FASTPATH)
def fastpath(request):
    return Fastpath(request.param)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    require("ip")
    with Wire("silent") as wire:
        wire.near.ip(
            f"address add {OWN}/64 dev up0 nodad",
            f"route add ::/0 via {GATEWAY} dev up0",
            "link set up0 promisc on",
        )
        yield wire


@pytest.fixture(scope="module")
def daemon(wire, fastpath) -> Iterator[Installed]:
    with Installed(wire.near, "-i", "up0", "-n", "2001:db8::/112", "-x", EXCLUDED, *fastpath.flags(wire)) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def far(wire, daemon) -> Iterator[Peer]:
    with Peer(wire.far) as peer:
        yield peer


@pytest.fixture
def peer(far) -> Peer:
    far.drain()
    return far


@pytest.mark.parametrize(("reason", "frame"), FRAMES.values(), ids=FRAMES)
def test_is_silent_for_exactly_this_reason(daemon, peer, reason, frame):
    answers: list[bytes] = []
    counted = daemon.caused(lambda: answers.extend(peer.ask(frame)), frames=2)
    assert not answers
    marker = Counter(["received multicast", "sent solicited"])
    assert counted == marker + Counter([received_as(frame), f"ignored {reason.label}"])


def test_every_reason_has_a_frame():
    seen = {reason for reason, _ in FRAMES.values()}
    assert set(Outcome) == seen | FILTERED | ELSEWHERE | {outcome for outcome in Outcome if outcome.answered}


@pytest.mark.parametrize("frame", NEVER_SEEN.values(), ids=NEVER_SEEN)
def test_what_is_no_solicitation_does_not_even_reach_us(daemon, peer, frame):
    answers: list[bytes] = []
    counted = daemon.caused(lambda: answers.extend(peer.ask(frame)), frames=1)
    assert not answers
    assert counted == Counter(["received multicast", "sent solicited"])


def test_own_address_is_left_to_the_kernel(daemon, peer):
    answers: list[bytes] = []
    counted = daemon.caused(lambda: answers.extend(peer.ask(solicitation(OWN))), frames=2)
    assert answers == [advertisement(OWN, override=True)]  # the kernel's own
    assert counted == Counter({"received multicast": 2, "sent solicited": 1, "ignored excluded": 1})


def test_own_addresses_added_later_are_left_to_the_kernel_at_once(wire, daemon, peer):
    added = "2001:db8::add"

    def add() -> float:
        assert [advertisement(added)] == peer.ask(solicitation(added))
        wire.near.ip(f"address add {added}/128 dev up0 nodad")
        taken = seconds_until(lambda: peer.ask(solicitation(added)) == [advertisement(added, override=True)], 5)
        wire.near.ip(f"address del {added}/128 dev up0")
        seconds_until(lambda: peer.ask(solicitation(added)) == [advertisement(added)], 5)
        return taken

    within(FOLLOW_DEADLINE_S, add)


def test_a_gateway_that_comes_later_is_not_answered_for_at_once(wire, daemon, peer):
    gateways = (f"2001:db8::9a{number:02x}" for number in range(100))

    def add() -> float:
        gateway = next(gateways)
        assert [advertisement(gateway)] == peer.ask(solicitation(gateway))
        wire.near.ip(f"route add ::/0 via {gateway} dev up0 metric 50")
        taken = seconds_until(lambda: not peer.ask(solicitation(gateway)), 5)
        wire.near.ip(f"route del ::/0 via {gateway} dev up0 metric 50")
        assert len([line for line in daemon.lines(f"target={gateway} ") if "excluded" in line]) == 1
        return taken

    within(FOLLOW_DEADLINE_S, add)


def test_a_gateway_is_not_answered_for_while_its_route_is_missing(wire, daemon, peer):
    gateway, other = "2001:db8::9aff", "2001:db8::9afe"
    wire.near.ip(f"route add ::/0 via {gateway} dev up0 metric 50")
    seconds_until(lambda: not peer.ask(solicitation(gateway)), 5)
    wire.near.ip(f"route replace ::/0 via {other} dev up0 metric 50")
    seconds_until(lambda: not peer.ask(solicitation(other)), 5)  # by now it knows that the first route is gone
    assert not peer.ask(solicitation(gateway))
    assert not peer.ask(solicitation(gateway, source="::"))
    wire.near.ip(f"route del ::/0 via {other} dev up0 metric 50")


def test_the_excluded_gateway_is_said_once(daemon):
    (line,) = daemon.lines(f"target={GATEWAY} ")
    assert "excluded" in line
    assert "2001:db8::/112" in line
