"""Neighbor advertisements as octets (RFC 4861 4.4): ours, and those of other hosts, which tell where a gateway is.

Pure, and safe on any bytes. Ours come from a template per requester, filled with a target for each answer. They are
always 86 octets: the IPv6 source is the target, and the one option is the target link-layer address.
"""

from typing import NamedTuple

from ndpresponder.wire.addresses import UNSPECIFIED, is_multicast, is_unicast_lladdr
from ndpresponder.wire.icmpv6 import checksum, header, pseudo_header_sum, word_sum
from ndpresponder.wire.layout import (
    ADVERTISEMENT_LENGTH,
    DESTINATION,
    ETH_P_IPV6,
    ETHER_TYPE,
    FLAGS,
    HOP_LIMIT,
    ICMP,
    ICMP_CODE,
    ICMP_TYPE,
    ICMPV6,
    NDP_HOP_LIMIT,
    NEIGHBOR_ADVERTISEMENT,
    NEXT_HEADER,
    OPTIONS,
    PAYLOAD_LENGTH,
    SOLICITED_FLAG,
    SOURCE,
    TARGET,
    TARGET_LLADDR_OPTION,
    VERSION,
)
from ndpresponder.wire.solicitation import lladdr_option


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
    head = header(ethernet_destination, lladdr, message_length)
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


class Received(NamedTuple):
    """A valid advertisement of another host."""

    target: bytes
    lladdr: bytes
    destination: bytes
    solicited: bool


def read_advertisement(frame: bytes) -> Received | None:
    """Return the advertisement in `frame`; None if it is invalid or names no link-layer address."""
    if len(frame) < OPTIONS or frame[ETHER_TYPE] != ETH_P_IPV6.to_bytes(2, "big") or frame[VERSION] >> 4 != 6:
        return None
    if frame[NEXT_HEADER] != ICMPV6 or frame[ICMP_TYPE] != NEIGHBOR_ADVERTISEMENT:
        return None
    end = ICMP + int.from_bytes(frame[PAYLOAD_LENGTH], "big")
    target, destination = frame[TARGET], frame[DESTINATION]
    solicited = bool(frame[FLAGS.start] & SOLICITED_FLAG)
    if (
        frame[HOP_LIMIT] != NDP_HOP_LIMIT  # 7.1.2: Hop Limit is 255
        or frame[ICMP_CODE]  # 7.1.2: ICMP Code is 0
        or not OPTIONS <= end <= len(frame)  # 7.1.2: ICMP length is 24 or more octets
        or is_multicast(target)  # 7.1.2: Target Address is not multicast
        or (solicited and is_multicast(destination))  # 7.1.2: then Solicited is zero
        or checksum(frame[SOURCE], destination, frame[ICMP:end]) != 0  # 7.1.2: ICMP Checksum is valid
    ):
        return None
    lladdr = lladdr_option(frame[OPTIONS:end], TARGET_LLADDR_OPTION)
    if not isinstance(lladdr, bytes) or not is_unicast_lladdr(lladdr):
        return None
    return Received(target, lladdr, destination, solicited)
