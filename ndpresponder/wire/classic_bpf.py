"""Classic BPF: its instructions, and a writer of programs from top to bottom.

Encoding: struct sock_filter {u16 code; u8 jt; u8 jf; u32 k} in host byte order (linux/filter.h). Jumps count
instructions to skip, and only go forward. A load beyond the end of the frame ends the program with 0.

Pure. Opcodes and limits are those of linux/filter.h and linux/bpf_common.h.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

MAX_INSTRUCTIONS: Final = 4096  # BPF_MAXINSNS

LOAD: Final = 0x00  # BPF_LD | BPF_IMM
LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
LOAD_HALF: Final = 0x28  # BPF_LD | BPF_H | BPF_ABS
LOAD_BYTE: Final = 0x30  # BPF_LD | BPF_B | BPF_ABS
LOAD_STORED: Final = 0x60  # BPF_LD | BPF_MEM
LOAD_X: Final = 0x01  # BPF_LDX | BPF_IMM
STORE: Final = 0x02  # BPF_ST
TO_X: Final = 0x07  # BPF_MISC | BPF_TAX
ADD: Final = 0x04  # BPF_ALU | BPF_ADD | BPF_K
ADD_X: Final = 0x0C  # BPF_ALU | BPF_ADD | BPF_X
MULTIPLY: Final = 0x24  # BPF_ALU | BPF_MUL | BPF_K
OR: Final = 0x44  # BPF_ALU | BPF_OR | BPF_K
AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
SHIFT_LEFT_X: Final = 0x6C  # BPF_ALU | BPF_LSH | BPF_X
SHIFT_RIGHT: Final = 0x74  # BPF_ALU | BPF_RSH | BPF_K
MODULO: Final = 0x94  # BPF_ALU | BPF_MOD | BPF_K
JUMP: Final = 0x05  # BPF_JMP | BPF_JA
JUMP_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_IF_EQUAL_X: Final = 0x1D  # BPF_JMP | BPF_JEQ | BPF_X
JUMP_IF_GREATER: Final = 0x25  # BPF_JMP | BPF_JGT | BPF_K
JUMP_IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
JUMP_IF_SET: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
JUMP_IF_SET_X: Final = 0x4D  # BPF_JMP | BPF_JSET | BPF_X
RETURN: Final = 0x06  # BPF_RET | BPF_K

_FURTHEST_JUMP: Final = 254  # one less than 8 bits, because the other jump of the same test may add an instruction


class Instruction(NamedTuple):
    """One instruction; see linux/filter.h."""

    code: int
    jump_true: int
    jump_false: int
    operand: int


Program = tuple[Instruction, ...]
Ranges = list[tuple[int, int]]  # first and last value, ascending and apart from each other


def encode(program: Program) -> bytes:
    """Return `program` as the kernel takes it: 8 octets for each instruction."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


class TooLong(Exception):
    """The program would have more than `MAX_INSTRUCTIONS`."""


class Label:
    """A place in a program, to be marked after all jumps to it."""

    __slots__ = ()


