"""The members of a packet fanout group, and the first tests of each program that chooses one for a frame.

The daemon reads the members `READ` and, in a flood, `FLOOD`. The others only count (`linux.packet.fanout`).
A program returns the number of a member (packet(7), PACKET_FANOUT_CBPF). It starts at the IPv6 header; the Ethernet
header is at SKF_LL_OFF (linux/filter.h). Pure.
"""

from collections.abc import Sequence
from typing import Final

from ndpresponder.outcome import Kind, Outcome
from ndpresponder.wire import classic_bpf as bpf
from ndpresponder.wire import layout
from ndpresponder.wire.classic_bpf import Label, Program, Writer

READ: Final = 0
NEVER_READ: Final = tuple(READ + 1 + kind for kind in Kind)
FORWARDED: Final = tuple(READ + 1 + len(Kind) + kind for kind in Kind)
HELD_BACK: Final = tuple(READ + 1 + 2 * len(Kind) + kind for kind in Kind)
# How the frames of the members from 1 on end, in the order of their numbers
COUNTED: Final = tuple(
    (kind, outcome) for outcome in (Outcome.NOT_OURS, Outcome.BAD_HOP_LIMIT, Outcome.OVERLOADED) for kind in Kind
)
FLOOD: Final = READ + 1 + len(COUNTED)
ALWAYS_COUNTED: Final = len(NEVER_READ) + len(FORWARDED)  # members that there are without a flood

LINK_LAYER: Final = 0xFFE00000  # SKF_LL_OFF: octets from the start of the frame


def of_ip(place: int) -> int:
    """Return where the octet at `place` of the frame is, counted from the IPv6 header."""
    return place - layout.VERSION


def words(field: slice) -> list[int]:
    """Return where the words of a field are, counted from the IPv6 header."""
    return [of_ip(place) for place in range(field.start, field.stop, 4)]


def require_solicitation(writer: Writer, read: Label) -> None:
    """Have all read but solicitations. Most frames are data and end here."""
    writer.expect(bpf.LOAD_BYTE, of_ip(layout.NEXT_HEADER), layout.ICMPV6, read)
    writer.expect(bpf.LOAD_BYTE, of_ip(layout.ICMP_TYPE), layout.NEIGHBOR_SOLICITATION, read)


def count_forwarded(writer: Writer, read: Label) -> None:
    """Count what a router forwarded, which is IPv6 and has no VLAN tag."""
    sent_here = Label()
    writer.put(bpf.LOAD_WORD, LINK_LAYER + layout.ETHER_TYPE.start)
    writer.put(bpf.AND, 0xFFFFF000)
    writer.require(bpf.JUMP_IF_EQUAL, layout.ETH_P_IPV6 << 16 | 6 << 12, read)
    writer.put(bpf.LOAD_BYTE, of_ip(layout.HOP_LIMIT))
    writer.refuse(bpf.JUMP_IF_EQUAL, layout.NDP_HOP_LIMIT, sent_here)
    count_by_kind(writer, FORWARDED)
    writer.mark(sent_here)


def count_by_kind(writer: Writer, members: Sequence[int]) -> None:
    """Have the one of `members` count a frame that counts its kind, as `solicitation.kind_of` says."""
    specified = Label()
    for word in words(layout.SOURCE):
        writer.expect(bpf.LOAD_WORD, word, 0, specified)
    writer.put(bpf.RETURN, members[Kind.DAD])
    writer.mark(specified)
    count_by_destination(writer, members)


def count_by_destination(writer: Writer, members: Sequence[int]) -> None:
    unicast = Label()
    writer.expect(bpf.LOAD_BYTE, of_ip(layout.DESTINATION.start), 0xFF, unicast)
    writer.put(bpf.RETURN, members[Kind.MULTICAST])
    writer.mark(unicast)
    writer.put(bpf.RETURN, members[Kind.UNICAST])


def _read_link() -> Program:
    writer, read = Writer(), Label()
    require_solicitation(writer, read)
    count_forwarded(writer, read)
    writer.mark(read)
    writer.put(bpf.RETURN, READ)
    return writer.program()


READ_ALL: Final[Program] = (bpf.Instruction(bpf.RETURN, 0, 0, READ),)  # forwarded frames as well
READ_LINK: Final = _read_link()  # all that was sent on this link
