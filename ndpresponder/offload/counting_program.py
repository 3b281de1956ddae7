"""The classic BPF program by which a packet fanout group tells solicitations for others from all that must be read.

It returns the number of the group's member that gets the frame (packet(7), PACKET_FANOUT_CBPF): `READ`, or one of
`NEVER_READ`, `FORWARDED` and `HELD_BACK`, whose sockets only count. Never read are frames that the responder would end
as `not_ours`, and only those: every check that comes before that one there is made here as well, the checksum too. What
is not plainly right (other options than one of 8 octets, an address that nobody has) is read, and ends for its own
reason.

Forwarded frames come from beyond the link: their hop limit is not 255, and they end as `bad_hop_limit`, whatever else
they are. So a host beyond the router cannot have the daemon read anything.

In a flood most of what strangers ask is held back as well (`hold_back`): it ends as `overloaded`, whatever it is.

A fanout program starts at the IPv6 header; what lies before it is at SKF_LL_OFF (linux/filter.h).
"""

import struct
from collections.abc import Collection, Iterable
from typing import Final

from ndpresponder.offload.fanout_members import (
    LINK_LAYER,
    NEVER_READ,
    READ,
    READ_LINK,
    count_forwarded,
    of_ip,
    require_solicitation,
    words,
)
from ndpresponder.outcome import Kind
from ndpresponder.wire.addresses import SOLICITED_NODE_PREFIX
from ndpresponder.wire.classic_bpf import (
    ADD,
    ADD_X,
    JUMP,
    JUMP_IF_AT_LEAST,
    JUMP_IF_EQUAL_X,
    JUMP_IF_SET,
    LOAD_X,
    MAX_INSTRUCTIONS,
    MODULO,
    OR,
    TO_X,
    Program,
    Ranges,
    TooLong,
    Writer,
)
from ndpresponder.wire.filters import (
    AND,
    INTERFACE,
    JUMP_IF_EQUAL,
    LOAD_BYTE,
    LOAD_HALF,
    LOAD_WORD,
    OTHER_HOST,
    PACKET_TYPE,
    RETURN,
)
from ndpresponder.wire.layout import (
    DESTINATION,
    ETH_P_IPV6,
    ETHER_TYPE,
    ETHERNET_DESTINATION,
    ETHERNET_SOURCE,
    ICMP,
    ICMPV6,
    NDP_HOP_LIMIT,
    NEIGHBOR_SOLICITATION,
    OPTIONS,
    PAYLOAD_LENGTH,
    SOLICITATION_HEADER,
    SOURCE,
    SOURCE_LLADDR_OPTION,
    TARGET,
)

_GROUP_BIT: Final = 1 << 24  # in the first word of a link-layer address

# Ends for a reason of its own: ::/32, which holds unspecified and loopback; link-local; multicast
_NEVER_PLAIN: Final = ((0, 96), (0xFE80 << 112, 118), (0xFF << 120, 120))


def steer(
    live: Collection[bytes], prefixes: Iterable[tuple[int, int]], lladdr: bytes, own: Collection[bytes], index: int
) -> Program:
    """Return the program that has read what is for `live` targets or within `prefixes`, on the uplink with `lladdr`.

    A prefix is its value and the number of its host bits; `own` are the uplink's addresses, `index` is its interface,
    0 for any. With too many live
    targets all within their /64 is read, and with too many prefixes all that was sent on this link.
    """
    prefixes = [*prefixes, *_NEVER_PLAIN]
    sources = merged(own, 0, ())
    for host_bits in (0, 64):
        if 2 * len(live) > MAX_INSTRUCTIONS and not host_bits:
            continue
        targets = merged(live, host_bits, prefixes)
        if _least(targets) + _least(sources) <= MAX_INSTRUCTIONS:
            try:
                return _write(targets, sources, lladdr, index)
            except TooLong:
                continue
    return READ_LINK


def _least(ranges: Ranges) -> int:
    """Return about how many instructions it takes to search among `ranges`, so as not to try in vain."""
    heads = {first >> 32 for first, last in ranges if first >> 32 == last >> 32}
    return 2 * (len(ranges) + len(heads))


