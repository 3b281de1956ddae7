"""Frames as a hostile, a broken and an honest neighbor send them."""

from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import sample_responder
from frames import (
    ROUTER,
    ROUTER_LLADDR,
    UPLINK_LLADDR,
    option,
    packed,
    solicitation,
    solicited_node,
    with_right_checksum,
)
from hypothesis import strategies as st
from protocol_model import World

from ndpresponder.policy.requester import UplinkState
from ndpresponder.policy.responder import Policy, Responder
from ndpresponder.policy.table import TargetTable

OURS = (sample_responder.CLAIMED_TARGET, sample_responder.LIVE_TARGET, "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff")
NOT_OURS = (
    sample_responder.GATEWAY,
    sample_responder.OWN_ADDRESS,
    sample_responder.EXCLUDED_TARGET,
    "2001:db8:1::1",
    "fe80::1",
    "ff02::1",
    "ff02::1:ff00:c1",
    "::",
    "::1",
)
STATIONS = (
    ROUTER_LLADDR,
    "00:00:5e:00:02:01",
    UPLINK_LLADDR,
    "00:00:00:00:00:00",
    "33:33:00:00:00:01",
    "ff:ff:ff:ff:ff:ff",
)


def seldom(usual: object, *unusual: object) -> st.SearchStrategy:
    """Generate mostly `usual`, so that a frame with many fields is now and then right in all of them."""
    return st.integers(0, 19).flatmap(lambda number: st.just(usual) if number else st.sampled_from(unusual))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Generate the lab's uplink with any policy."""
    policy = {
        "router_flag": draw(st.sampled_from(["auto", "always", "never"])),
        "override": draw(st.sampled_from(["auto", "always", "never"])),
        "unicast": draw(st.sampled_from(["always", "live", "never"])),
        "dad": draw(st.sampled_from(["live", "defend", "ignore"])),
        "dry_run": draw(seldom(False, True)),
    }
    return World(
        lladdr=UPLINK_LLADDR,
        own_addresses=frozenset(map(IPv6Address, (sample_responder.OWN_ADDRESS, sample_responder.OWN_LINK_LOCAL))),
        gateways=frozenset({IPv6Address(sample_responder.GATEWAY)}),
        forwarding=draw(st.booleans()),
        live=frozenset({IPv6Address(sample_responder.LIVE_TARGET)}),
        claimed=frozenset({IPv6Network(sample_responder.CLAIMED)}),
        excluded=frozenset({IPv6Network(sample_responder.EXCLUDED)}),
        policy=policy,
        anycast=draw(st.sampled_from([frozenset(), frozenset({IPv6Address("2001:db8::")})])),
    )


def state_of(world: World) -> UplinkState:
    """Return what the kernel says of the uplink in `world`."""
    return replace(
        sample_responder.uplink_state(world.lladdr, world.forwarding),
        own_addresses=frozenset(address.packed for address in world.own_addresses),
        gateways=frozenset(address.packed for address in world.gateways),
        anycast=frozenset(address.packed for address in world.anycast),
    )


def responder_of(world: World) -> Responder:
    """Return the real thing for `world`."""
    responder = Responder(Policy(**world.policy))
    responder.set_state(state_of(world))
    responder.table = TargetTable.build(
        (address.packed for address in world.live),
        sample_responder.prefixes(*map(str, world.claimed)),
        sample_responder.prefixes(*map(str, world.excluded)),
    )
    return responder


addresses = st.one_of(
    st.sampled_from(OURS + NOT_OURS).map(packed),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=8, max_size=8).map(packed("2001:db8::")[:8].__add__),
)
targets = st.one_of(st.sampled_from(OURS).map(packed), st.sampled_from(OURS).map(packed), addresses)
sources = st.one_of(
    st.sampled_from([ROUTER, ROUTER, "::", "2001:db8:ffff::2", "fe80::3"]).map(packed),
    seldom(
        packed(ROUTER), *map(packed, ("ff02::1", "::1", "::ffff:192.0.2.1", "fe80::2", sample_responder.OWN_ADDRESS))
    ),
    addresses,
)
stations = st.one_of(st.sampled_from(STATIONS), st.binary(min_size=6, max_size=6))
good_options = st.lists(
    st.one_of(
        stations.map(lambda station: option(1, station)),
        st.builds(option, st.integers(2, 255), st.binary(max_size=30)),
    ),
    max_size=3,
).map(b"".join)
options = st.one_of(good_options, good_options, st.binary(max_size=40))


@st.composite
def solicitations(draw: st.DrawFn) -> bytes:
    """Generate solicitations of which about half are in order."""
    target, source = draw(targets), draw(sources)
    group = solicited_node(target)
    destination = draw(st.one_of(st.just(group), st.just(group), st.just(target), seldom(group, packed("ff02::1"))))
    return solicitation(
        target,
        source,
        destination,
        slla=draw(st.one_of(st.just(...), st.none(), stations)),
        options=draw(options),
        kind=draw(seldom(135, 133, 136, 0)),
        code=draw(seldom(0, 1, 255)),
        checksum=draw(seldom(None, 0, 0xFFFF)),
        reserved=draw(seldom(bytes(4), b"\xff" * 4)),
        version=draw(seldom(6, 4, 0)),
        payload_length=draw(seldom(None, 0, 8, 24, 25, 32, 40, 65535)),
        next_header=draw(seldom(58, 0, 6, 17, 44, 59)),
        hop_limit=draw(seldom(255, 254, 64, 0)),
        ethernet_source=draw(seldom(ROUTER_LLADDR, *STATIONS)),
        ethernet_destination=draw(seldom(None, *STATIONS)),
        ether_type=draw(seldom(0x86DD, 0x0800, 0x8100)),
        padding=draw(st.one_of(st.just(b""), st.binary(max_size=16))),
    )


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Generate solicitations with a few octets changed, taken away or added; half of them with a right checksum."""
    frame = bytearray(draw(solicitations()))
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(0, len(frame) - 1)) if frame else 0
        match draw(st.integers(0, 3)):
            case 0 | 1 if frame:
                frame[position] = draw(st.integers(0, 255))
            case 2:
                del frame[position : position + draw(st.integers(1, 8))]
            case _:
                frame[position:position] = draw(st.binary(min_size=1, max_size=8))
    return with_right_checksum(bytes(frame)) if draw(st.booleans()) else bytes(frame)


any_frames = st.one_of(solicitations(), solicitations(), damaged(), st.binary(max_size=200))
