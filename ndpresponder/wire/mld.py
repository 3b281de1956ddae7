"""Multicast listener reports as octets (MLDv2, RFC 3810; MLDv1, RFC 2710), for links whose bridge hides what nobody
asked for; and multicast router discovery (RFC 4286), by which such a bridge learns which port leads to a router.

Pure. The kernel sends such reports itself for a socket that joined a group, but always from a link-local address;
where a filter drops those, or no such socket may be opened, the same report must come from us. Sections without an RFC
are those of RFC 3810.
"""

import struct
from collections.abc import Sequence
from typing import Final

from ndpresponder.wire.addresses import group_lladdr, is_link_local
from ndpresponder.wire.icmpv6 import header, with_checksum
from ndpresponder.wire.layout import HOP_LIMIT, ICMPV6, MLD_HOP_LIMIT, PAYLOAD_LENGTH, SOURCE

REPORT: Final = 143  # 5.2
REPORT_V1: Final = 131  # RFC 2710 3: "I listen to this group"
DONE_V1: Final = 132  # RFC 2710 3: "I left this group"
IS_EXCLUDE: Final = 2  # 5.2.12: a current-state record: "I listen to this group, whatever the source"
TO_INCLUDE: Final = 3  # 5.2.12: a state-change record with no sources: "I left this group"
TO_EXCLUDE: Final = 4  # 5.2.12: a state-change record: "I joined this group"

ROUTER_ADVERTISEMENT: Final = 151  # RFC 4286 3.2: "a multicast router is here"
ROUTER_TERMINATION: Final = 153  # RFC 4286 5.2: "it is one no more"

# As many records of 20 octets as fit a packet of 1,280 octets, which any IPv6 link carries
MAX_RECORDS: Final = (1280 - 40 - 8 - 8) // 20

ALL_ROUTERS: Final = bytes.fromhex("ff020000000000000000000000000016")  # ff02::16, 5.2.14: all MLDv2-capable routers
ALL_SNOOPERS: Final = bytes.fromhex("ff02000000000000000000000000006a")  # ff02::6a, RFC 4286 3.2
_ALL_ROUTERS_V1: Final = bytes.fromhex("ff020000000000000000000000000002")  # ff02::2, RFC 2710 3: of Done messages
_HOP_BY_HOP_OPTIONS: Final = 0  # RFC 8200 4.3: the next header of IPv6
# That header: its own next header, length 0, Router Alert option for MLD (RFC 2711 2.1), PadN
_ROUTER_ALERT: Final = bytes((ICMPV6, 0, 5, 2, 0, 0, 1, 0))
_QUERY_V1_LENGTH: Final = 24  # 8.1: a query of any other length is of MLDv2


def is_query(frame: bytes) -> bool:
    """Tell whether a frame that the program `bpf.QUERIES` accepts was sent on this link as 6.2 demands of a query."""
    return frame[HOP_LIMIT] == MLD_HOP_LIMIT and is_link_local(frame[SOURCE])


def is_of_version_1(query: bytes) -> bool:
    """Tell whether a query is one of MLDv1, whose sender understands no MLDv2 report (8.1)."""
    return int.from_bytes(query[PAYLOAD_LENGTH], "big") - len(_ROUTER_ALERT) == _QUERY_V1_LENGTH


def report(lladdr: bytes, source: bytes, record: int, groups: Sequence[bytes]) -> bytes:
    """Return the frame in which `source` reports one kind of `record` for at most `MAX_RECORDS` groups."""
    records = b"".join(struct.pack("!BBH", record, 0, 0) + group for group in groups)
    return _on_link(lladdr, source, ALL_ROUTERS, struct.pack("!BBHHH", REPORT, 0, 0, 0, len(groups)) + records)


def report_v1(lladdr: bytes, source: bytes, group: bytes, left: bool) -> bytes:
    """Return the frame in which `source` says to MLDv1 routers that it listens to `group`, or `left` it."""
    message = struct.pack("!BBHHH16s", DONE_V1 if left else REPORT_V1, 0, 0, 0, 0, group)
    return _on_link(lladdr, source, _ALL_ROUTERS_V1 if left else group, message)


def advertise_router(lladdr: bytes, source: bytes, interval_s: int) -> bytes:
    """Return the frame in which `source` passes for a multicast router and promises to repeat it every `interval_s`.

    Query Interval and Robustness Variable are zero, as RFC 4286 3.2 asks of a router that sends no MLD queries.
    """
    return _on_link(lladdr, source, ALL_SNOOPERS, struct.pack("!BBHHH", ROUTER_ADVERTISEMENT, interval_s, 0, 0, 0))


def terminate_router(lladdr: bytes, source: bytes) -> bytes:
    """Return the frame in which `source` says that it is no multicast router any more."""
    return _on_link(lladdr, source, ALL_SNOOPERS, struct.pack("!BBH", ROUTER_TERMINATION, 0, 0))


def _on_link(lladdr: bytes, source: bytes, destination: bytes, message: bytes) -> bytes:
    """Return the frame of an ICMPv6 `message`, its checksum still zero, to a group of this link.

    Hop limit 1 and the Router Alert option are what MLD (5) and multicast router discovery (RFC 4286 3.2) share.
    """
    payload = _ROUTER_ALERT + with_checksum(source, destination, message)
    head = header(group_lladdr(destination), lladdr, len(payload), _HOP_BY_HOP_OPTIONS, MLD_HOP_LIMIT)
    return head + source + destination + payload
