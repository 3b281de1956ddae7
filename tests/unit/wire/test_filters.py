"""The filter's encoding, and that its jumps stay inside; what it decides is compared with libpcap's elsewhere."""

import struct

import pytest

from ndpresponder.wire.classic_bpf import JUMP_IF_EQUAL, RETURN, Instruction, encode
from ndpresponder.wire.filters import ADVERTISEMENTS, SOLICITATIONS, WHOLE_FRAME


def test_an_instruction_is_struct_sock_filter() -> None:
    assert encode((Instruction(0x15, 1, 2, 0x86DD),)) == struct.pack("=HBBI", 0x15, 1, 2, 0x86DD)
    assert len(encode(SOLICITATIONS)) == 8 * len(SOLICITATIONS)


@pytest.mark.parametrize("program", [SOLICITATIONS, ADVERTISEMENTS])
def test_every_path_ends_in_the_whole_frame_or_in_nothing(program: tuple[Instruction, ...]) -> None:
    assert {item.operand for item in program if item.code == RETURN} == {0, WHOLE_FRAME}
    assert program[-1].code == RETURN
    for position, item in enumerate(program):
        if item.code == JUMP_IF_EQUAL:
            assert position + 1 + max(item.jump_true, item.jump_false) < len(program)


def test_the_programs_differ_in_the_message_they_take() -> None:
    differing = [(ours.operand, theirs.operand) for ours, theirs in zip(SOLICITATIONS, ADVERTISEMENTS[2:], strict=True)]
    assert [pair for pair in differing if pair[0] != pair[1]] == [(135, 136)]


def test_a_frame_of_any_length_is_taken_whole() -> None:
    assert WHOLE_FRAME > 14 + 40 + 65535
