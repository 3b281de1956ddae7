"""The classic BPF programs by which a packet socket receives one kind of message and nothing else. Pure."""

import struct
from collections.abc import Iterable
from typing import Final

from ndpresponder.wire import classic_bpf as bpf
from ndpresponder.wire import layout
from ndpresponder.wire.classic_bpf import Instruction, Program

WHOLE_FRAME: Final = 0x40000  # more octets than any frame has

# Not octets of the frame, but what the kernel knows of it: SKF_AD_OFF + SKF_AD_* (linux/filter.h)
PACKET_TYPE: Final = 0xFFFFF000 + 4
INTERFACE: Final = 0xFFFFF000 + 8  # the index of the one that has the frame now, say of the VLAN device
OTHER_HOST: Final = 3  # PACKET_OTHERHOST, the type of what has a VLAN tag and no VLAN device

_Tests = tuple[tuple[int, int, int], ...]  # how something is loaded, from which place, and what it must be

_IPV6: Final = (bpf.LOAD_HALF, layout.ETHER_TYPE.start, layout.ETH_P_IPV6)
_ICMPV6: Final = (bpf.LOAD_BYTE, layout.NEXT_HEADER, layout.ICMPV6)
# A router forwards nothing with these hop limits
_NDP_OF_THE_LINK: Final = (bpf.LOAD_BYTE, layout.HOP_LIMIT, layout.NDP_HOP_LIMIT)
_MLD_OF_THE_LINK: Final = (bpf.LOAD_BYTE, layout.HOP_LIMIT, layout.MLD_HOP_LIMIT)
_ADVERTISEMENT: Final = (
    _NDP_OF_THE_LINK,
    _IPV6,
    _ICMPV6,
    (bpf.LOAD_BYTE, layout.ICMP_TYPE, layout.NEIGHBOR_ADVERTISEMENT),
)


def _accepting(tests: _Tests, alternatives: Iterable[_Tests] = ((),)) -> Program:
    """Return the program that accepts a frame for which all `tests` hold, and all of one of `alternatives`."""
    writer, refused = bpf.Writer(), bpf.Label()
    for load, place, value in tests:
        writer.expect(load, place, value, refused)
    for more in alternatives:
        next_one = bpf.Label()
        for load, place, value in more:
            writer.expect(load, place, value, next_one)
        writer.put(bpf.RETURN, WHOLE_FRAME)
        writer.mark(next_one)
    writer.mark(refused)
    writer.put(bpf.RETURN, 0)
    return writer.program()


def _after_options(icmp_type: int) -> Program:
    """Return the program for a message behind Hop-by-Hop Options of 8 octets (RFC 3810 5, RFC 4286 3.2)."""
    options = (bpf.LOAD_BYTE, layout.NEXT_HEADER, 0)
    icmpv6 = (bpf.LOAD_BYTE, layout.ICMP_TYPE, layout.ICMPV6)  # where the next header of the options stands
    return _accepting((_MLD_OF_THE_LINK, _IPV6, options, icmpv6, (bpf.LOAD_BYTE, layout.ICMP_TYPE + 8, icmp_type)))


# Forwarded ones as well: they are counted. A VLAN-tagged frame passes too: the kernel has taken the tag away before a
# socket bound to ETH_P_IPV6 sees it. A reader that does not count wants `of_link`.
SOLICITATIONS: Final = _accepting((_IPV6, _ICMPV6, (bpf.LOAD_BYTE, layout.ICMP_TYPE, layout.NEIGHBOR_SOLICITATION)))
SOLICITATIONS_OF_THE_LINK: Final = (
    Instruction(bpf.LOAD_BYTE, 0, 0, layout.VERSION),
    Instruction(bpf.AND, 0, 0, 0xF0),
    Instruction(bpf.JUMP_IF_EQUAL, 0, 3, 6 << 4),  # no router forwards another version: it is counted as such
    Instruction(bpf.LOAD_BYTE, 0, 0, layout.HOP_LIMIT),
    Instruction(bpf.JUMP_IF_EQUAL, 1, 0, layout.NDP_HOP_LIMIT),
    Instruction(bpf.RETURN, 0, 0, 0),
    *SOLICITATIONS,
)
ADVERTISEMENTS: Final = _accepting(_ADVERTISEMENT)
QUERIES: Final = _after_options(layout.MULTICAST_LISTENER_QUERY)
ROUTER_SEARCHES: Final = _after_options(layout.MULTICAST_ROUTER_SOLICITATION)


def advertisements_of(targets: Iterable[bytes]) -> Program:
    """Return the program that accepts neighbor advertisements whose target is one of `targets`."""
    return _accepting(_ADVERTISEMENT, map(_from_target, sorted(targets)))


def advertisements_by(stations: Iterable[tuple[bytes, bytes]]) -> Program:
    """Return the program that accepts neighbor advertisements which name for a target its link-layer address."""
    option = bytes((layout.TARGET_LLADDR_OPTION, 1))
    return _accepting(_ADVERTISEMENT, (_from_target(target + option + station) for target, station in sorted(stations)))


def _from_target(octets: bytes) -> _Tests:
    """Return the tests that these octets stand in the frame from its target on: the options follow that."""
    words = struct.unpack(f"!{len(octets) // 4}I", octets)
    return tuple((bpf.LOAD_WORD, layout.TARGET.start + 4 * place, word) for place, word in enumerate(words))


def of_link(index: int, program: Iterable[Instruction]) -> Program:
    """Return `program` for frames of the link `index` itself, and none of what is tagged for another link."""
    return (
        Instruction(bpf.LOAD_WORD, 0, 0, INTERFACE),
        Instruction(bpf.JUMP_IF_EQUAL, 0, 2, index),
        Instruction(bpf.LOAD_WORD, 0, 0, PACKET_TYPE),
        Instruction(bpf.JUMP_IF_EQUAL, 0, 1, OTHER_HOST),
        Instruction(bpf.RETURN, 0, 0, 0),
        *program,
    )
