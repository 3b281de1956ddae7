"""What a neighbor solicitation says beyond its fixed fields, and the ones we send (RFC 4861 4.3, 4.6).

Pure, and safe on any bytes: a malformed message is a reason for silence, never an exception.
"""

import struct
from collections.abc import Iterable

from ndpresponder.outcome import Kind, Outcome
from ndpresponder.wire.addresses import LOOPBACK, UNSPECIFIED, group_lladdr, is_link_local, is_multicast, solicited_node
from ndpresponder.wire.icmpv6 import header, with_checksum
from ndpresponder.wire.layout import (
    DESTINATION,
    ETHERNET_DESTINATION,
    NEIGHBOR_SOLICITATION,
    SOURCE,
    SOURCE_LLADDR_OPTION,
)


def kind_of(frame: bytes) -> Kind:
    """Return what `frame` asks for, judged by its addresses alone, whatever else may be wrong with it."""
    if len(frame) < DESTINATION.stop:
        group = frame[ETHERNET_DESTINATION]
        return Kind.MULTICAST if group and group[0] & 1 else Kind.UNICAST
    if frame[SOURCE] == UNSPECIFIED:
        return Kind.DAD
    return Kind.MULTICAST if frame[DESTINATION.start] == 0xFF else Kind.UNICAST


def judge_target(target: bytes) -> Outcome | None:
    """Return why the daemon never answers for `target`, though claimed; None for an address that a host can have."""
    if is_multicast(target) or target in (UNSPECIFIED, LOOPBACK):  # 7.1.1: Target Address is not multicast
        return Outcome.BAD_TARGET
    return Outcome.LINK_LOCAL_TARGET if is_link_local(target) else None


def kinds_of(frames: Iterable[bytes]) -> list[int]:
    """Return how many of `frames` there are of each kind, as `kind_of` has it."""
    counts = [0] * len(Kind)
    multicast = unicast = 0
    for frame in frames:
        if len(frame) < DESTINATION.stop or not frame[SOURCE.start]:
            counts[kind_of(frame)] += 1
        elif frame[DESTINATION.start] == 0xFF:
            multicast += 1
        else:
            unicast += 1
    counts[Kind.MULTICAST] += multicast
    counts[Kind.UNICAST] += unicast
    return counts


def lladdr_option(options: bytes, kind: int) -> bytes | Outcome | None:
    """Return the first link-layer address of one `kind` among `options`, None without one, or why they are invalid.

    Unknown options are skipped wherever they stand (4.6: silently ignored).
    """
    if len(options) == 8 and options[0] == kind and options[1] == 1:  # as nearly always
        return options[2:]
    found: bytes | None = None
    position = 0
    while position < len(options):
        # 4.6: type, then length in units of 8 octets, both included
        if position + 2 > len(options):
            return Outcome.BAD_OPTION
        length = options[position + 1] * 8
        if length == 0 or position + length > len(options):  # 7.1.1: all options have a length > 0
            return Outcome.BAD_OPTION
        if options[position] == kind:
            if length != 8:  # RFC 2464 6: Ethernet's is 8 octets
                return Outcome.BAD_SLLA_LENGTH
            if found is None:
                found = options[position + 2 : position + 8]
        position += length
    return found


def solicit(lladdr: bytes, source: bytes, target: bytes) -> bytes:
    """Return the 86-octet address resolution of `target`, asked by `source` at `lladdr` (7.2.2)."""
    destination = solicited_node(target)
    return _solicitation(lladdr, source, target, destination, group_lladdr(destination))


def probe(lladdr: bytes, source: bytes, target: bytes, target_lladdr: bytes) -> bytes:
    """Return the 86-octet reachability probe of `target` at `target_lladdr`, sent by `source` at `lladdr` (7.3.3)."""
    return _solicitation(lladdr, source, target, target, target_lladdr)


def detect(lladdr: bytes, target: bytes) -> bytes:
    """Return the 78-octet solicitation of a host at `lladdr` that wants `target` for itself (RFC 4862 5.4.2)."""
    destination = solicited_node(target)
    return _solicitation(lladdr, UNSPECIFIED, target, destination, group_lladdr(destination))


def _solicitation(lladdr: bytes, source: bytes, target: bytes, destination: bytes, ethernet: bytes) -> bytes:
    message = struct.pack("!BBHI16s", NEIGHBOR_SOLICITATION, 0, 0, 0, target)
    if source != UNSPECIFIED:  # 7.1.1: no source link-layer address option from there
        message += struct.pack("!BB6s", SOURCE_LLADDR_OPTION, 1, lladdr)
    message = with_checksum(source, destination, message)
    return header(ethernet, lladdr, len(message)) + source + destination + message
