"""What the responder remembers of strangers: bounded, and never wrong because of what another frame said."""

import itertools
import struct
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from frames import ROUTER, ROUTER_LLADDR, advertisement, option, packed, solicitation
from sample_responder import make_responder, uplink_state

from ndpresponder.outcome import Outcome
from ndpresponder.policy.requester import Requester
from ndpresponder.policy.responder import MAX_NEWCOMERS, MAX_REMEMBERED_OPTIONS, MAX_REQUESTERS
from ndpresponder.wire.layout import REQUESTER

REMEMBERED = 256  # instead of MAX_REQUESTERS and MAX_ANSWERS, to be quick
STRANGERS = 3 * REMEMBERED // 2
ENOUGH = 1200 + 500  # octets for each requester and each answer, with their keys
VRRP_LLADDR = "00:00:5e:00:02:01"

# Octets 6 to 38 are those of `VALID` in every one of these: link-layer source, length, hop limit, source
VALID = solicitation()
LIES = {
    "checksum": solicitation(checksum=0),
    "checksum and option": solicitation(slla=VRRP_LLADDR, checksum=0),
    "option of length 0": solicitation(slla=None, options=bytes(8)),
    "option past the end": solicitation(slla=None, options=b"\x0e\x02" + bytes(6)),
    "another option": solicitation(slla=None, options=option(14, bytes(6))),
    "another requester's option": solicitation(slla=VRRP_LLADDR),
    "group option": solicitation(slla="33:33:00:00:00:01"),
    "code": solicitation(code=1),
    "type": solicitation(kind=136),
    "target": solicitation("ff02::1"),
    "destination": solicitation(destination="ff02::1"),
    "cut": VALID[:-1],
    "longer": VALID + bytes(8),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_a_requesters_name_changes_none_of_its_answers(lie: str) -> None:
    responder = make_responder()
    assert LIES[lie][6:38] == VALID[6:38]
    responder.respond(LIES[lie])
    assert responder.respond(VALID) == (Outcome.ANSWERED_MULTICAST, advertisement())


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_ends_alike_whether_its_requester_is_known_or_not(lie: str) -> None:
    known, unknown = make_responder(), make_responder()
    known.respond(VALID)
    assert known.respond(LIES[lie]) == unknown.respond(LIES[lie])


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(LIES, 2)))
def test_two_lies_change_none_of_the_answers_either(first: str, second: str) -> None:
    responder = make_responder()
    for frame in (VALID, LIES[first], LIES[second]):
        responder.respond(frame)
    assert responder.respond(VALID) == (Outcome.ANSWERED_MULTICAST, advertisement())


def test_messages_of_one_requester_that_differ_in_length_are_judged_apart() -> None:
    responder = make_responder()
    frames = [
        solicitation(slla=None),
        VALID,
        solicitation(options=option(14, bytes(6))),
        solicitation(payload_length=0),
        solicitation(payload_length=8),
    ]
    first = [responder.respond(frame) for frame in frames]
    assert [responder.respond(frame) for frame in frames] == first
    assert [sent for _, sent in first] == [advertisement()] * 3 + [None] * 2


def test_options_too_long_to_be_remembered_are_read_in_each_frame() -> None:
    responder = make_responder()
    frame = solicitation(slla=VRRP_LLADDR, options=option(14, bytes(MAX_REMEMBERED_OPTIONS)))
    for _ in range(3):
        assert responder.respond(frame)[1] == advertisement(ethernet_destination=VRRP_LLADDR)
    assert [each.options for each in responder._newcomers.values() if isinstance(each, Requester)] == [None]


def test_two_requesters_behind_one_link_layer_address_are_told_apart() -> None:
    responder = make_responder()
    sources = (ROUTER, "fe80::3", ROUTER, "fe80::3")
    assert [responder.respond(solicitation(source=source))[1] for source in sources] == [
        advertisement(destination=source) for source in sources
    ]


def test_two_link_layer_addresses_with_one_source_are_told_apart() -> None:
    responder = make_responder()
    stations = (ROUTER_LLADDR, "02:00:00:00:00:03", ROUTER_LLADDR)
    for station in stations:
        sent = responder.respond(solicitation(ethernet_source=station, slla=None))[1]
        assert sent == advertisement(ethernet_destination=station)


def words(number: int) -> bytes:
    """Return 8 octets that tell `number`, and that add nothing to a checksum."""
    high, low = divmod(number, 1 << 16)
    return struct.pack("!4H", high, 0xFFFF - high, low, 0xFFFF - low)


def sources() -> Iterator[bytes]:
    frame = solicitation(source=packed("fe80::")[:8] + words(0))
    return (frame[:30] + words(number) + frame[38:] for number in range(STRANGERS))


def stations() -> Iterator[bytes]:
    return (VALID[:8] + number.to_bytes(4, "big") + VALID[12:] for number in range(STRANGERS))


def options() -> Iterator[bytes]:
    frame = solicitation(options=option(14, words(0)))
    return (frame[:88] + words(number) + frame[96:] for number in range(STRANGERS))


def reasons() -> Iterator[bytes]:
    return (frame[:21] + bytes((number % 256,)) + frame[22:] for number, frame in enumerate(sources()))


