"""Where each field of a neighbor solicitation and advertisement lies in an Ethernet frame, and the RFC constants.

    0       6       12     14        18     20    21     22       38       54    55    56      58    62       78
    | dst   | src   | type | ver,tc, | plen | nxt | hops | source | destin | typ | cod | check | 0/  | target | options
    | MAC   | MAC   | 86dd | flow    |      | 58  | 255  |        | ation  | 135 | 0   | sum   | RSO |        |
    |------ Ethernet 14 --|---------------- IPv6 40 (RFC 8200 3) ----------|------- ICMPv6 (RFC 4861 4.3, 4.4) ---

Offsets are octets from the start of the frame. Nothing here computes.
"""

from typing import Final

ETHERNET_DESTINATION: Final = slice(0, 6)
ETHERNET_SOURCE: Final = slice(6, 12)
ETHER_TYPE: Final = slice(12, 14)
VERSION: Final = 14  # high nibble
PAYLOAD_LENGTH: Final = slice(18, 20)
NEXT_HEADER: Final = 20
HOP_LIMIT: Final = 21
SOURCE: Final = slice(22, 38)
DESTINATION: Final = slice(38, 54)
ICMP_TYPE: Final = 54
ICMP_CODE: Final = 55
CHECKSUM: Final = slice(56, 58)
FLAGS: Final = slice(58, 62)
TARGET: Final = slice(62, 78)

# Everything about the requester: it does not change from one of its solicitations to the next.
REQUESTER: Final = slice(6, 38)

ICMP: Final = 54  # first octet of the ICMPv6 message: the end of the IPv6 header
OPTIONS: Final = 78  # first octet of the options
SOLICITATION_HEADER: Final = 24  # octets of ICMPv6 before the options (4.3)
ADVERTISEMENT_LENGTH: Final = 86  # octets of every frame we send

ETH_P_IPV6: Final = 0x86DD
ICMPV6: Final = 58  # IPv6 next header (RFC 4443 1)
MULTICAST_LISTENER_QUERY: Final = 130  # RFC 3810 5.1
NEIGHBOR_SOLICITATION: Final = 135
NEIGHBOR_ADVERTISEMENT: Final = 136
MULTICAST_ROUTER_SOLICITATION: Final = 152  # RFC 4286 4
MLD_HOP_LIMIT: Final = 1  # RFC 3810 5, RFC 4286 3: no router forwards it
NDP_HOP_LIMIT: Final = 255  # 7.1.1, 7.1.2: proves the frame was not forwarded

SOURCE_LLADDR_OPTION: Final = 1  # 4.6.1
TARGET_LLADDR_OPTION: Final = 2  # 4.6.1

ROUTER_FLAG: Final = 0x80  # 4.4
SOLICITED_FLAG: Final = 0x40
OVERRIDE_FLAG: Final = 0x20
