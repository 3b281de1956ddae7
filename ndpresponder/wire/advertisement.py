"""Neighbor advertisements as octets: a template per requester, filled with a target for each answer.

Pure: no socket, clock or state. The frame is always 86 octets (RFC 4861 4.4): the IPv6 source is the target,
and the one option is the target link-layer address.
"""

import struct
from typing import NamedTuple

from ndpresponder.wire.addresses import UNSPECIFIED
from ndpresponder.wire.checksum import pseudo_header_sum, word_sum
from ndpresponder.wire.layout import (
    ADVERTISEMENT_LENGTH,
    ETH_P_IPV6,
    ICMP,
    ICMPV6,
    NDP_HOP_LIMIT,
    NEIGHBOR_ADVERTISEMENT,
    TARGET_LLADDR_OPTION,
)


class Template(NamedTuple):
    """An advertisement without its target (twice) and its checksum."""

    head: bytes  # Ethernet header and the first 8 octets of IPv6
    middle: bytes  # IPv6 destination, ICMPv6 type and code
    flags: bytes  # R, S, O and the reserved bits
    tail: bytes  # target link-layer address option
    partial_sum: int  # of all that the checksum covers, but for the target


def prepare(lladdr: bytes, ethernet_destination: bytes, destination: bytes, flags: int) -> Template:
    """Build the template of what `lladdr` advertises to one requester; `flags` is the R, S, O octet."""
    message_length = ADVERTISEMENT_LENGTH - ICMP
    head = struct.pack(
        "!6s6sHIHBB",
        ethernet_destination,
        lladdr,
        ETH_P_IPV6,
        0x60000000,  # version 6, traffic class 0, flow label 0
        message_length,
        ICMPV6,
        NDP_HOP_LIMIT,
    )
    kind = bytes((NEIGHBOR_ADVERTISEMENT, 0))
    flag_word = bytes((flags, 0, 0, 0))
    tail = bytes((TARGET_LLADDR_OPTION, 1)) + lladdr
    partial_sum = pseudo_header_sum(UNSPECIFIED, destination, message_length) + word_sum(kind + flag_word + tail)
    return Template(head, destination + kind, flag_word, tail, partial_sum)


def fill(template: Template, target: bytes, value: int) -> bytes:
    """Return the advertisement of `target`, whose 128 bits are `value`: once as the source, once as the target."""
    head, middle, flags, tail, partial_sum = template
    check = -(partial_sum + 2 * value) % 65535
    return b"".join((head, target, middle, check.to_bytes(2, "big"), flags, target, tail))
