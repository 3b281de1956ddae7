"""A small interpreter of classic BPF (bpf(4), linux/filter.h), which knows what our programs use and no more."""

import operator
from collections.abc import Sequence

from ndpresponder.wire.classic_bpf import Instruction

LOADS = {0x20: 4, 0x28: 2, 0x30: 1}  # absolute: word, half word, byte
JUMPS = {0x10: operator.eq, 0x20: operator.gt, 0x30: operator.ge, 0x40: operator.and_}
ARITHMETIC = {
    0x00: operator.add,
    0x20: operator.mul,
    0x40: operator.or_,
    0x50: operator.and_,
    0x60: operator.lshift,
    0x70: operator.rshift,
    0x90: operator.mod,
}
LOAD_NUMBER, LOAD_STORED = 0x00, 0x60
LINK_LAYER, LINK_LAYER_END = 0xFFE00000, 0xFFF00000  # SKF_LL_OFF, SKF_NET_OFF
PACKET_TYPE = 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PKTTYPE
INTERFACE = 0xFFFFF008  # SKF_AD_OFF + SKF_AD_IFINDEX
RANDOM = 0xFFFFF038  # SKF_AD_OFF + SKF_AD_RANDOM
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS


def run(
    program: Sequence[Instruction],
    frame: bytes,
    start: int = 0,
    packet_type: int = 0,
    random: int | None = None,
    interface: int = 0,
) -> int:
    """Return what the program says of `frame`, whose offset 0 is the octet at `start`."""
    assert len(program) <= MAX_INSTRUCTIONS
    position = accumulator = index = 0
    stored: dict[int, int] = {}
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        if code in LOADS:
            known = {PACKET_TYPE: packet_type, RANDOM: random, INTERFACE: interface}
            if operand in known:
                assert known[operand] is not None
                accumulator = known[operand]
                continue
            place = operand - LINK_LAYER if LINK_LAYER <= operand < LINK_LAYER_END else start + operand
            octets = frame[place : place + LOADS[code]]
            if len(octets) < LOADS[code]:
                return 0
            accumulator = int.from_bytes(octets, "big")
            continue
        if code in (LOAD_NUMBER, LOAD_STORED):
            accumulator = operand if code == LOAD_NUMBER else stored[operand]
            continue
        value = index if code & 0x08 else operand
        match code & 0x07:
            case 0x01:
                index = operand
            case 0x02:
                stored[operand] = accumulator
            case 0x04:
                accumulator = ARITHMETIC[code & 0xF0](accumulator, value) & 0xFFFFFFFF
            case 0x05:
                if code == 0x05:
                    position += operand
                else:
                    position += if_true if JUMPS[code & 0xF0](accumulator, value) else if_false
            case 0x06:
                return operand
            case 0x07:
                index = accumulator
            case _:
                raise NotImplementedError(f"instruction {code:#x}")