def merged(addresses: Iterable[bytes], host_bits: int, prefixes: Iterable[tuple[int, int]]) -> Ranges:
    """Return what `addresses`, rounded to prefixes with so many host bits, and `prefixes` cover together."""
    kept = 16 - host_bits // 8
    heads = {int.from_bytes(head, "big") << host_bits for head in {address[:kept] for address in addresses}}
    covered = [(head, head + (1 << host_bits) - 1) for head in heads]
    covered += [(value, value + (1 << free) - 1) for value, free in prefixes]
    covered.sort()
    merged: Ranges = []
    for first, last in covered:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def _write(targets: Ranges, sources: Ranges, lladdr: bytes, index: int) -> Program:
    """Write the whole program: what comes last in it stands first here, and runs last."""
    writer = Writer()
    put, require, refuse = writer.put, writer.require, writer.refuse
    source, destination, target = (words(field) for field in (SOURCE, DESTINATION, TARGET))
    lladdr_head, lladdr_tail = int.from_bytes(lladdr[:4], "big"), int.from_bytes(lladdr[4:], "big")
    group = _values(SOLICITED_NODE_PREFIX.ljust(16, b"\0"))
    read = put(RETURN, READ)

    # From the unspecified address: to a group, and without a source link-layer address option
    dad = put(RETURN, NEVER_READ[Kind.DAD])
    refuse(JUMP_IF_EQUAL, SOURCE_LLADDR_OPTION, read)
    put(LOAD_BYTE, of_ip(OPTIONS))
    put(JUMP_IF_EQUAL, SOLICITATION_HEADER, dad, len(writer))
    put(LOAD_HALF, of_ip(PAYLOAD_LENGTH.start))
    for word in reversed(source[1:]):
        require(JUMP_IF_EQUAL, 0, read)
        put(LOAD_WORD, word)
    require(JUMP_IF_EQUAL, 0xFF, read)
    unspecified = put(LOAD_BYTE, destination[0])

    # From any other source: no group, neither the target nor one of the uplink's own
    multicast, unicast = put(RETURN, NEVER_READ[Kind.MULTICAST]), put(RETURN, NEVER_READ[Kind.UNICAST])
    put(JUMP_IF_EQUAL, 0xFF, multicast, unicast)
    stranger = put(LOAD_BYTE, destination[0])
    same = read
    for theirs, asked in zip(reversed(source), reversed(target), strict=True):
        put(JUMP_IF_EQUAL_X, 0, same, stranger)
        put(LOAD_WORD, theirs)
        put(TO_X)
        same = put(LOAD_WORD, asked)
    writer.search(sources, source[0], 128, read, same)
    refuse(JUMP_IF_AT_LEAST, 0xFF << 24, read)
    put(JUMP_IF_EQUAL, 0, unspecified, len(writer))
    judge_source = put(LOAD_WORD, source[0])

    # To the target's solicited-node group, in a frame to a group or to us; or to the target, in a frame to us
    require(JUMP_IF_EQUAL_X, 0, read)
    put(LOAD_WORD, destination[3])
    put(TO_X)
    put(OR, group[3])
    put(LOAD_WORD, target[3])
    for word, value in reversed([*zip(destination, group, strict=True)][:3]):
        require(JUMP_IF_EQUAL, value, read)
        grouped = put(LOAD_WORD, word)
    then = judge_source
    for word, asked in zip(reversed(destination), reversed(target), strict=True):
        put(JUMP_IF_EQUAL_X, 0, then, read)
        put(LOAD_WORD, word)
        put(TO_X)
        then = put(LOAD_WORD, asked)
    put(JUMP_IF_EQUAL, group[0], grouped, then)
    put(LOAD_WORD, destination[0])
    require(JUMP_IF_EQUAL, lladdr_tail, read)
    put(LOAD_HALF, LINK_LAYER + ETHERNET_DESTINATION.start + 4)
    require(JUMP_IF_EQUAL, lladdr_head, read)
    put(JUMP_IF_SET, _GROUP_BIT, grouped, len(writer))
    put(LOAD_WORD, LINK_LAYER + ETHERNET_DESTINATION.start)

    # The checksum, with or without an option: the sum of all half words is 0 modulo 65535, as in `wire.checksum`
    require(JUMP_IF_EQUAL, 0, read)
    put(MODULO, 65535)
    put(ADD, ICMPV6)
    put(ADD_X)
    put(LOAD_HALF, of_ip(PAYLOAD_LENGTH.start))
    for place in range(SOURCE.start, OPTIONS, 2):
        put(TO_X)
        put(ADD_X)
        without_option = put(LOAD_HALF, of_ip(place))
    put(TO_X)
    for place in range(OPTIONS + 2, OPTIONS + 8, 2):
        put(ADD_X)
        put(LOAD_HALF, of_ip(place))
        put(TO_X)
    put(LOAD_HALF, of_ip(OPTIONS))
    require(JUMP_IF_EQUAL, 1, read)
    with_option = put(LOAD_BYTE, of_ip(OPTIONS + 1))
    put(JUMP, len(writer) - without_option)
    without_option = put(LOAD_X, 0)

    # The headers: payload length, next header, hop limit; code; link-layer source; EtherType and version; no VLAN tag
    protocol = ICMPV6 << 8 | NDP_HOP_LIMIT
    put(JUMP_IF_EQUAL, (SOLICITATION_HEADER + 8) << 16 | protocol, with_option, read)
    put(JUMP_IF_EQUAL, SOLICITATION_HEADER << 16 | protocol, without_option, len(writer))
    length = put(LOAD_WORD, of_ip(PAYLOAD_LENGTH.start))
    refuse(JUMP_IF_EQUAL, lladdr_tail, read)
    put(LOAD_HALF, LINK_LAYER + ETHERNET_SOURCE.start + 4)
    put(JUMP_IF_EQUAL, lladdr_head, len(writer), length)
    refuse(JUMP_IF_EQUAL, 0, read)
    refuse(JUMP_IF_SET, _GROUP_BIT, read)
    put(LOAD_WORD, LINK_LAYER + ETHERNET_SOURCE.start)
    require(JUMP_IF_EQUAL, NEIGHBOR_SOLICITATION << 8, read)
    put(LOAD_HALF, of_ip(ICMP))
    require(JUMP_IF_EQUAL, ETH_P_IPV6 << 16 | 6 << 12, read)
    put(AND, 0xFFFFF000)
    put(LOAD_WORD, LINK_LAYER + ETHER_TYPE.start)
    if index:  # what an interface above this one has now is that one's
        require(JUMP_IF_EQUAL, index, read)
        put(LOAD_WORD, INTERFACE)
    refuse(JUMP_IF_EQUAL, OTHER_HOST, read)
    plain = put(LOAD_WORD, PACKET_TYPE)

    # The target; and before all, as most frames are data: whether it is a solicitation
    writer.search(targets, target[0], 128, read, plain)
    count_forwarded(writer, read)
    require_solicitation(writer, read)
    return writer.program()


def _values(address: bytes) -> tuple[int, ...]:
    return struct.unpack("!4I", address)
