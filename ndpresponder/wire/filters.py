"""The classic BPF programs by which a packet socket receives one kind of message and nothing else, as data. Pure."""

import struct
from collections.abc import Iterable
from typing import Final

from ndpresponder.wire.classic_bpf import (
    AND,
    JUMP_IF_EQUAL,
    LOAD_BYTE,
    LOAD_HALF,
    LOAD_WORD,
    RETURN,
    Instruction,
    Program,
)
from ndpresponder.wire.layout import (
    ETH_P_IPV6,
    ETHER_TYPE,
    HOP_LIMIT,
    ICMP_TYPE,
    ICMPV6,
    MLD_HOP_LIMIT,
    MULTICAST_LISTENER_QUERY,
    MULTICAST_ROUTER_SOLICITATION,
    NDP_HOP_LIMIT,
    NEIGHBOR_ADVERTISEMENT,
    NEIGHBOR_SOLICITATION,
    NEXT_HEADER,
    OPTIONS,
    TARGET,
    TARGET_LLADDR_OPTION,
    VERSION,
)

WHOLE_FRAME: Final = 0x40000  # more octets than any frame has

# Not octets of the frame, but what the kernel knows of it: SKF_AD_OFF + SKF_AD_* (linux/filter.h)
PACKET_TYPE: Final = 0xFFFFF000 + 4
INTERFACE: Final = 0xFFFFF000 + 8  # the index of the one that has the frame now, say of the VLAN device
OTHER_HOST: Final = 3  # PACKET_OTHERHOST, the type of what has a VLAN tag and no VLAN device


# A VLAN-tagged frame passes too: the kernel has taken the tag away before a socket bound to ETH_P_IPV6 sees it. So it
# is counted; who does not count wants `of_link`.
def _messages(icmp_type: int) -> Program:
    return (
        Instruction(LOAD_HALF, 0, 0, ETHER_TYPE.start),
        Instruction(JUMP_IF_EQUAL, 0, 5, ETH_P_IPV6),
        Instruction(LOAD_BYTE, 0, 0, NEXT_HEADER),
        Instruction(JUMP_IF_EQUAL, 0, 3, ICMPV6),
        Instruction(LOAD_BYTE, 0, 0, ICMP_TYPE),
        Instruction(JUMP_IF_EQUAL, 0, 1, icmp_type),
        Instruction(RETURN, 0, 0, WHOLE_FRAME),
        Instruction(RETURN, 0, 0, 0),
    )


def _of_the_link(hop_limit: int, *program: Instruction) -> Program:
    """Return `program` for those frames only that have this hop limit, as nothing has that a router forwarded."""
    return (
        Instruction(LOAD_BYTE, 0, 0, HOP_LIMIT),
        Instruction(JUMP_IF_EQUAL, 1, 0, hop_limit),
        Instruction(RETURN, 0, 0, 0),
        *program,
    )


SOLICITATIONS: Final = _messages(NEIGHBOR_SOLICITATION)  # forwarded ones as well: they are counted
SOLICITATIONS_OF_THE_LINK: Final = (
    Instruction(LOAD_BYTE, 0, 0, VERSION),
    Instruction(AND, 0, 0, 0xF0),
    Instruction(JUMP_IF_EQUAL, 0, 3, 6 << 4),  # no router forwards another version: it is counted as such
    *_of_the_link(NDP_HOP_LIMIT, *SOLICITATIONS),
)
ADVERTISEMENTS: Final = _of_the_link(NDP_HOP_LIMIT, *_messages(NEIGHBOR_ADVERTISEMENT))


# Messages of ICMPv6 that follow a Hop-by-Hop Options header of 8 octets (RFC 3810 5, RFC 4286 3.2)
def _after_options(icmp_type: int) -> Program:
    return _of_the_link(
        MLD_HOP_LIMIT,
        Instruction(LOAD_HALF, 0, 0, ETHER_TYPE.start),
        Instruction(JUMP_IF_EQUAL, 0, 7, ETH_P_IPV6),
        Instruction(LOAD_BYTE, 0, 0, NEXT_HEADER),
        Instruction(JUMP_IF_EQUAL, 0, 5, 0),
        Instruction(LOAD_BYTE, 0, 0, ICMP_TYPE),  # where the next header of the options stands
        Instruction(JUMP_IF_EQUAL, 0, 3, ICMPV6),
        Instruction(LOAD_BYTE, 0, 0, ICMP_TYPE + 8),
        Instruction(JUMP_IF_EQUAL, 0, 1, icmp_type),
        Instruction(RETURN, 0, 0, WHOLE_FRAME),
        Instruction(RETURN, 0, 0, 0),
    )


QUERIES: Final = _after_options(MULTICAST_LISTENER_QUERY)
ROUTER_SEARCHES: Final = _after_options(MULTICAST_ROUTER_SOLICITATION)


def advertisements_of(targets: Iterable[bytes]) -> Program:
    """Return the program that accepts neighbor advertisements whose target is one of `targets`."""
    return _advertisements((target, ()) for target in sorted(targets))


def advertisements_by(stations: Iterable[tuple[bytes, bytes]]) -> Program:
    """Return the program that accepts neighbor advertisements which name for a target its link-layer address."""
    option = TARGET_LLADDR_OPTION << 8 | 1
    return _advertisements(
        (
            target,
            (
                (LOAD_HALF, OPTIONS, option),
                (LOAD_WORD, OPTIONS + 2, int.from_bytes(station[:4])),
                (LOAD_HALF, OPTIONS + 6, int.from_bytes(station[4:])),
            ),
        )
        for target, station in sorted(stations)
    )


def _advertisements(wanted: Iterable[tuple[bytes, Iterable[tuple[int, int, int]]]]) -> Program:
    """Return the program for targets, each with more that must hold: how to load it, where, and what it is."""
    program = [
        Instruction(LOAD_HALF, 0, 0, ETHER_TYPE.start),
        Instruction(JUMP_IF_EQUAL, 0, 4, ETH_P_IPV6),
        Instruction(LOAD_BYTE, 0, 0, NEXT_HEADER),
        Instruction(JUMP_IF_EQUAL, 0, 2, ICMPV6),
        Instruction(LOAD_BYTE, 0, 0, ICMP_TYPE),
        Instruction(JUMP_IF_EQUAL, 1, 0, NEIGHBOR_ADVERTISEMENT),
        Instruction(RETURN, 0, 0, 0),
    ]
    for target, more in wanted:
        words = ((LOAD_WORD, TARGET.start + 4 * place, word) for place, word in enumerate(struct.unpack("!4I", target)))
        tests = [*words, *more]
        for place, (load, offset, value) in enumerate(tests):
            program.append(Instruction(load, 0, 0, offset))
            program.append(Instruction(JUMP_IF_EQUAL, 0, 2 * (len(tests) - place) - 1, value))  # to the next target
        program.append(Instruction(RETURN, 0, 0, WHOLE_FRAME))
    return _of_the_link(NDP_HOP_LIMIT, *program, Instruction(RETURN, 0, 0, 0))


def of_link(index: int, program: Iterable[Instruction]) -> Program:
    """Return `program` for frames of the link `index` itself, and none of what is tagged for another link."""
    return (
        Instruction(LOAD_WORD, 0, 0, INTERFACE),
        Instruction(JUMP_IF_EQUAL, 0, 2, index),
        Instruction(LOAD_WORD, 0, 0, PACKET_TYPE),
        Instruction(JUMP_IF_EQUAL, 0, 1, OTHER_HOST),
        Instruction(RETURN, 0, 0, 0),
        *program,
    )
