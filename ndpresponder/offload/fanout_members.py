"""The members of a packet fanout group: how the frames of each end, and what sends a frame to one of them.

Member `READ` is the socket that is read. The sockets of the others only count (`linux.packet.fanout`). Pure.
"""

from collections.abc import Sequence
from typing import Final

from ndpresponder.outcome import Kind, Outcome
from ndpresponder.wire.classic_bpf import Program, Writer
from ndpresponder.wire.filters import AND, JUMP_IF_EQUAL, LOAD_BYTE, LOAD_WORD, RETURN, Instruction
from ndpresponder.wire.layout import (
    DESTINATION,
    ETH_P_IPV6,
    ETHER_TYPE,
    HOP_LIMIT,
    ICMP_TYPE,
    ICMPV6,
    NDP_HOP_LIMIT,
    NEIGHBOR_SOLICITATION,
    NEXT_HEADER,
    SOURCE,
    VERSION,
)

READ: Final = 0
NEVER_READ: Final = tuple(READ + 1 + kind for kind in Kind)
FORWARDED: Final = tuple(READ + 1 + len(Kind) + kind for kind in Kind)
HELD_BACK: Final = tuple(READ + 1 + 2 * len(Kind) + kind for kind in Kind)
# How the frames of each member but `READ` end, in the order of their numbers
COUNTED: Final = tuple(
    (kind, outcome) for outcome in (Outcome.NOT_OURS, Outcome.BAD_HOP_LIMIT, Outcome.OVERLOADED) for kind in Kind
)
ALWAYS_COUNTED: Final = len(NEVER_READ) + len(FORWARDED)  # members that there are without a flood
LINK_LAYER: Final = 0xFFE00000  # SKF_LL_OFF: octets from the start of the frame


def require_solicitation(writer: Writer, read: int) -> None:
    """Write that a solicitation goes on with what was written before; all else goes to the socket's own filter."""
    writer.require(JUMP_IF_EQUAL, NEIGHBOR_SOLICITATION, read)
    writer.put(LOAD_BYTE, of_ip(ICMP_TYPE))
    writer.require(JUMP_IF_EQUAL, ICMPV6, read)
    writer.put(LOAD_BYTE, of_ip(NEXT_HEADER))


def by_kind(writer: Writer, members: Sequence[int]) -> int:
    """Write that a frame goes to the one of `members` that counts its kind, as `solicitation.kind_of` says; a label."""
    unicast, multicast, dad = (writer.put(RETURN, members[kind]) for kind in (Kind.UNICAST, Kind.MULTICAST, Kind.DAD))
    writer.put(JUMP_IF_EQUAL, 0xFF, multicast, unicast)
    then, from_somebody = dad, writer.put(LOAD_BYTE, of_ip(DESTINATION.start))
    for word in reversed(words(SOURCE)):
        writer.put(JUMP_IF_EQUAL, 0, then, from_somebody)
        then = writer.put(LOAD_WORD, word)
    return then


def count_forwarded(writer: Writer, read: int) -> None:
    """Write that what was sent on this link goes on with what was written before; forwarded frames are counted."""
    goes_on = len(writer)
    forwarded = by_kind(writer, FORWARDED)
    writer.put(JUMP_IF_EQUAL, NDP_HOP_LIMIT, goes_on, forwarded)
    writer.put(LOAD_BYTE, of_ip(HOP_LIMIT))
    writer.require(JUMP_IF_EQUAL, ETH_P_IPV6 << 16 | 6 << 12, read)
    writer.put(AND, 0xFFFFF000)
    writer.put(LOAD_WORD, LINK_LAYER + ETHER_TYPE.start)


def _read_link() -> Program:
    writer = Writer()
    read = writer.put(RETURN, READ)
    count_forwarded(writer, read)
    require_solicitation(writer, read)
    return writer.program()


def of_ip(place: int) -> int:
    """Return where the octet at `place` of the frame is, counted from the IPv6 header."""
    return place - VERSION


def words(field: slice) -> list[int]:
    """Return where the words of a field are, counted from the IPv6 header."""
    return [of_ip(place) for place in range(field.start, field.stop, 4)]


READ_ALL: Final[Program] = (Instruction(RETURN, 0, 0, READ),)  # forwarded frames as well
READ_LINK: Final = _read_link()  # all that was sent on this link
