"""The fast path's program as it was compiled: what strict verifiers forbid is not in it, whatever clang made it."""

import struct
import sys

import pytest
from kernel_runs import require_bpf

from ndpresponder.linux.bpf.syscall import Hook
from ndpresponder.offload.kernel_program import read_object

STORES = (2, 3)  # classes of instructions: BPF_ST, BPF_STX
SIZE, WHOLE_WORD = 0x18, 0x18  # its bits of the code, and those of 8 octets
STACK = 10  # register


@pytest.mark.parametrize("hook", list(Hook))
def test_the_stack_is_written_in_whole_words_only(hook: Hook) -> None:
    require_bpf()
    to_stack = []
    for code, registers, offset, _ in struct.iter_unpack("=BBhi", read_object(hook).instructions):
        destination = registers & 0x0F if sys.byteorder == "little" else registers >> 4
        if code & 7 in STORES and destination == STACK:
            to_stack.append((code & SIZE, offset % 8))
    assert to_stack
    assert set(to_stack) == {(WHOLE_WORD, 0)}