class Writer:
    """Writes a program from top to bottom."""

    def __init__(self) -> None:
        self._steps: list[Label | tuple[int, int, Label | None, Label | None]] = []

    def put(self, code: int, operand: int = 0) -> None:
        """Write an instruction that goes on with the next one, or ends the program."""
        self._steps.append((code, operand, None, None))

    def test(self, code: int, operand: int, then: Label | None, otherwise: Label | None) -> None:
        """Write a test: it goes on at one label or at the other, of which None is the next instruction."""
        self._steps.append((code, operand, then, otherwise))

    def require(self, code: int, operand: int, otherwise: Label) -> None:
        """Write a test that goes on with the next instruction if it holds."""
        self.test(code, operand, None, otherwise)

    def expect(self, load: int, place: int, value: int, otherwise: Label) -> None:
        """Load what stands at `place`, and go on with the next instruction if it is `value`."""
        self.put(load, place)
        self.require(JUMP_IF_EQUAL, value, otherwise)

    def refuse(self, code: int, operand: int, then: Label) -> None:
        """Write a test that goes on with the next instruction unless it holds."""
        self.test(code, operand, then, None)

    def jump(self, label: Label) -> None:
        """Go on at `label`."""
        self.test(JUMP, 0, label, None)

    def mark(self, label: Label) -> None:
        """Have the jumps to `label` lead to the next instruction."""
        self._steps.append(label)

    def search(self, ranges: Ranges, place: int, bits: int, inside: Label) -> None:
        """Write a binary search for the `bits` at `place`: it goes on at `inside` if one of `ranges` holds them."""
        if ranges:
            outside = Label()
            self._search(ranges, place, bits, inside, outside)
            self.mark(outside)

    def _search(self, ranges: Ranges, place: int, bits: int, inside: Label, outside: Label) -> None:
        """Search by a word, then for some of its values by the next word."""
        low = bits - 32
        mask = (1 << low) - 1
        partial: dict[int, Ranges] = {}  # words whose next word decides
        items: list[tuple[int, int, Label]] = []
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
                items.append((head + (not starts), tail - (not ends), inside))
        labels = {word: Label() for word in partial}
        items += [(word, word, label) for word, label in labels.items()]
        self.put(LOAD_WORD, place)
        self._choose(sorted(items, key=lambda item: item[0]), 0, outside)
        for word, rest in partial.items():
            self.mark(labels[word])
            self._search(rest, place + 4, low, inside, outside)

    def _choose(self, items: Sequence[tuple[int, int, Label]], least: int, outside: Label) -> None:
        """Write the choice by the loaded word, which is `least` or more, among first and last value, and label."""
        if len(items) == 1:
            first, last, label = items[0]
            if first == last:
                self.test(JUMP_IF_EQUAL, first, label, outside)
                return
            if first > least:
                self.require(JUMP_IF_AT_LEAST, first, outside)
            self.test(JUMP_IF_GREATER, last, outside, label)
            return
        middle, upper = len(items) // 2, Label()
        split = items[middle][0]
        self.refuse(JUMP_IF_AT_LEAST, split, upper)
        self._choose(items[:middle], least, outside)
        self.mark(upper)
        self._choose(items[middle:], split, outside)

    def program(self) -> Program:
        """Return the program, with each label resolved, and forget what was written: it would double the memory.

        This goes from its end to its beginning, so that the distance to each label is known by then. A test reaches
        no further than 8 bits: behind it stands a jump that goes on, which other tests before it use as well.

        Raises:
            TooLong: the kernel takes no program of this length.
        """
        written: list[Instruction] = []  # the last one first
        distances: dict[Label, int] = {}  # of labels, and below of jumps to them, from the end
        relays: dict[Label, int] = {}

        def near(label: Label | None, following: int) -> int:
            """Return the distance from the end of what leads to `label`, or of the next instruction."""
            if label is None:
                return following
            if len(written) - distances[label] <= _FURTHEST_JUMP:
                return distances[label]
            if len(written) - relays.get(label, 0) > _FURTHEST_JUMP:
                written.append(Instruction(JUMP, 0, 0, len(written) - distances[label]))
                relays[label] = len(written)
            return relays[label]

        while self._steps:
            step, following = self._steps.pop(), len(written)
            if isinstance(step, Label):
                distances[step] = following
                continue
            code, operand, then, otherwise = step
            if then is None and otherwise is None:
                written.append(Instruction(code, 0, 0, operand))
            elif code == JUMP and then is not None:
                written.append(Instruction(JUMP, 0, 0, following - distances[then]))
            else:
                no, yes = near(otherwise, following), near(then, following)
                written.append(Instruction(code, len(written) - yes, len(written) - no, operand))
            if len(written) > MAX_INSTRUCTIONS:
                raise TooLong
        return tuple(reversed(written))
