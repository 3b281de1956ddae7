"""What goes unread would have ended as `not_ours` and no other way, whatever the frame, the table and the uplink."""

import math
import random
from collections.abc import Iterable
from dataclasses import replace

import generated_frames
import pytest
from bpf_interpreter import run
from frames import ROUTER, ROUTER_LLADDR, lladdr, packed, solicitation, solicited_node
from generated_frames import any_frames, responder_of, stations, with_right_checksum, worlds
from hypothesis import event, given
from hypothesis import strategies as st
from protocol_model import World
from sample_responder import prefixes, uplink_state

from ndpresponder.offload.counting_program import counting_program
from ndpresponder.offload.fanout_members import COUNTED, FLOOD, FORWARDED, HELD_BACK, NEVER_READ, READ, READ_LINK
from ndpresponder.offload.flood_program import (
    BUCKETS,
    LEAST_SHARE,
    UNREAD_SHARE,
    Shares,
    bucket_of,
    hold_back,
    left_in_flood,
)
from ndpresponder.outcome import Kind, Outcome
from ndpresponder.policy.overload import (
    MAX_ADDRESSES,
    MAX_FLOODING,
    MAX_GUARDED,
    MAX_KNOWN,
    MAX_SOURCES,
    MAX_SPARED,
    Spared,
)
from ndpresponder.policy.requester import UplinkState
from ndpresponder.policy.table import Match, Prefix, TargetTable
from ndpresponder.wire.addresses import is_global
from ndpresponder.wire.classic_bpf import MAX_INSTRUCTIONS, Program
from ndpresponder.wire.filters import SOLICITATIONS, SOLICITATIONS_OF_THE_LINK
from ndpresponder.wire.layout import ETHERNET_SOURCE, SOURCE
from ndpresponder.wire.solicitation import kind_of

IPV6 = 14  # where a fanout program starts
PACKET_HOST, PACKET_OTHERHOST = 0, 3  # linux/if_packet.h
EVEN = Shares(0.9, 0.9, 0.9)
BASE = 0x20010DB8 << 96
INDEX, ABOVE = 7, 8  # of the uplink, and of an interface on top of it, such as a VLAN's

