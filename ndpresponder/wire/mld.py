"""Multicast listener reports as octets (MLDv2, RFC 3810), for links whose bridge hides what nobody asked for.

Pure. The kernel sends such reports itself for a socket that joined a group, but always from a link-local address;
where a filter drops those, or no such socket may be opened, the same report must come from us.
"""

import struct
from collections.abc import Sequence
from typing import Final

from ndpresponder.wire.addresses import is_link_local
from ndpresponder.wire.checksum import checksum
from ndpresponder.wire.layout import ETH_P_IPV6, HOP_LIMIT, ICMPV6, SOURCE

REPORT: Final = 143  # 5.2
IS_EXCLUDE: Final = 2  # 5.2.12: a current-state record: "I listen to this group, whatever the source"
TO_INCLUDE: Final = 3  # 5.2.12: a state-change record with no sources: "I left this group"
TO_EXCLUDE: Final = 4  # 5.2.12: a state-change record: "I joined this group"

# As many records of 20 octets as fit a packet of 1,280 octets, which any IPv6 link carries
MAX_RECORDS: Final = (1280 - 40 - 8 - 8) // 20

ALL_ROUTERS: Final = bytes.fromhex("ff020000000000000000000000000016")  # ff02::16, 5.2.14: all MLDv2-capable routers
_ALL_ROUTERS_LLADDR: Final = bytes.fromhex("333300000016")
# Hop-by-Hop header: next header, length 0, Router Alert option for MLD (RFC 2711 2.1), PadN
_ROUTER_ALERT: Final = bytes((ICMPV6, 0, 5, 2, 0, 0, 1, 0))
_HOP_LIMIT: Final = 1  # 5: of all MLD messages


def is_query(frame: bytes) -> bool:
    """Tell whether a frame that the program `bpf.QUERIES` accepts was sent on this link as 6.2 demands of a query."""
    return frame[HOP_LIMIT] == _HOP_LIMIT and is_link_local(frame[SOURCE])


def report(lladdr: bytes, source: bytes, record: int, groups: Sequence[bytes]) -> bytes:
    """Return the frame in which `source` reports one kind of `record` for at most `MAX_RECORDS` groups."""
    records = b"".join(struct.pack("!BBH", record, 0, 0) + group for group in groups)
    message = struct.pack("!BBHHH", REPORT, 0, 0, 0, len(groups)) + records
    check = checksum(source, ALL_ROUTERS, message)
    message = message[:2] + check.to_bytes(2, "big") + message[4:]
    header = struct.pack(
        "!6s6sHIHBB",
        _ALL_ROUTERS_LLADDR,
        lladdr,
        ETH_P_IPV6,
        0x60000000,
        len(_ROUTER_ALERT) + len(message),
        0,  # Hop-by-Hop Options
        _HOP_LIMIT,
    )
    return header + source + ALL_ROUTERS + _ROUTER_ALERT + message
