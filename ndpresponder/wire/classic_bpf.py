"""Writes classic BPF programs: jumps of any length, and a binary search among words of the frame.

Pure. Opcodes and limits are those of linux/filter.h and linux/bpf_common.h.
"""

from collections.abc import Sequence
from typing import Final

from ndpresponder.wire.filters import JUMP_IF_EQUAL, LOAD_WORD, Instruction

MAX_INSTRUCTIONS: Final = 4096  # BPF_MAXINSNS

JUMP: Final = 0x05  # BPF_JMP | BPF_JA
JUMP_IF_EQUAL_X: Final = 0x1D  # BPF_JMP | BPF_JEQ | BPF_X
JUMP_IF_GREATER: Final = 0x25  # BPF_JMP | BPF_JGT | BPF_K
JUMP_IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
JUMP_IF_SET: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
ADD: Final = 0x04  # BPF_ALU | BPF_ADD | BPF_K
ADD_X: Final = 0x0C  # BPF_ALU | BPF_ADD | BPF_X
OR: Final = 0x44  # BPF_ALU | BPF_OR | BPF_K
MODULO: Final = 0x94  # BPF_ALU | BPF_MOD | BPF_K
LOAD_X: Final = 0x01  # BPF_LDX | BPF_IMM
TO_X: Final = 0x07  # BPF_MISC | BPF_TAX

_FURTHEST_JUMP: Final = 254  # one less than 8 bits, because the other jump of the same test may add an instruction

Program = tuple[Instruction, ...]
Ranges = list[tuple[int, int]]  # first and last value, ascending and apart from each other


class TooLong(Exception):
    """The program would have more than `MAX_INSTRUCTIONS`."""


class Writer:
    """Writes a program from its end to its beginning: jumps go forward, so that where they lead is known by then.

    A label is the number of instructions from the one it names to the end.
    """

    def __init__(self) -> None:
        self._reversed: list[Instruction] = []
        self._relays: dict[int, int] = {}  # label -> that of the nearest jump to it

    def __len__(self) -> int:
        """Return the label of what was written last."""
        return len(self._reversed)

    def program(self) -> Program:
        """Return what was written, first instruction first."""
        return tuple(reversed(self._reversed))

    def put(self, code: int, operand: int = 0, then: int = 0, otherwise: int = 0) -> int:
        """Write one instruction before all others, and return its label; a test has labels to go on at."""
        if then:
            otherwise, then = self._near(otherwise), self._near(then)
            after = len(self._reversed)
            then, otherwise = after - then, after - otherwise
        self._reversed.append(Instruction(code, then, otherwise, operand))
        if len(self._reversed) > MAX_INSTRUCTIONS:
            raise TooLong
        return len(self._reversed)

    def _near(self, label: int) -> int:
        """Return `label`, or that of a jump to it if a test cannot reach so far."""
        here = len(self._reversed)
        if here - label <= _FURTHEST_JUMP:
            return label
        if here - self._relays.get(label, 0) > _FURTHEST_JUMP:
            self._relays[label] = self.put(JUMP, here - label)
        return self._relays[label]

    def require(self, code: int, operand: int, otherwise: int) -> int:
        """Write a test that goes on with what was written before if it holds."""
        return self.put(code, operand, len(self._reversed), otherwise)

    def refuse(self, code: int, operand: int, otherwise: int) -> int:
        """Write a test that goes on with what was written before unless it holds."""
        return self.put(code, operand, otherwise, len(self._reversed))

    def search(self, ranges: Ranges, place: int, bits: int, inside: int, outside: int) -> int:
        """Write a binary search for the `bits` at `place`: a word, then for some of its values the next word."""
        low = bits - 32
        mask = (1 << low) - 1
        partial: dict[int, Ranges] = {}  # words whose next word decides
        whole: Ranges = []
        for first, last in ranges:
            head, tail = first >> low, last >> low
            starts, ends = first & mask == 0, last & mask == mask
            if head == tail and not (starts and ends):
                partial.setdefault(head, []).append((first & mask, last & mask))
                continue
            if not starts:
                partial.setdefault(head, []).append((first & mask, mask))
            if not ends:
                partial.setdefault(tail, []).append((0, last & mask))
            if head + (not starts) <= tail - (not ends):
                whole.append((head + (not starts), tail - (not ends)))
        items = [(first, last, inside) for first, last in whole]
        items += [(word, word, self.search(rest, place + 4, low, inside, outside)) for word, rest in partial.items()]
        self._choose(sorted(items), 0, outside)
        return self.put(LOAD_WORD, place)

    def _choose(self, items: Sequence[tuple[int, int, int]], least: int, outside: int) -> int:
        """Write the choice by the loaded word, which is `least` or more, among first and last value, and label."""
        if not items:
            return self.put(JUMP, len(self._reversed) - outside)
        if len(items) == 1:
            first, last, label = items[0]
            if first == last:
                return self.put(JUMP_IF_EQUAL, first, label, outside)
            label = self.put(JUMP_IF_GREATER, last, outside, label)
            return self.put(JUMP_IF_AT_LEAST, first, label, outside) if first > least else label
        middle = len(items) // 2
        split = items[middle][0]
        upper = self._choose(items[middle:], split, outside)
        lower = self._choose(items[:middle], least, outside)
        return self.put(JUMP_IF_AT_LEAST, split, upper, lower)