foreign_targets = st.one_of(
    st.sampled_from(["2001:db8:1::1", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::1", "1::", "feff::1"]).map(
        packed
    ),
    st.builds(
        lambda head, tail: bytes((head,)) + tail, st.integers(1, 0xFD), st.binary(min_size=15, max_size=15)
    ).filter(lambda address: address[:8] != packed("2001:db8::")[:8]),
)


@st.composite
def foreign(draw: st.DrawFn) -> bytes:
    """Generate solicitations in order for targets that are not ours."""
    target = draw(foreign_targets)
    source = draw(st.sampled_from([ROUTER, "::", "2001:db8:ffff::2", "2001:db8::7"]))
    group = solicited_node(target)
    return solicitation(
        target,
        source,
        draw(st.sampled_from([group, target])) if source != "::" else group,
        slla=draw(st.one_of(st.none(), stations)) if source != "::" else None,
        reserved=draw(st.binary(min_size=4, max_size=4)),
        ethernet_source=draw(st.one_of(st.just(ROUTER_LLADDR), st.binary(min_size=5, max_size=5).map(b"\x02".__add__))),
        padding=draw(st.binary(max_size=8)),
    )


@st.composite
def nearly_foreign(draw: st.DrawFn) -> bytes:
    """Generate the same with one or two octets changed; mostly with a right checksum."""
    frame = bytearray(draw(foreign()))
    for _ in range(draw(st.integers(1, 2))):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    return with_right_checksum(bytes(frame)) if draw(st.integers(0, 3)) else bytes(frame)


def state_of(world: World) -> UplinkState:
    return replace(generated_frames.state_of(world), index=INDEX)


def steered(
    program: Program, frame: bytes, to_other_host: bool = False, random: int | None = None, interface: int = INDEX
) -> int:
    return run(program, frame, IPV6, PACKET_OTHERHOST if to_other_host else PACKET_HOST, random, interface)


@given(
    worlds(),
    st.one_of(nearly_foreign(), nearly_foreign(), foreign(), any_frames),
    st.sampled_from([False] * 9 + [True]),
)
def test_what_goes_unread_would_end_as_it_is_counted(world: World, frame: bytes, to_other_host: bool) -> None:
    responder = responder_of(world)
    member = steered(counting_program(responder.table, state_of(world)), frame, to_other_host)
    event(f"member {member}")
    if member != READ:
        outcome, advertisement = responder.respond(frame, to_other_host)
        assert advertisement is None
        assert COUNTED[member - 1] == (kind_of(frame), outcome)
        assert outcome in (Outcome.NOT_OURS, Outcome.BAD_HOP_LIMIT)


@given(worlds(), foreign())
def test_what_is_in_order_and_not_ours_goes_unread(world: World, frame: bytes) -> None:
    program = counting_program(responder_of(world).table, state_of(world))
    assert steered(program, frame) == NEVER_READ[kind_of(frame)]


@given(worlds(), st.one_of(foreign(), nearly_foreign(), any_frames), st.integers(0, 254))
def test_no_solicitation_from_beyond_the_link_is_read(world: World, frame: bytes, hop_limit: int) -> None:
    frame = frame[:21] + bytes((hop_limit,)) + frame[22:]
    if run(SOLICITATIONS, frame) and frame[14] >> 4 == 6:
        for program in (counting_program(responder_of(world).table, state_of(world)), READ_LINK):
            assert steered(program, frame) == FORWARDED[kind_of(frame)]
        assert responder_of(world).respond(frame)[0] is Outcome.BAD_HOP_LIMIT
        assert not run(SOLICITATIONS_OF_THE_LINK, frame)
    elif len(frame) > 14 and frame[14] >> 4 != 6:  # read, and counted for what it is
        assert run(SOLICITATIONS_OF_THE_LINK, frame) == run(SOLICITATIONS, frame)


@given(st.one_of(foreign(), nearly_foreign(), any_frames))
def test_the_filter_between_two_processes_accepts_what_was_sent_on_the_link(frame: bytes) -> None:
    frame = frame[:21] + b"\xff" + frame[22:]
    assert run(SOLICITATIONS_OF_THE_LINK, frame) == run(SOLICITATIONS, frame)


@given(worlds(), foreign())
def test_what_an_interface_above_the_uplink_has_is_read_to_be_counted_as_its(world: World, frame: bytes) -> None:
    responder = responder_of(world)
    program = counting_program(responder.table, state_of(world))
    assert steered(program, frame, interface=ABOVE) == READ
    assert responder.respond(frame, to_other_host=True)[0] is Outcome.VLAN_TAGGED


def asks(program: Program, value: int) -> bool:
    """Tell whether a solicitation for the target with this value is read."""
    target = value.to_bytes(16, "big")
    return steered(program, solicitation(target)) == READ


def near(value: int, free: int = 0) -> Iterable[int]:
    """Return a prefix's first and last address and those beside it."""
    last = value | (1 << free) - 1
    return {max(value - 1, 0), value, last, min(last + 1, (1 << 128) - 1)}


networks = st.builds(
    lambda value, free, base: ((value if base else BASE + (value & (1 << 96) - 1)) >> free << free, free),
    st.integers(1 << 112, (1 << 128) - 1),
    st.one_of(st.sampled_from([0, 16, 32, 64, 72, 80, 96, 127]), st.integers(0, 127)),
    st.integers(0, 3).map(lambda number: number == 0),
)


@given(st.lists(networks, max_size=40), st.lists(networks, max_size=40), st.lists(networks, max_size=5), st.data())
def test_exactly_what_the_table_knows_is_read(hosts, claimed, excluded, data) -> None:
    table = TargetTable.build(
        [value.to_bytes(16, "big") for value, _ in hosts],
        [Prefix(value, 128 - free) for value, free in claimed],
        [Prefix(value, 128 - free) for value, free in excluded],
    )
    program = counting_program(table, uplink_state())
    everything = [(value, 0) for value, _ in hosts] + claimed + excluded
    for value in [value for network in everything for value in near(*network)]:
        target = value.to_bytes(16, "big")
        if is_global(target) and value >> 96 and target not in uplink_state().own_addresses:
            assert asks(program, value) == (table.match(target, value) is not Match.NOT_OURS), target.hex()


@given(st.frozensets(networks, max_size=8), st.frozensets(networks, max_size=8))
def test_what_is_refused_within_a_claim_is_read_as_well(ours, refused) -> None:
    divided = [tuple(frozenset(Prefix(value, 128 - free) for value, free in part) for part in (ours, refused))]
    table = TargetTable.build(divided=divided)
    program = counting_program(table, uplink_state())
    for value in [value for network in (*ours, *refused) for value in near(*network)]:
        if table.match(value.to_bytes(16, "big"), value) is not Match.NOT_OURS:
            assert asks(program, value)


def table_of(*ranges: range, claimed: Iterable[str] = ()) -> TargetTable:
    live = [value.to_bytes(16, "big") for values in ranges for value in values]
    return TargetTable.build(live, prefixes(*claimed))


SPARSE = range(BASE, BASE + (700 << 32), 1 << 32 | 7)  # each has upper 96 bits of its own
DENSE = range(BASE, BASE + 1800 * 9, 9)
NETWORKS = range(BASE, BASE + (1000 << 70), 1 << 70)
SCATTERED = range(BASE, BASE + 700 * (1 << 97 | 1 << 70), 1 << 97 | 1 << 70)  # each has upper 32 bits of its own


@pytest.mark.parametrize(
    ("values", "length"),
    [(SPARSE, 128), (DENSE, 128), (NETWORKS, 64), (SCATTERED, 64)],
    ids=["sparse", "dense", "networks", "scattered networks"],
)
def test_a_program_with_far_jumps_is_exact_too(values: range, length: int) -> None:
    claimed = [Prefix(value, 64) for value in values] if length == 64 else []
    table = TargetTable.build([] if claimed else [value.to_bytes(16, "big") for value in values], claimed)
    program = counting_program(table, uplink_state())
    assert MAX_INSTRUCTIONS / 2 < len(program) <= MAX_INSTRUCTIONS
    for value in values:
        for beside in near(value, 64 if claimed else 0):
            target = beside.to_bytes(16, "big")
            if target not in uplink_state().own_addresses:
                assert asks(program, beside) == (table.match(target, beside) is not Match.NOT_OURS)


@pytest.mark.parametrize("count", [2_000, 3_000, 100_000])
def test_of_too_many_live_targets_the_whole_subnet_is_read(count: int) -> None:
    table = table_of(range(BASE, BASE + (count << 32), 1 << 32 | 3))
    program = counting_program(table, uplink_state())
    assert len(program) < 300
    assert all(asks(program, value) for value in (BASE, BASE + 1, BASE + (1 << 64) - 1))
    assert not asks(program, BASE + (1 << 64))
    assert not asks(program, BASE - 1)


def test_of_too_many_prefixes_all_that_was_sent_on_the_link_is_read() -> None:
    table = TargetTable.build(claimed=[Prefix(BASE + (number << 66), 64) for number in range(5_000)])
    assert counting_program(table, uplink_state()) == READ_LINK


shares = st.floats(1 / 64, 1, exclude_max=True)
some_station = st.one_of(st.just(lladdr(ROUTER_LLADDR)), st.binary(min_size=6, max_size=6))
some_stations = st.frozensets(some_station, max_size=64)
some_gateway = st.one_of(st.just(packed(ROUTER)), st.binary(min_size=16, max_size=16))
some_gateways = st.frozensets(some_gateway, max_size=64)


@given(
    worlds(),
    st.one_of(nearly_foreign(), foreign(), any_frames),
    some_stations,
    st.dictionaries(some_station, st.dictionaries(some_gateway, st.booleans(), max_size=8), max_size=8),
    some_gateways,
    some_stations,
    some_stations,
    shares,
    shares,
    shares,
    st.integers(0, 2**32 - 1),
)
def test_in_a_flood_what_was_read_of_strangers_is_held_back_but_for_a_few(
    world: World,
    frame: bytes,
    stations,
    guarded,
    gateways,
    known,
    flooding,
    often: float,
    in_name: float,
    share: float,
    random: int,
) -> None:
    program = counting_program(responder_of(world).table, state_of(world))
    before, member = (
        steered(program, frame),
        steered(
            hold_back(program, Shares(often, in_name, share), Spared(stations, guarded, gateways, known, flooding)),
            frame,
            random=random,
        ),
    )
    event(f"member {before} -> {member}")
    station, source = frame[ETHERNET_SOURCE], frame[SOURCE]
    spared = station in stations or (source in gateways if station not in guarded else guarded[station].get(source))
    if before != READ or not run(SOLICITATIONS, frame):
        assert member == before
    elif spared:
        assert member == READ
    else:
        rarely = source not in guarded[station] if station in guarded else station in flooding
        read = LEAST_SHARE if rarely else share
        if station in guarded and not rarely:
            read = in_name
        elif station in known and station not in guarded:
            read = often
        assert member == (HELD_BACK[kind_of(frame)] if random / 2**32 >= read else FLOOD)


@given(st.one_of(nearly_foreign(), foreign(), any_frames), some_stations, some_gateways, st.integers(0, 2**32 - 1))
def test_a_socket_that_nobody_reads_in_a_flood_receives_what_is_spared_and_little_else(
    frame: bytes, stations, gateways, random: int
) -> None:
    received = run(left_in_flood(Spared(stations, gateways=gateways)), frame, random=random)
    spared = frame[ETHERNET_SOURCE] in stations or frame[SOURCE] in gateways or random / 2**32 < UNREAD_SHARE
    assert received == (run(SOLICITATIONS_OF_THE_LINK, frame) if spared else 0)


def question_of(station: bytes) -> bytes:
    return solicitation("2001:db8:1::1", ethernet_source=station)


@pytest.mark.parametrize("count", [300, 4200, MAX_FLOODING])
def test_of_thousands_that_flood_all_are_told_from_most_others(count: int) -> None:
    salt = random.Random(count).getrandbits(64)
    flooding = [b"\x02\x00" + number.to_bytes(4, "big") for number in range(count)]
    others = [random.Random(number).randbytes(6) for number in range(500)]
    program = hold_back(READ_LINK, EVEN, Spared(flooding=flooding, salt=salt))
    assert len(program) < MAX_INSTRUCTIONS - 500  # which a table of some targets needs
    some = [*flooding[:100], *flooding[-100:]]
    seldom = int((LEAST_SHARE + EVEN.others) / 2 * 2**32)
    assert all(steered(program, question_of(each), random=seldom) != FLOOD for each in some)
    read = sum(steered(program, question_of(each), random=seldom) == FLOOD for each in others)
    assert read / len(others) > 0.8 * math.exp(-count / BUCKETS)


def test_another_salt_mistakes_others_for_those_that_flood() -> None:
    flooding = [b"\x02\x00" + number.to_bytes(4, "big") for number in range(MAX_FLOODING)]
    others = [b"\x02\x01" + number.to_bytes(4, "big") for number in range(1000)]
    mistaken = set(others)
    for salt in (0x1234567890ABCDEF, 0x93D765DD51E7A4B1, 0xC2B2AE3D27D4EB4F):
        buckets = {bucket_of(each, salt) for each in flooding}
        mistaken = {each for each in mistaken if bucket_of(each, salt) in buckets}
    assert len(mistaken) < len(others) / 20  # in each of a router's three attempts


def test_each_member_is_counted_as_what_it_gets() -> None:
    assert [READ, *NEVER_READ, *FORWARDED, *HELD_BACK, FLOOD] == list(range(len(COUNTED) + 2))
    for kind in Kind:
        assert COUNTED[NEVER_READ[kind] - 1] == (kind, Outcome.NOT_OURS)
        assert COUNTED[FORWARDED[kind] - 1] == (kind, Outcome.BAD_HOP_LIMIT)
        assert COUNTED[HELD_BACK[kind] - 1] == (kind, Outcome.OVERLOADED)


def test_a_program_without_room_for_both_holds_back_all_the_same() -> None:
    program = counting_program(table_of(DENSE), uplink_state())
    stations = [bytes([2, 0, 0, number, 0, 0]) for number in range(64)]
    gateways = [number.to_bytes(2, "big") * 8 for number in range(MAX_ADDRESSES)]
    sources = dict.fromkeys(gateways[:MAX_SOURCES], True)
    guarded = {bytes([2, 0, 1, number, 0, 0]): sources for number in range(MAX_GUARDED)}
    spared = Spared(stations, guarded, gateways)
    whole = hold_back(program, EVEN, spared)
    assert whole == hold_back(READ_LINK, EVEN, spared)
    assert steered(whole, solicitation("2001:db8:1::1"), random=2**32 - 1) == HELD_BACK[Kind.MULTICAST]


def test_there_is_room_for_all_that_can_be_held_back_and_spared() -> None:
    chance = random.Random(4861)
    some = [[chance.randbytes(length) for _ in range(most)] for length, most in ((6, MAX_SPARED), (16, MAX_ADDRESSES))]
    guarded = {
        chance.randbytes(6): {chance.randbytes(16): chance.random() < 0.5 for _ in range(MAX_SOURCES)}
        for _ in range(MAX_GUARDED)
    }
    flooding = [chance.randbytes(6) for _ in range(MAX_FLOODING)]
    known = [chance.randbytes(6) for _ in range(MAX_KNOWN)]
    spared = Spared(some[0], guarded, some[1], known, flooding, chance.getrandbits(64))
    whole = hold_back(READ_LINK, EVEN, spared)
    assert len(whole) <= MAX_INSTRUCTIONS
