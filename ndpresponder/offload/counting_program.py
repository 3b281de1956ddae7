"""The classic BPF program that says which member of a packet fanout group gets a frame (packet(7), PACKET_FANOUT_CBPF).

The rules, in this order:

1. A frame that is no neighbor solicitation is read: the filter of the socket drops it.
2. A solicitation whose hop limit is not 255 was forwarded. It is counted as `bad_hop_limit`, whatever else it is, so
   that a host beyond the router cannot have the daemon read anything.
3. A solicitation for a target of ours is read.
4. A solicitation that the responder would end for another reason than `not_ours` is read: the responder counts it.
   So every check that comes before that one in the responder is made here as well, the checksum too. A solicitation
   with other options than one of 8 octets is read.
5. All others are counted as `not_ours`.

Pure. `fanout_members` knows the members.
"""

import struct
from collections.abc import Iterable
from typing import Final

from ndpresponder.offload import fanout_members as members
from ndpresponder.offload.fanout_members import of_ip, words
from ndpresponder.outcome import Kind
from ndpresponder.policy.requester import UplinkState
from ndpresponder.policy.table import TargetTable
from ndpresponder.wire import classic_bpf as bpf
from ndpresponder.wire import layout
from ndpresponder.wire.addresses import SOLICITED_NODE_PREFIX
from ndpresponder.wire.classic_bpf import Label, Program, Ranges, TooLong, Writer
from ndpresponder.wire.filters import INTERFACE, OTHER_HOST, PACKET_TYPE

_GROUP_BIT: Final = 1 << 24  # in the first word of a link-layer address
# Ends for a reason of its own: ::/32, which holds unspecified and loopback; link-local; multicast
_NEVER_PLAIN: Final = ((0, 96), (0xFE80 << 112, 118), (0xFF << 120, 120))


def counting_program(table: TargetTable, state: UplinkState) -> Program:
    """Return the program for an uplink in `state` whose targets are those of `table`.

    With too many live targets all within their /64 is read, and with too many prefixes all that was sent on this link.
    """
    lengths = (*table.claims(), *table.excluded)
    prefixes = [(network << free, free) for free, networks in lengths for network in networks]
    prefixes += [(int.from_bytes(address, "big"), 0) for address in state.never]
    sources = merged(state.own_addresses)
    for host_bits in (0, 64):
        if 2 * len(table.live) > bpf.MAX_INSTRUCTIONS and not host_bits:
            continue
        targets = merged(table.live, host_bits, [*prefixes, *_NEVER_PLAIN])
        if _least(targets) + _least(sources) <= bpf.MAX_INSTRUCTIONS:
            try:
                return _write(targets, sources, state)
            except TooLong:
                continue
    return members.READ_LINK


def _least(ranges: Ranges) -> int:
    """Return about how many instructions it takes to search among `ranges`, so as not to try in vain."""
    heads = {first >> 32 for first, last in ranges if first >> 32 == last >> 32}
    return 2 * (len(ranges) + len(heads))


def merged(addresses: Iterable[bytes], host_bits: int = 0, prefixes: Iterable[tuple[int, int]] = ()) -> Ranges:
    """Return what `addresses`, rounded to prefixes with so many host bits, and `prefixes` cover together.

    A prefix is its value and the number of its host bits.
    """
    kept = 16 - host_bits // 8
    heads = {int.from_bytes(head, "big") << host_bits for head in {address[:kept] for address in addresses}}
    covered = [(head, head + (1 << host_bits) - 1) for head in heads]
    covered += [(value, value + (1 << free) - 1) for value, free in prefixes]
    covered.sort()
    ranges: Ranges = []
    for first, last in covered:
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], max(last, ranges[-1][1])
        else:
            ranges.append((first, last))
    return ranges


# The program


def _write(targets: Ranges, sources: Ranges, state: UplinkState) -> Program:
    writer, read = Writer(), Label()
    members.require_solicitation(writer, read)
    members.count_forwarded(writer, read)
    writer.search(targets, of_ip(layout.TARGET.start), 128, read)
    _require_headers(writer, state, read)
    _require_checksum(writer, read)
    _require_destination(writer, state.lladdr, read)
    _require_source(writer, sources, read)
    writer.mark(read)
    writer.put(bpf.RETURN, members.READ)
    return writer.program()


def _require_headers(writer: Writer, state: UplinkState, read: Label) -> None:
    """Have read what belongs to another link, and what has another code or Ethernet source than it may."""
    not_ours, head, tail = Label(), *_of_lladdr(state.lladdr)
    writer.put(bpf.LOAD_WORD, PACKET_TYPE)
    writer.refuse(bpf.JUMP_IF_EQUAL, OTHER_HOST, read)
    if state.index:  # what an interface above this one has now is that one's
        writer.expect(bpf.LOAD_WORD, INTERFACE, state.index, read)
    writer.expect(bpf.LOAD_HALF, of_ip(layout.ICMP), layout.NEIGHBOR_SOLICITATION << 8, read)
    writer.put(bpf.LOAD_WORD, members.LINK_LAYER + layout.ETHERNET_SOURCE.start)
    writer.refuse(bpf.JUMP_IF_SET, _GROUP_BIT, read)
    writer.refuse(bpf.JUMP_IF_EQUAL, 0, read)
    writer.require(bpf.JUMP_IF_EQUAL, head, not_ours)
    writer.put(bpf.LOAD_HALF, members.LINK_LAYER + layout.ETHERNET_SOURCE.start + 4)
    writer.refuse(bpf.JUMP_IF_EQUAL, tail, read)
    writer.mark(not_ours)


