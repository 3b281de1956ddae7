"""ICMPv6 messages in Ethernet frames: the headers before a message, and its checksum (RFC 1071, RFC 8200 8.1).

2**16 is 1 modulo 65535, so the ones'-complement sum of a block of 16-bit words is the block, read as one
big-endian number, modulo 65535. Python divides such a number faster than it can loop over the words.
"""

import struct

from ndpresponder.wire.layout import ETH_P_IPV6, ICMPV6, NDP_HOP_LIMIT

_HEADER = struct.Struct("!6s6sHIHBB")
_VERSION_6 = 6 << 28  # and traffic class 0, flow label 0


def word_sum(block: bytes) -> int:
    """Return the ones'-complement sum of `block`, 0 to 65534; an odd block is padded with a zero octet."""
    value = int.from_bytes(block, "big")
    return (value << 8 if len(block) % 2 else value) % 65535


def pseudo_header_sum(source: bytes, destination: bytes, length: int) -> int:
    """Return the sum of the pseudo-header of an ICMPv6 message of `length` octets."""
    return (word_sum(source) + word_sum(destination) + length + ICMPV6) % 65535


def checksum(source: bytes, destination: bytes, message: bytes) -> int:
    """Return the checksum of `message`, whose own checksum field is zero; 0 of one that carries the right checksum."""
    return -(pseudo_header_sum(source, destination, len(message)) + word_sum(message)) % 65535


def header(
    ethernet_destination: bytes, lladdr: bytes, length: int, next_header: int = ICMPV6, hop_limit: int = NDP_HOP_LIMIT
) -> bytes:
    """Return the Ethernet header, and the IPv6 header up to its addresses, before `length` octets."""
    return _HEADER.pack(ethernet_destination, lladdr, ETH_P_IPV6, _VERSION_6, length, next_header, hop_limit)


def with_checksum(source: bytes, destination: bytes, message: bytes) -> bytes:
    """Return `message`, whose checksum is still zero, with its checksum."""
    return message[:2] + checksum(source, destination, message).to_bytes(2, "big") + message[4:]
