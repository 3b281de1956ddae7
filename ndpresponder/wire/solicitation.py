"""What a neighbor solicitation says beyond its fixed fields: its kind and its options (RFC 4861 4.3, 4.6).

Pure, and safe on any bytes: a malformed message is a reason for silence, never an exception.
"""

from ndpresponder.outcome import Kind, Outcome
from ndpresponder.wire.addresses import UNSPECIFIED
from ndpresponder.wire.layout import DESTINATION, ETHERNET_DESTINATION, SOURCE, SOURCE_LLADDR_OPTION


def kind_of(frame: bytes) -> Kind:
    """Return what `frame` asks for, judged by its addresses alone, whatever else may be wrong with it."""
    if len(frame) < DESTINATION.stop:
        group = frame[ETHERNET_DESTINATION]
        return Kind.MULTICAST if group and group[0] & 1 else Kind.UNICAST
    if frame[SOURCE] == UNSPECIFIED:
        return Kind.DAD
    return Kind.MULTICAST if frame[DESTINATION.start] == 0xFF else Kind.UNICAST


def source_lladdr(options: bytes) -> bytes | Outcome | None:
    """Return the first source link-layer address among `options`, None without one, or why they are invalid.

    Unknown options are skipped wherever they stand (4.6: silently ignored).
    """
    found: bytes | None = None
    position = 0
    while position < len(options):
        # 4.6: type, then length in units of 8 octets, both included
        if position + 2 > len(options):
            return Outcome.BAD_OPTION
        length = options[position + 1] * 8
        if length == 0 or position + length > len(options):  # 7.1.1: all options have a length > 0
            return Outcome.BAD_OPTION
        if options[position] == SOURCE_LLADDR_OPTION:
            if length != 8:  # RFC 2464 6: Ethernet's is 8 octets
                return Outcome.BAD_SLLA_LENGTH
            if found is None:
                found = options[position + 2 : position + 8]
        position += length
    return found
