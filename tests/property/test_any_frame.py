"""Whatever the octets: never an exception, never a wrong answer, never an answer too many."""

from collections.abc import Sequence

from generated_frames import any_frames, damaged, responder_of, solicitations, worlds
from hypothesis import event, example, given
from hypothesis import strategies as st
from protocol_model import World, expected
from sample_responder import make_responder

from ndpresponder.outcome import Outcome
from ndpresponder.policy.responder import Responder
from ndpresponder.wire.solicitation import kind_of


def check(responder: Responder, world: World, frame: bytes, to_other_host: bool = False) -> None:
    wanted = expected(world, frame, to_other_host)
    outcome, advertisement = responder.respond(frame, to_other_host)
    event(outcome.label)
    assert advertisement == wanted.advertisement
    if wanted.reasons:
        assert outcome in wanted.reasons
    else:
        assert outcome is wanted.kind
        assert outcome == kind_of(frame)


@given(worlds(), solicitations())
def test_a_solicitation_ends_as_the_protocol_says(world: World, frame: bytes) -> None:
    check(responder_of(world), world, frame)


@given(worlds(), damaged())
def test_a_damaged_solicitation_ends_as_the_protocol_says(world: World, frame: bytes) -> None:
    check(responder_of(world), world, frame)


@given(worlds(), st.lists(st.tuples(any_frames, st.sampled_from([False] * 9 + [True])), min_size=2, max_size=8))
def test_what_came_before_changes_nothing(world: World, frames: Sequence[tuple[bytes, bool]]) -> None:
    responder = responder_of(world)
    for frame, to_other_host in (*frames, *frames):
        check(responder, world, frame, to_other_host)


@given(st.binary(max_size=2000))
@example(b"")
@example(bytes(78))
@example(b"\xff" * 1514)
def test_any_octets_at_all_have_a_kind_and_an_outcome(frame: bytes) -> None:
    kind_of(frame)
    outcome, advertisement = make_responder().respond(frame)
    assert (advertisement is not None) == outcome.answered


@given(any_frames)
def test_an_answer_is_never_larger_than_a_solicitation_with_one_option(frame: bytes) -> None:
    _, advertisement = make_responder().respond(frame)
    assert advertisement is None or len(advertisement) == 86 <= len(frame) + 8


@given(any_frames)
def test_an_uplink_that_is_not_ready_answers_nothing(frame: bytes) -> None:
    responder = make_responder()
    responder.set_state(None)
    assert responder.respond(frame) == (Outcome.NOT_READY, None)
