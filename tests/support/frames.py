"""Neighbor solicitations and advertisements as a test wants them, right in every field unless told otherwise.

Built from text with `struct` and a plain RFC 1071 loop; it must never use what it tests. Import it as
`from frames import solicitation`.
"""

import struct
from ipaddress import IPv6Address
from types import EllipsisType

ROUTER = "fe80::1"
ROUTER_LLADDR = "02:00:00:00:00:01"
UPLINK_LLADDR = "02:00:00:00:00:02"
TARGET = "2001:db8::c1"


def packed(address: str | bytes) -> bytes:
    """Return an IPv6 address as 16 octets."""
    return address if isinstance(address, bytes) else IPv6Address(address).packed


def lladdr(address: str | bytes) -> bytes:
    """Return a link-layer address as 6 octets."""
    return address if isinstance(address, bytes) else bytes.fromhex(address.replace(":", ""))


def solicited_node(target: str | bytes) -> bytes:
    """Return the solicited-node group of a target."""
    return packed("ff02::1:ff00:0")[:13] + packed(target)[13:]


def internet_checksum(source: bytes, destination: bytes, message: bytes, next_header: int = 58) -> int:
    """Add up the pseudo-header and `message` word by word, as RFC 1071 describes it."""
    block = source + destination + struct.pack("!IxxxB", len(message), next_header) + message
    block += bytes(len(block) % 2)
    total = sum(struct.unpack(f"!{len(block) // 2}H", block))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def with_right_checksum(frame: bytes) -> bytes:
    """Return `frame` with the checksum of whatever its payload length says is the message."""
    message = frame[54 : 54 + int.from_bytes(frame[18:20], "big")]
    if len(message) < 4:
        return frame
    check = internet_checksum(frame[22:38], frame[38:54], message[:2] + b"\0\0" + message[4:])
    return frame[:56] + check.to_bytes(2, "big") + frame[58:]


def option(kind: int, data: str | bytes) -> bytes:
    """Return one option; `data` is a link-layer address as text, or octets that are padded to a multiple of 8."""
    octets = lladdr(data)
    octets += bytes(-(len(octets) + 2) % 8)
    return bytes((kind, (len(octets) + 2) // 8)) + octets


def solicitation(
    target: str | bytes = TARGET,
    source: str | bytes = ROUTER,
    destination: str | bytes | None = None,
    *,
    slla: str | bytes | EllipsisType | None = ...,
    options: bytes = b"",
    kind: int = 135,
    code: int = 0,
    checksum: int | None = None,
    reserved: bytes = bytes(4),
    version: int = 6,
    payload_length: int | None = None,
    next_header: int = 58,
    hop_limit: int = 255,
    ethernet_source: str | bytes = ROUTER_LLADDR,
    ethernet_destination: str | bytes | None = None,
    ether_type: int = 0x86DD,
    padding: bytes = b"",
) -> bytes:
    """Return the frame of a solicitation for `target`.

    Left out, the destination is the target's solicited-node group, the Ethernet destination the group's or the
    uplink's, and the source link-layer address option is there unless the source is `::`. `options` follow it.
    """
    source, target = packed(source), packed(target)
    destination = solicited_node(target) if destination is None else packed(destination)
    if ethernet_destination is None:
        ethernet_destination = b"\x33\x33" + destination[12:] if destination[0] == 0xFF else UPLINK_LLADDR
    if slla is ...:
        slla = ethernet_source if any(source) else None
    if slla is not None:
        options = option(1, slla) + options
    body = reserved + target + options
    if checksum is None:
        checksum = internet_checksum(source, destination, bytes((kind, code, 0, 0)) + body)
    length = 4 + len(body) if payload_length is None else payload_length
    return (
        lladdr(ethernet_destination)
        + lladdr(ethernet_source)
        + struct.pack("!HIHBB", ether_type, version << 28, length, next_header, hop_limit)
        + source
        + destination
        + struct.pack("!BBH", kind, code, checksum)
        + body
        + padding
    )


def long_solicitation(target: str | bytes = TARGET, hop_limit: int = 255) -> bytes:
    """Return a solicitation of 1,000 octets, more than a slot of the ring has room for; in order with hop limit 255."""
    return solicitation(target, options=option(253, bytes(910)), hop_limit=hop_limit)


def advertisement(
    target: str | bytes = TARGET,
    destination: str | bytes = ROUTER,
    *,
    router: bool = False,
    solicited: bool = True,
    override: bool = False,
    ethernet_source: str | bytes = UPLINK_LLADDR,
    ethernet_destination: str | bytes = ROUTER_LLADDR,
) -> bytes:
    """Return the frame of the advertisement that `target` sends: 86 octets, its own link-layer address the option."""
    target, destination, station = packed(target), packed(destination), lladdr(ethernet_source)
    flags = router << 7 | solicited << 6 | override << 5
    body = bytes((flags, 0, 0, 0)) + target + b"\x02\x01" + station
    checksum = internet_checksum(target, destination, b"\x88\x00\x00\x00" + body)
    return (
        lladdr(ethernet_destination)
        + station
        + struct.pack("!HIHBB", 0x86DD, 6 << 28, 32, 58, 255)
        + target
        + destination
        + struct.pack("!BBH", 136, 0, checksum)
        + body
    )


def tagged(frame: bytes, vid: int, priority: int = 0) -> bytes:
    """Return `frame` with an 802.1Q tag, as it stands on the wire."""
    return frame[:12] + struct.pack("!HH", 0x8100, priority << 13 | vid) + frame[12:]
