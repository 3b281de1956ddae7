"""The socket's filter decides as libpcap's program does, and keeps nothing away that would be answered.

Both run in `classic_bpf`.
"""

import pytest
from bpf_interpreter import run
from frames import UPLINK_LLADDR, advertisement, lladdr, packed, solicitation, tagged
from generated_frames import any_frames
from hypothesis import example, given
from hypothesis import strategies as st
from sample_responder import make_responder

from ndpresponder.wire.classic_bpf import Instruction
from ndpresponder.wire.filters import (
    ADVERTISEMENTS,
    QUERIES,
    ROUTER_SEARCHES,
    SOLICITATIONS,
    advertisements_by,
    advertisements_of,
)

EXPRESSION = "icmp6 and ip6[6] == 58 and ip6[40] == 135"
ETHERNET = 1  # DLT_EN10MB


def with_options(kind: int) -> bytes:
    """Return the beginning of a message of MLD or multicast router discovery, behind its Router Alert option."""
    frame = solicitation(next_header=0)
    return frame[:54] + bytes((58, 0, 5, 2, 0, 0, 1, 0, kind, 0)) + frame[64:]


@pytest.fixture(scope="module")
def of_libpcap() -> list[Instruction]:
    """Return what libpcap makes of `EXPRESSION`."""
    from scapy.arch.common import compile_filter

    try:
        program = compile_filter(EXPRESSION, linktype=ETHERNET)
    except ImportError:
        pytest.skip("needs libpcap")
    items = [program.bf_insns[position] for position in range(program.bf_len)]
    return [Instruction(item.code, item.jt, item.jf, item.k) for item in items]


@given(any_frames)
@example(solicitation(next_header=6))
@example(tagged(solicitation(), 5))
@example(solicitation()[:55])
@example(solicitation()[:54])
def test_the_filter_decides_as_libpcaps_program(of_libpcap: list[Instruction], frame: bytes) -> None:
    # how much of a frame is let through is the business of whoever captures; scapy says 65,535 octets
    assert bool(run(SOLICITATIONS, frame)) == bool(run(of_libpcap, frame))


@given(any_frames, st.booleans())
def test_the_filter_lets_through_all_that_is_answered(frame: bytes, unspecific: bool) -> None:
    outcome, _ = make_responder(claimed=("::/0",) if unspecific else ("2001:db8::/32",), excluded=()).respond(frame)
    if outcome.answered:
        assert run(SOLICITATIONS, frame) >= len(frame)


@given(any_frames)
def test_what_the_filter_lets_through_has_the_form_of_a_solicitation(frame: bytes) -> None:
    if run(SOLICITATIONS, frame):
        assert (frame[12:14], frame[20], frame[54]) == (b"\x86\xdd", 58, 135)


STATIONS = [(packed("2001:db8::c1"), lladdr(station)) for station in ("02:00:00:00:00:77", UPLINK_LLADDR)]
LISTENED = {
    "advertisements": (ADVERTISEMENTS, advertisement(), 255),
    "those of gateways": (advertisements_of([packed("2001:db8::c1")]), advertisement("2001:db8::c1"), 255),
    "those of pinned stations": (advertisements_by(STATIONS), advertisement("2001:db8::c1"), 255),
    "multicast listener queries": (QUERIES, with_options(130), 1),
    "multicast router solicitations": (ROUTER_SEARCHES, with_options(152), 1),
}


@pytest.mark.parametrize(("program", "frame", "right"), LISTENED.values(), ids=LISTENED)
@pytest.mark.parametrize("hop_limit", [0, 1, 2, 64, 254, 255])
def test_no_program_accepts_what_a_router_forwarded(program, frame: bytes, right: int, hop_limit: int) -> None:
    assert bool(run(program, frame[:21] + bytes((hop_limit,)) + frame[22:])) == (hop_limit == right)


@pytest.mark.parametrize("changed", range(62, 86))
def test_an_advertisement_of_another_target_or_station_is_none_of_a_pinned_one(changed: int) -> None:
    frame = advertisement("2001:db8::c1")
    assert run(advertisements_by(STATIONS), frame[:changed] + bytes((frame[changed] ^ 1,)) + frame[changed + 1 :]) == 0
    assert run(advertisements_by(STATIONS), frame[:changed]) == 0
