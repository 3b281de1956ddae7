"""The kernel's program and the responder agree on every frame: what one answers, so does the other, to the octet.

The program may leave a frame to the responder; what it must take is the plain case, or it would be of no use.
"""

import time
from collections.abc import Iterator

import pytest
import sample_responder
from frames import option, packed, solicitation, solicited_node
from generated_frames import (
    STATIONS,
    any_frames,
    damaged,
    responder_of,
    seldom,
    solicitations,
    state_of,
    with_right_checksum,
    worlds,
)
from hypothesis import assume, event, given
from hypothesis import strategies as st
from kernel_runs import SHORTEST, InKernel, require_bpf
from protocol_model import World
from small_prefixes import SPACE, divisions, sets

from ndpresponder.linux.bpf.syscall import Hook
from ndpresponder.offload.map_entries import RECENT_PLACES
from ndpresponder.outcome import Outcome
from ndpresponder.policy.responder import Policy, Responder
from ndpresponder.policy.table import Match, TargetTable

MANY = 256  # far fewer than there is room for, so that none pushes out another
LATER_S = 0.02  # more than a tick of the clock, in which only some are noted
SOME = 64

RESOLVED, CONFIRMED = Outcome.ANSWERED_MULTICAST, Outcome.ANSWERED_UNICAST


@pytest.fixture(scope="module", params=[Hook.TCX_INGRESS, Hook.XDP], ids=["tcx", "xdp"])
def kernel(request) -> Iterator[InKernel]:
    require_bpf()
    with InKernel(request.param) as kernel:
        yield kernel


@pytest.fixture(params=[Hook.TCX_INGRESS, Hook.XDP], ids=["tcx", "xdp"])
def fresh_kernel(request) -> Iterator[InKernel]:
    """Return a program that has not answered anything yet."""
    require_bpf()
    with InKernel(request.param) as kernel:
        yield kernel


def is_plain(frame: bytes, outcome: Outcome) -> bool:
    """Tell whether a frame that is answered has the form that the program must take."""
    return (
        outcome in (RESOLVED, CONFIRMED)
        and frame[54 + frame[19] :] == b""
        and frame[78:]
        in (
            b"",
            option(1, frame[6:12]),
        )
    )


def check(kernel: InKernel, responder: Responder, frame: bytes) -> str:
    outcome, advertisement = responder.respond(frame)
    before = kernel.counted()
    answer = kernel.answer(frame)
    counted = tuple(now - then for now, then in zip(kernel.counted(), before, strict=True))
    if answer is None:
        assert not is_plain(frame, outcome)
        assert counted == (0, 0)
    else:
        assert answer == advertisement
        assert counted == (int(outcome is RESOLVED), int(outcome is CONFIRMED))
    return f"{outcome.label}, {'in user space' if answer is None else 'in the kernel'}"


def tell(kernel: InKernel, world: World, verified: bool) -> Responder:
    assume(not world.policy["dry_run"])  # then it is not attached
    responder = responder_of(world)
    if verified:
        responder.is_there = lambda target: False
    state = state_of(world)
    kernel.tell(responder.table, state, Policy(**world.policy), claimed=not verified)
    return responder


@given(worlds(), st.booleans(), st.lists(st.one_of(solicitations(), damaged()), min_size=1, max_size=8))
def test_what_the_kernel_answers_the_responder_would_answer_alike(
    kernel: InKernel, world: World, verified: bool, frames: list[bytes]
) -> None:
    responder = tell(kernel, world, verified)
    for frame in frames:
        if len(frame) >= SHORTEST:
            event(check(kernel, responder, frame))


FOREIGN = (
    sample_responder.GATEWAY,
    sample_responder.OWN_ADDRESS,
    sample_responder.EXCLUDED_TARGET,
    "2001:db8:1::1",
    "fe80::c1",
)
STRANGE = ("::ffff:1.2.3.4", "::1", "::2", "ff02::1", "::1:0:0", "::fffe:1:1", sample_responder.OWN_LINK_LOCAL)


@st.composite
def plain(draw: st.DrawFn) -> bytes:
    """Generate solicitations of the plain form, of which a field or an octet may be wrong, the checksum seldom."""
    target = draw(seldom(sample_responder.CLAIMED_TARGET, *FOREIGN) | seldom(sample_responder.LIVE_TARGET, *FOREIGN))
    frame = solicitation(
        target,
        draw(
            seldom("fe80::1", *STRANGE, target)
            | seldom("2001:db8::3", sample_responder.OWN_ADDRESS, sample_responder.GATEWAY)
        ),
        draw(seldom(solicited_node(target), packed("ff02::2:ff00:c1")) | seldom(packed(target), packed("ff02::1"))),
        slla=draw(st.sampled_from([..., None])),
        reserved=draw(seldom(bytes(4), b"\xff" * 4)),
    )
    if draw(st.booleans()):
        place = draw(st.integers(0, len(frame) - 1))
        frame = frame[:place] + bytes((frame[place] ^ 1 << draw(st.integers(0, 7)),)) + frame[place + 1 :]
    return draw(seldom(with_right_checksum(frame), frame))