def full_frames() -> Iterator[bytes]:
    filler = b"\x0e\xaf" + bytes(1398)
    frame = solicitation(source=packed("fe80::")[:8] + words(0), options=filler)
    return (frame[:30] + words(number) + frame[38:] for number in range(STRANGERS))


@pytest.mark.parametrize("spoof", [sources, stations, options, reasons, full_frames])
def test_strangers_in_any_number_take_bounded_memory(
    spoof: Callable[[], Iterator[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ndpresponder.policy.responder.MAX_REQUESTERS", REMEMBERED // 2)
    monkeypatch.setattr("ndpresponder.policy.responder.MAX_NEWCOMERS", REMEMBERED // 2)
    monkeypatch.setattr("ndpresponder.policy.responder.MAX_ANSWERS", REMEMBERED)
    responder = make_responder()
    respond = responder.respond
    tracemalloc.start()
    try:
        for frame in spoof():
            respond(frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < REMEMBERED * ENOUGH
    assert len(responder._requesters) + len(responder._newcomers) <= REMEMBERED
    assert respond(VALID) == (Outcome.ANSWERED_MULTICAST, advertisement())


@pytest.mark.parametrize("times", [1, 2])
def test_no_number_of_strangers_and_no_change_of_the_link_displaces_who_is_known(times: int) -> None:
    responder = make_responder()
    for target in ("2001:db8::c1", "2001:db8::c2"):
        responder.respond(solicitation(target))
    assert VALID[6:38] in responder.known
    for number in range(MAX_REQUESTERS + MAX_NEWCOMERS + 1):
        stranger = solicitation(source=packed("fe80::bad:0:0")[:12] + number.to_bytes(4, "big"))
        for _ in range(times):
            responder.respond(stranger)
    responder.set_state(uplink_state(forwarding=True))
    assert VALID[6:38] in responder.known
    responder.set_state(uplink_state())
    assert responder.respond(solicitation("2001:db8::c3"))[1] == advertisement("2001:db8::c3")


@pytest.mark.parametrize("frame", [solicitation(checksum=0), solicitation(hop_limit=64), solicitation(source="::1")])
def test_who_asked_nothing_valid_is_not_known(frame: bytes) -> None:
    responder = make_responder()
    for _ in range(3):
        responder.respond(frame)
    assert frame[6:38] not in responder.known


def test_an_answer_that_is_remembered_is_forgotten_with_what_it_came_from() -> None:
    responder = make_responder()
    table, state = responder.table, uplink_state()
    assert responder.respond(VALID) == (Outcome.ANSWERED_MULTICAST, advertisement())
    responder.table = make_responder(claimed=()).table
    assert responder.respond(VALID) == (Outcome.NOT_OURS, None)
    responder.table = table
    assert responder.respond(VALID) == (Outcome.ANSWERED_MULTICAST, advertisement())
    responder.set_state(None)
    assert responder.respond(VALID) == (Outcome.NOT_READY, None)
    responder.set_state(state)
    assert responder.respond(VALID) == (Outcome.ANSWERED_MULTICAST, advertisement())
    responder.is_there = lambda target: False
    assert responder.respond(VALID) == (Outcome.NOT_VERIFIED, None)


def test_a_claimed_target_is_verified_again_for_each_of_the_same_frames() -> None:
    verdicts = [True, True, False]
    responder = make_responder(is_there=lambda target: verdicts.pop(0))
    outcomes = [responder.respond(VALID)[0] for _ in range(3)]
    assert outcomes == [Outcome.ANSWERED_MULTICAST, Outcome.ANSWERED_MULTICAST, Outcome.NOT_VERIFIED]


def test_a_remembered_answer_spends_the_rate_limit_too() -> None:
    left = [True, True, False]
    responder = make_responder(take=lambda _: left.pop(0))
    outcomes = [responder.respond(VALID)[0] for _ in range(3)]
    assert outcomes == [Outcome.ANSWERED_MULTICAST, Outcome.ANSWERED_MULTICAST, Outcome.RATE_LIMITED]


def test_a_vlan_tag_is_seen_on_a_frame_whose_answer_is_remembered() -> None:
    responder = make_responder()
    responder.respond(VALID)
    assert responder.respond(VALID, True) == (Outcome.VLAN_TAGGED, None)


def test_a_full_memory_of_answers_is_emptied_only_after_many_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndpresponder.policy.responder.MAX_ANSWERS", 4)
    monkeypatch.setattr("ndpresponder.policy.responder.MISSES_BEFORE_FORGETTING", 8)
    responder = make_responder()
    responder.respond(solicitation("2001:db8::ff"))  # known from the next question on
    sizes = []
    for number in range(14):
        responder.respond(solicitation(f"2001:db8::{number + 1:x}"))
        sizes.append(len(responder._answers))
    assert sizes == [1, 2, 3, 4, *[4] * 7, 0, 1, 2]


def test_who_asks_the_same_question_again_and_again_is_known_and_a_single_question_is_not_remembered() -> None:
    responder = make_responder()
    frame = solicitation("2001:db8::1")
    responder.respond(frame)
    assert (len(responder.known.since_s), len(responder._answers)) == (0, 0)
    responder.respond(frame)
    assert list(responder.known.since_s) == [frame[REQUESTER]]
    assert len(responder._answers) == 1