def _require_checksum(writer: Writer, read: Label) -> None:
    """Have read what is not 24 octets long, or 32 with one option, and what has a wrong checksum.

    The sum of all half words is 0 modulo 65535, as in `wire.icmpv6`.
    """
    without_option = Label()
    protocol = layout.ICMPV6 << 8 | layout.NDP_HOP_LIMIT
    writer.put(bpf.LOAD_X, 0)
    writer.put(bpf.LOAD_WORD, of_ip(layout.PAYLOAD_LENGTH.start))
    writer.refuse(bpf.JUMP_IF_EQUAL, layout.SOLICITATION_HEADER << 16 | protocol, without_option)
    writer.require(bpf.JUMP_IF_EQUAL, (layout.SOLICITATION_HEADER + 8) << 16 | protocol, read)
    writer.expect(bpf.LOAD_BYTE, of_ip(layout.OPTIONS + 1), 1, read)
    for place in range(layout.OPTIONS, layout.OPTIONS + 8, 2):
        _add(writer, place)
    writer.mark(without_option)
    for place in range(layout.SOURCE.start, layout.OPTIONS, 2):
        _add(writer, place)
    writer.put(bpf.LOAD_HALF, of_ip(layout.PAYLOAD_LENGTH.start))
    writer.put(bpf.ADD_X)
    writer.put(bpf.ADD, layout.ICMPV6)
    writer.put(bpf.MODULO, 65535)
    writer.require(bpf.JUMP_IF_EQUAL, 0, read)


def _add(writer: Writer, place: int) -> None:
    writer.put(bpf.LOAD_HALF, of_ip(place))
    writer.put(bpf.ADD_X)
    writer.put(bpf.TO_X)


def _require_destination(writer: Writer, lladdr: bytes, read: Label) -> None:
    """Have read what is neither to the target, in a frame to us, nor to its solicited-node group."""
    to_group, done, head, tail = Label(), Label(), *_of_lladdr(lladdr)
    destination, target = words(layout.DESTINATION), words(layout.TARGET)
    group = struct.unpack("!4I", SOLICITED_NODE_PREFIX.ljust(16, b"\0"))
    writer.put(bpf.LOAD_WORD, members.LINK_LAYER + layout.ETHERNET_DESTINATION.start)
    writer.refuse(bpf.JUMP_IF_SET, _GROUP_BIT, to_group)
    writer.require(bpf.JUMP_IF_EQUAL, head, read)
    writer.expect(bpf.LOAD_HALF, members.LINK_LAYER + layout.ETHERNET_DESTINATION.start + 4, tail, read)
    writer.put(bpf.LOAD_WORD, destination[0])
    writer.refuse(bpf.JUMP_IF_EQUAL, group[0], to_group)
    _compare(writer, destination, target, read)
    writer.jump(done)
    writer.mark(to_group)
    for word, value in zip(destination[:3], group[:3], strict=True):
        writer.expect(bpf.LOAD_WORD, word, value, read)
    writer.put(bpf.LOAD_WORD, target[3])
    writer.put(bpf.OR, group[3])
    writer.put(bpf.TO_X)
    writer.put(bpf.LOAD_WORD, destination[3])
    writer.require(bpf.JUMP_IF_EQUAL_X, 0, read)
    writer.mark(done)


def _require_source(writer: Writer, own: Ranges, read: Label) -> None:
    """Have read what comes from a group, the target or an address of ours; count all else.

    From the unspecified address: have read what is not to a group, and what has a source link-layer address option.
    """
    unspecified, not_target, dad = Label(), Label(), Label()
    source = words(layout.SOURCE)
    writer.put(bpf.LOAD_WORD, source[0])
    writer.refuse(bpf.JUMP_IF_EQUAL, 0, unspecified)
    writer.refuse(bpf.JUMP_IF_AT_LEAST, 0xFF << 24, read)
    writer.search(own, source[0], 128, read)
    _compare(writer, source, words(layout.TARGET), not_target)
    writer.jump(read)
    writer.mark(not_target)
    members.count_by_destination(writer, members.NEVER_READ)

    writer.mark(unspecified)
    writer.expect(bpf.LOAD_BYTE, of_ip(layout.DESTINATION.start), 0xFF, read)
    for word in source[1:]:
        writer.expect(bpf.LOAD_WORD, word, 0, read)
    writer.put(bpf.LOAD_HALF, of_ip(layout.PAYLOAD_LENGTH.start))
    writer.refuse(bpf.JUMP_IF_EQUAL, layout.SOLICITATION_HEADER, dad)
    writer.put(bpf.LOAD_BYTE, of_ip(layout.OPTIONS))
    writer.refuse(bpf.JUMP_IF_EQUAL, layout.SOURCE_LLADDR_OPTION, read)
    writer.mark(dad)
    writer.put(bpf.RETURN, members.NEVER_READ[Kind.DAD])


def _compare(writer: Writer, first: list[int], second: list[int], different: Label) -> None:
    for one, other in zip(first, second, strict=True):
        writer.put(bpf.LOAD_WORD, other)
        writer.put(bpf.TO_X)
        writer.put(bpf.LOAD_WORD, one)
        writer.require(bpf.JUMP_IF_EQUAL_X, 0, different)


def _of_lladdr(lladdr: bytes) -> tuple[int, int]:
    """Return the first word of a link-layer address, and the half word behind it."""
    return int.from_bytes(lladdr[:4], "big"), int.from_bytes(lladdr[4:], "big")