@given(worlds(), st.booleans(), st.lists(plain(), min_size=1, max_size=20))
def test_the_plain_case_is_the_kernels(kernel: InKernel, world: World, verified: bool, frames: list[bytes]) -> None:
    responder = tell(kernel, world, verified)
    for frame in frames:
        event(check(kernel, responder, frame))


def usual(kernel: InKernel) -> Responder:
    responder = sample_responder.make_responder(forwarding=True)
    kernel.tell(responder.table, sample_responder.uplink_state(forwarding=True), Policy())
    return responder


@pytest.mark.parametrize("slla", [..., None], ids=["86 octets", "78 octets"])
@pytest.mark.parametrize(
    "target", [sample_responder.CLAIMED_TARGET, sample_responder.LIVE_TARGET], ids=["claimed", "live"]
)
def test_no_bit_is_overlooked(kernel: InKernel, target: str, slla) -> None:
    responder = usual(kernel)
    for destination in (solicited_node(target), packed(target)):
        frame = solicitation(target, destination=destination, slla=slla)
        for bit in range(8 * len(frame)):
            changed = bytearray(frame)
            changed[bit // 8] ^= 1 << bit % 8
            check(kernel, responder, bytes(changed))
            check(kernel, responder, with_right_checksum(bytes(changed)))


def test_no_pair_of_addresses_is_overlooked(kernel: InKernel) -> None:
    responder = usual(kernel)
    sources = (
        "fe80::1",
        "2001:db8::3",
        "::",
        "::fffe:102:304",
        *STRANGE,
        sample_responder.OWN_ADDRESS,
        sample_responder.GATEWAY,
    )
    for target in (sample_responder.CLAIMED_TARGET, sample_responder.LIVE_TARGET, *FOREIGN):
        for source in (*sources, target):
            for destination in (solicited_node(target), packed(target), packed("ff02::1")):
                for station in STATIONS:
                    check(kernel, responder, solicitation(target, source, destination, ethernet_destination=station))
                    check(kernel, responder, solicitation(target, source, destination, ethernet_source=station))
                    check(kernel, responder, solicitation(target, source, destination, slla=station))


def test_claimed_targets_that_were_answered_are_remembered_and_of_very_many_the_latest(fresh_kernel: InKernel) -> None:
    usual(fresh_kernel)
    targets = [packed(f"2001:db8::5:{number:x}") for number in range(MANY)]
    for number, target in enumerate(targets):
        if number % SOME == 0:
            time.sleep(LATER_S)
        assert fresh_kernel.answer(solicitation(target)) is not None
    assert set(fresh_kernel.recent()) == set(targets)
    time.sleep(LATER_S)
    asked = [targets[7], packed("2001:db8::6:1")]
    for target in (sample_responder.LIVE_TARGET, *asked):
        assert fresh_kernel.answer(solicitation(target)) is not None
    assert set(fresh_kernel.recent()[:2]) == set(asked)
    assert len(fresh_kernel.recent()) == MANY + 1
    for number in range(4 * RECENT_PLACES):
        fresh_kernel.answer(solicitation(packed(f"2001:db8::7:{number:x}")))
    time.sleep(LATER_S)
    fresh_kernel.answer(solicitation(targets[9]))
    assert fresh_kernel.recent()[0] == targets[9]
    assert len(set(fresh_kernel.recent())) <= 2 * RECENT_PLACES


@given(any_frames)
def test_an_uplink_that_is_not_ready_answers_nothing(kernel: InKernel, frame: bytes) -> None:
    assume(len(frame) >= SHORTEST)
    kernel.tell(sample_responder.make_responder().table, None, Policy())
    assert kernel.answer(frame) is None


@given(divisions, sets, sets, st.frozensets(st.sampled_from(SPACE), max_size=8))
def test_the_table_in_the_kernel_says_what_the_table_says(kernel: InKernel, divided, claimed, excluded, live) -> None:
    table = TargetTable.build((value.to_bytes(16, "big") for value in live), claimed, excluded, divided)
    kernel.tell(table, sample_responder.uplink_state(), Policy())
    for value in SPACE:
        target = value.to_bytes(16, "big")
        answer = kernel.answer(solicitation(target))
        match = table.match(target, value)
        assert (answer is not None) == (match in (Match.CLAIMED, Match.LIVE))
        if answer is not None:
            assert bool(answer[58] & 0x20) == (match is Match.LIVE)  # Override
