"""The filter of a packet socket that nobody reads for a moment, from one process to the next, in a flood.

Pure. Half a second of a flood fills the ring, so that the gateway's solicitations would be dropped with the others.
"""

from ndpresponder.offload.fanout_members import LINK_LAYER, READ, READ_ALL, of_ip
from ndpresponder.offload.flood_program import LEAST_SHARE, Shares, hold_back
from ndpresponder.policy.overload import Spared
from ndpresponder.wire.classic_bpf import JUMP, Program
from ndpresponder.wire.filters import (
    LOAD_BYTE,
    LOAD_HALF,
    LOAD_WORD,
    RETURN,
    SOLICITATIONS_OF_THE_LINK,
    WHOLE_FRAME,
    Instruction,
)


def left_in_flood(spared: Spared) -> Program:
    """Return the filter of a socket that nobody reads for a moment, in a flood: as `hold_back`, but nothing is counted.

    A filter starts at the frame, and not at the IPv6 header as a fanout program does.
    """
    *head, _, refused = SOLICITATIONS_OF_THE_LINK
    stations = [*spared.stations, *spared.guarded]
    program = hold_back(READ_ALL, Shares(LEAST_SHARE, LEAST_SHARE), Spared(stations, gateways=spared.gateways))
    return (*head, Instruction(JUMP, 0, 0, 1), refused, *map(_of_filter, program))


def _of_filter(each: Instruction) -> Instruction:
    if each.code == RETURN:
        return each._replace(operand=WHOLE_FRAME if each.operand == READ else 0)
    if each.code in (LOAD_BYTE, LOAD_HALF, LOAD_WORD) and each.operand < LINK_LAYER:
        return each._replace(operand=each.operand - of_ip(0))
    return each
