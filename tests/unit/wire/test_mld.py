"""Multicast listener reports, octet for octet as scapy builds them (RFC 3810)."""

from ipaddress import IPv6Address

import pytest
from frames import UPLINK_LLADDR, lladdr, packed, solicited_node
from scapy.layers.inet6 import (
    ICMPv6MLDMultAddrRec,
    ICMPv6MLReport2,
    IPv6,
    IPv6ExtHdrHopByHop,
    PadN,
    RouterAlert,
)
from scapy.layers.l2 import Ether

from ndpresponder.wire import mld

SOURCE = "2001:db8::2"


def of_scapy(record: int, groups: list[bytes]) -> bytes:
    """Return what scapy makes of it, checksum and all."""
    records = [ICMPv6MLDMultAddrRec(rtype=record, dst=str(IPv6Address(group))) for group in groups]
    return bytes(
        Ether(src=UPLINK_LLADDR, dst="33:33:00:00:00:16")
        / IPv6(src=SOURCE, dst="ff02::16", hlim=1)
        / IPv6ExtHdrHopByHop(options=[RouterAlert(value=0), PadN(optdata=b"")])
        / ICMPv6MLReport2(records=records, records_number=len(records))
    )


@pytest.mark.parametrize("record", [mld.IS_EXCLUDE, mld.TO_INCLUDE, mld.TO_EXCLUDE])
@pytest.mark.parametrize("count", [1, 2, mld.MAX_RECORDS])
def test_a_report_is_what_scapy_builds(record: int, count: int) -> None:
    groups = [solicited_node(f"2001:db8::{number:x}") for number in range(1, count + 1)]
    assert mld.report(lladdr(UPLINK_LLADDR), packed(SOURCE), record, groups) == of_scapy(record, groups)


def test_the_longest_report_fits_any_ipv6_link() -> None:
    groups = [solicited_node(f"2001:db8::{number:x}") for number in range(mld.MAX_RECORDS)]
    frame = mld.report(lladdr(UPLINK_LLADDR), packed(SOURCE), mld.IS_EXCLUDE, groups)
    assert 1280 - 20 < len(frame) - 14 <= 1280
