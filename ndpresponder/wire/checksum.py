"""The Internet checksum (RFC 1071) of an ICMPv6 message with its pseudo-header (RFC 8200 8.1).

2**16 is 1 modulo 65535, so the ones'-complement sum of a block of 16-bit words is the block, read as one
big-endian number, modulo 65535. Python divides such a number faster than it can loop over the words.
"""

from ndpresponder.wire.layout import ICMPV6


def word_sum(block: bytes) -> int:
    """Return the ones'-complement sum of `block`, 0 to 65534; an odd block is padded with a zero octet."""
    value = int.from_bytes(block, "big")
    return (value << 8 if len(block) % 2 else value) % 65535


def pseudo_header_sum(source: bytes, destination: bytes, length: int) -> int:
    """Return the sum of the pseudo-header of an ICMPv6 message of `length` octets."""
    return (word_sum(source) + word_sum(destination) + length + ICMPV6) % 65535


def checksum(source: bytes, destination: bytes, message: bytes) -> int:
    """Return the checksum of `message`, whose own checksum field must be zero."""
    return complement(pseudo_header_sum(source, destination, len(message)) + word_sum(message))


def complement(total: int) -> int:
    """Turn a sum into the value of the checksum field."""
    return -total % 65535


def is_valid(source: bytes, destination: bytes, message: bytes) -> bool:
    """Tell whether `message` carries the right checksum: then all words, the field included, add up to zero."""
    return (pseudo_header_sum(source, destination, len(message)) + word_sum(message)) % 65535 == 0
