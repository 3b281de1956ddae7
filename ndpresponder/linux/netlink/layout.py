"""The octets of a netlink message: its headers, numbers, flags and attributes, as the kernel's headers define them.

A message is read at fixed offsets, because decoding all of it costs more than thousands of entries may. Nothing here
asks the kernel anything.
"""

import socket
import struct
from collections.abc import Iterator
from typing import Any, Final

Message = memoryview | bytes  # one netlink message, header included

# linux/netlink.h
NLMSGHDR: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
HEADER_LENGTH: Final = NLMSGHDR.size
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_DUMP, NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x300, 0x100, 0x200, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
SOL_NETLINK, NETLINK_GET_STRICT_CHK = 270, 12
NETLINK_XFRM, NETLINK_GENERIC = 6, 16
_NLATTR: Final = struct.Struct("=HH")  # length, type
_TYPE_BITS: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

# linux/rtnetlink.h: types of messages
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34

# linux/rtnetlink.h, linux/if_link.h: links
IFINFOMSG: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change
IFLA_ADDRESS, IFLA_IFNAME, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO, IFLA_EXT_MASK = 1, 3, 5, 10, 18, 29
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND = 1, 2, 4
IFLA_MACVLAN_MODE, MACVLAN_MODE_PASSTHRU = 1, 8
RTEXT_FILTER_SKIP_STATS: Final = 1 << 3

# linux/if_addr.h: addresses
IFADDRMSG: Final = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFA_F_OPTIMISTIC, IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x04, 0x08, 0x40

# linux/rtnetlink.h: routes
RTMSG: Final = struct.Struct("=BBBBBBBBI")  # family, lengths of both, TOS, table, protocol, scope, type, flags
RTNEXTHOP: Final = struct.Struct("=HBBi")  # length, flags, hops, index
RTA_DST, RTA_SRC, RTA_IIF, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC = 1, 2, 3, 4, 5, 6, 7
RTA_MULTIPATH, RTA_TABLE, RTA_VIA = 9, 15, 18
RTN_UNICAST, RTN_LOCAL = 1, 2
RTN_DECIDING: Final = (RTN_UNICAST, 6, 7, 8, 9)  # RTN_BLACKHOLE, UNREACHABLE, PROHIBIT, THROW; not LOCAL, MULTICAST
RTNH_F_DEAD: Final = 0x01
RTPROT_KERNEL, RTPROT_RA = 2, 9
RT_TABLE_DEFAULT, RT_TABLE_MAIN, RT_TABLE_LOCAL = 253, 254, 255

# linux/fib_rules.h: policy rules, whose fixed header is like that of routes: the type is an action
FRA_IIF, FRA_PRIORITY, FRA_TABLE, FRA_OIF = 3, 6, 15, 17
FRA_FOR_SOME: Final = frozenset((10, 16, 20, 22, 23, 24))  # FWMARK, FWMASK, UID_RANGE, IP_PROTO, SPORT_, DPORT_RANGE
FR_ACT_TO_TBL: Final = 1
FIB_RULE_INVERT: Final = 0x02

# linux/neighbour.h: neighbors, and the forwarding entries of bridges
NDMSG: Final = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
NDA_DST, NDA_LLADDR, NDA_IFINDEX, NDA_MASTER, NDA_PROTOCOL = 1, 2, 8, 9, 12
NTF_PROXY, NTF_EXT_LEARNED = 0x08, 0x10
NUD_REACHABLE, NUD_STALE, NUD_DELAY, NUD_PROBE = 0x02, 0x04, 0x08, 0x10
NUD_FAILED, NUD_NOARP, NUD_PERMANENT = 0x20, 0x40, 0x80
KNOWN: Final = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT  # it has a link-layer address
CONFIRMED: Final = NUD_REACHABLE | NUD_NOARP | NUD_PERMANENT  # and that was confirmed, or need not be
STALE: Final = NUD_STALE | NUD_DELAY | NUD_PROBE  # known, but not heard lately

# The protocol (RTA_PROTOCOL, NDA_PROTOCOL) of the routes and neighbor entries that are ours, which nobody else uses.
# A line "110 ndpresponder" in /etc/iproute2/rt_protos.d/ndpresponder.conf makes ip(8) show it by name.
OUR_PROTOCOL: Final = 110


def ndmsg(family: int = socket.AF_INET6, index: int = 0, state: int = 0, flags: int = 0) -> bytes:
    """Return the fixed header of a request for neighbors."""
    return NDMSG.pack(family, index, state, flags, 0)


def rtmsg(length: int = 0, source_length: int = 0, table: int = 0, protocol: int = 0, kind: int = 0) -> bytes:
    """Return the fixed header of a request for routes or rules; the lengths are those of prefixes."""
    return RTMSG.pack(socket.AF_INET6, length, source_length, 0, table, protocol, 0, kind, 0)


def attribute(kind: int, value: bytes | int) -> bytes:
    """Return an attribute for a request; a number has four octets, whatever its sign."""
    octets = struct.pack("=I", value & 0xFFFFFFFF) if isinstance(value, int) else value
    return _NLATTR.pack(_NLATTR.size + len(octets), kind) + octets + bytes(-len(octets) % 4)


def attributes(message: Message, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of the attributes that begin at `offset`, as far as they are whole."""
    end = len(message)
    while offset + 4 <= end:
        length, kind = _NLATTR.unpack_from(message, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & _TYPE_BITS, bytes(message[offset + 4 : offset + length])
        offset += length + 3 & ~3


def number(values: dict[int, bytes], kind: int, default: int = 0) -> int:
    """Return the number of four octets in an attribute; raise struct.error if it is not one."""
    found: int = struct.unpack("=I", values[kind])[0] if kind in values else default
    return found


def text(values: dict[int, bytes], kind: int) -> str:
    """Return the text in an attribute, "" without one."""
    return values.get(kind, b"").rstrip(b"\0").decode(errors="replace")


def next_hops(values: dict[int, bytes], flags: int) -> Iterator[tuple[int, int, dict[int, bytes]]]:
    """Yield index, flags and attributes of each next hop of a route, as far as it is whole."""
    if RTA_MULTIPATH not in values:
        if RTA_OIF in values:
            yield number(values, RTA_OIF), flags, values
        return
    hops, offset = values[RTA_MULTIPATH], 0
    while offset + RTNEXTHOP.size <= len(hops):
        length, hop_flags, _, index = RTNEXTHOP.unpack_from(hops, offset)
        yield index, hop_flags, dict(attributes(hops[: offset + length], offset + RTNEXTHOP.size))
        offset += max(length, RTNEXTHOP.size) + 3 & ~3


def kind_of(message: Message) -> int:
    """Return the type of a message, RTM_*."""
    kind: int = struct.unpack_from("=H", message, 4)[0]
    return kind


def head(message: Message, header: struct.Struct) -> tuple[Any, ...]:
    """Return the fields of the family's fixed header; raise struct.error if the message is shorter."""
    return header.unpack_from(message, HEADER_LENGTH)


def values_of(message: Message, header: struct.Struct) -> dict[int, bytes]:
    """Return the attributes after the family's fixed header."""
    return dict(attributes(message, HEADER_LENGTH + header.size))
