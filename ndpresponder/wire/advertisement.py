"""Neighbor advertisements as octets (RFC 4861 4.4): ours, and those of other hosts, which tell where a gateway is.

Pure, and safe on any bytes. Ours are made of an envelope per requester, a body that all share, and a target. They are
always 86 octets: the IPv6 source is the target, and the one option is the target link-layer address.
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

from ndpresponder.wire import layout
from ndpresponder.wire.addresses import UNSPECIFIED, is_multicast, is_unicast_lladdr
from ndpresponder.wire.icmpv6 import checksum, header, pseudo_header_sum, word_sum
from ndpresponder.wire.solicitation import lladdr_option


@dataclass(slots=True)  # quicker to make and to read than one that is frozen
class Envelope:
    """What stands before the flags in all advertisements to one requester, without target and checksum."""

    head: bytes  # Ethernet header and the first 8 octets of IPv6
    middle: bytes  # IPv6 destination, ICMPv6 type and code
    destination_sum: int  # the `word_sum` of the IPv6 destination


@dataclass(slots=True)
class Body:
    """What one link-layer address advertises to every requester alike, with the same flags."""

    flags: bytes  # R, S, O and the reserved bits
    tail: bytes  # target link-layer address option
    partial_sum: int  # of all that the checksum covers, but for the destination and the target


_ETHER_TYPE = layout.ETH_P_IPV6.to_bytes(2, "big")
_KIND = bytes((layout.NEIGHBOR_ADVERTISEMENT, 0))
_MESSAGE_LENGTH = layout.ADVERTISEMENT_LENGTH - layout.ICMP
_ADVERTISEMENT = struct.Struct("!22s16s18sH4s16s8s")  # head, target, middle, checksum, flags, target, tail


def address(lladdr: bytes, ethernet_destination: bytes, destination: bytes, destination_sum: int) -> Envelope:
    """Address what `lladdr` advertises to one requester."""
    return Envelope(header(ethernet_destination, lladdr, _MESSAGE_LENGTH), destination + _KIND, destination_sum)


def prepare(lladdr: bytes, flags: int) -> Body:
    """Prepare what `lladdr` advertises; `flags` is the R, S, O octet."""
    flag_word = bytes((flags, 0, 0, 0))
    tail = bytes((layout.TARGET_LLADDR_OPTION, 1)) + lladdr
    partial_sum = pseudo_header_sum(UNSPECIFIED, UNSPECIFIED, _MESSAGE_LENGTH) + word_sum(_KIND + flag_word + tail)
    return Body(flag_word, tail, partial_sum)


def fill(envelope: Envelope, body: Body, target: bytes, target_sum: int) -> bytes:
    """Return the advertisement of `target`, as the source and as the target; `target_sum` is its `word_sum`."""
    check = -(body.partial_sum + envelope.destination_sum + 2 * target_sum) % 65535
    return _ADVERTISEMENT.pack(envelope.head, target, envelope.middle, check, body.flags, target, body.tail)


def advertise(lladdr: bytes, ethernet_destination: bytes, destination: bytes, flags: int, target: bytes) -> bytes:
    """Return one advertisement of `target` by `lladdr`; `flags` is the R, S, O octet."""
    envelope = address(lladdr, ethernet_destination, destination, word_sum(destination))
    return fill(envelope, prepare(lladdr, flags), target, word_sum(target))


class Received(NamedTuple):
    """A valid advertisement of another host."""

    target: bytes
    lladdr: bytes
    destination: bytes
    solicited: bool


def read_advertisement(frame: bytes) -> Received | None:
    """Return the advertisement in `frame`; None if it is invalid or names no link-layer address."""
    if len(frame) < layout.OPTIONS or frame[layout.ETHER_TYPE] != _ETHER_TYPE or frame[layout.VERSION] >> 4 != 6:
        return None
    if frame[layout.NEXT_HEADER] != layout.ICMPV6 or frame[layout.ICMP_TYPE] != layout.NEIGHBOR_ADVERTISEMENT:
        return None
    end = layout.ICMP + int.from_bytes(frame[layout.PAYLOAD_LENGTH], "big")
    target, destination = frame[layout.TARGET], frame[layout.DESTINATION]
    solicited = bool(frame[layout.FLAGS.start] & layout.SOLICITED_FLAG)
    if (
        frame[layout.HOP_LIMIT] != layout.NDP_HOP_LIMIT  # 7.1.2: Hop Limit is 255
        or frame[layout.ICMP_CODE]  # 7.1.2: ICMP Code is 0
        or not layout.OPTIONS <= end <= len(frame)  # 7.1.2: ICMP length is 24 or more octets
        or is_multicast(target)  # 7.1.2: Target Address is not multicast
        or (solicited and is_multicast(destination))  # 7.1.2: then Solicited is zero
        or checksum(frame[layout.SOURCE], destination, frame[layout.ICMP : end])  # 7.1.2: ICMP Checksum is valid
    ):
        return None
    lladdr = lladdr_option(frame[layout.OPTIONS : end], layout.TARGET_LLADDR_OPTION)
    if not isinstance(lladdr, bytes) or not is_unicast_lladdr(lladdr):
        return None
    return Received(target, lladdr, destination, solicited)
