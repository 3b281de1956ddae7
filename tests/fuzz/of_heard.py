"""What an advertisement of somebody else says: whatever the octets, what is not valid (RFC 4861 7.1.2) is silent."""

from ipaddress import IPv6Address

import frames
from frames import with_right_checksum
from octets import Octets
from scapy.layers.inet6 import IPv6, in6_chksum

from ndpresponder.wire.advertisement import Received, read_advertisement


def check(octets: bytes) -> None:
    """Hear one frame, whose checksum is mended if the first octet says so."""
    choices = Octets(octets)
    mended = choices.byte() & 1
    frame = choices.rest()
    if mended and len(frame) >= 78:
        frame = with_right_checksum(frame)
    assert read_advertisement(frame) == _expected(frame)


def _expected(frame: bytes) -> Received | None:
    """Read the frame a second time, from the RFC."""
    if (
        len(frame) < 78
        or frame[12:15] + frame[20:22] != b"\x86\xdd" + frame[14:15] + b"\x3a\xff"
        or frame[14] >> 4 != 6
    ):
        return None
    length = int.from_bytes(frame[18:20], "big")
    message = frame[54 : 54 + length]
    if len(message) < 24 or len(message) < length or message[:2] != b"\x88\x00":
        return None
    source, destination = (str(IPv6Address(frame[place : place + 16])) for place in (22, 38))
    if in6_chksum(58, IPv6(src=source, dst=destination), message) != 0:
        return None
    target, solicited = message[8:24], bool(message[4] & 0x40)
    if target[0] == 0xFF or (solicited and frame[38] == 0xFF):
        return None
    stations, options = [], message[24:]
    while options:
        if len(options) < 2 or options[1] == 0 or len(options) < options[1] * 8:
            return None
        if options[0] == 2:
            if options[1] != 1:
                return None
            stations.append(options[2:8])
        options = options[options[1] * 8 :]
    if not stations or stations[0][0] & 1 or not any(stations[0]):
        return None
    return Received(target, stations[0], frame[38:54], solicited)


SEEDS = (
    b"\0" + frames.advertisement(),
    b"\1" + frames.advertisement(destination="ff02::1", solicited=False),
    b"\1" + frames.advertisement() + frames.option(14, b"noncen"),
    b"\1" + frames.solicitation(),
)
DICTIONARY = (b"\x86\xdd", b"\x60\x00\x00\x00", b"\x3a\xff", b"\x88\x00", b"\x02\x01", b"\x00\x20", b"\x00\x28")
