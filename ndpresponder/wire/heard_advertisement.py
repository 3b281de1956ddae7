"""What a neighbor advertisement of somebody else says (RFC 4861 4.4), for learning where a gateway is.

Pure, and safe on any bytes: what is not valid says nothing.
"""

from typing import NamedTuple

from ndpresponder.wire.addresses import is_multicast, is_unicast_lladdr
from ndpresponder.wire.checksum import is_valid
from ndpresponder.wire.layout import (
    DESTINATION,
    ETH_P_IPV6,
    ETHER_TYPE,
    FLAGS,
    HOP_LIMIT,
    ICMP,
    ICMP_CODE,
    ICMP_TYPE,
    ICMPV6,
    NDP_HOP_LIMIT,
    NEIGHBOR_ADVERTISEMENT,
    NEXT_HEADER,
    OPTIONS,
    PAYLOAD_LENGTH,
    SOLICITED_FLAG,
    SOURCE,
    TARGET,
    TARGET_LLADDR_OPTION,
    VERSION,
)
from ndpresponder.wire.solicitation import lladdr_option


class Heard(NamedTuple):
    """What one valid advertisement says."""

    target: bytes
    lladdr: bytes
    destination: bytes
    solicited: bool


def hear(frame: bytes) -> Heard | None:
    """Return what the advertisement in `frame` says; None if it is invalid or names no link-layer address."""
    if len(frame) < OPTIONS or frame[ETHER_TYPE] != ETH_P_IPV6.to_bytes(2, "big") or frame[VERSION] >> 4 != 6:
        return None
    if frame[NEXT_HEADER] != ICMPV6 or frame[ICMP_TYPE] != NEIGHBOR_ADVERTISEMENT:
        return None
    end = ICMP + int.from_bytes(frame[PAYLOAD_LENGTH], "big")
    target, destination = frame[TARGET], frame[DESTINATION]
    solicited = bool(frame[FLAGS.start] & SOLICITED_FLAG)
    if (
        frame[HOP_LIMIT] != NDP_HOP_LIMIT  # 7.1.2: Hop Limit is 255
        or frame[ICMP_CODE]  # 7.1.2: ICMP Code is 0
        or not OPTIONS <= end <= len(frame)  # 7.1.2: ICMP length is 24 or more octets
        or is_multicast(target)  # 7.1.2: Target Address is not multicast
        or (solicited and is_multicast(destination))  # 7.1.2: then Solicited is zero
        or not is_valid(frame[SOURCE], destination, frame[ICMP:end])  # 7.1.2: ICMP Checksum is valid
    ):
        return None
    lladdr = lladdr_option(frame[OPTIONS:end], TARGET_LLADDR_OPTION)
    if not isinstance(lladdr, bytes) or not is_unicast_lladdr(lladdr):
        return None
    return Heard(target, lladdr, destination, solicited)
