"""IPv6 and link-layer addresses as bytes: the constants, classes and groups that neighbor discovery names."""

from collections.abc import Iterable
from typing import Final

UNSPECIFIED: Final = bytes(16)
LOOPBACK: Final = bytes(15) + b"\x01"
ALL_NODES: Final = bytes.fromhex("ff020000000000000000000000000001")
ALL_NODES_LLADDR: Final = bytes.fromhex("333300000001")  # RFC 2464 7
SOLICITED_NODE_PREFIX: Final = bytes.fromhex("ff0200000000000000000001ff")  # /104, RFC 4291 2.7.1
V4_MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"  # /96, RFC 4291 2.5.5.2
NO_LLADDR: Final = bytes(6)


def solicited_node(target: bytes) -> bytes:
    """Return the solicited-node group of `target`: ff02::1:ff00:0/104 and its low 24 bits (RFC 4291 2.7.1)."""
    return SOLICITED_NODE_PREFIX + target[13:]


def group_lladdr(group: bytes) -> bytes:
    """Return the Ethernet address of a multicast group: 33:33 and its low 32 bits (RFC 2464 7)."""
    return b"\x33\x33" + group[12:]


def is_link_local(address: bytes) -> bool:
    """Tell whether `address` lies in fe80::/10 (RFC 4291 2.5.6)."""
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def is_multicast(address: bytes) -> bool:
    """Tell whether `address` lies in ff00::/8 (RFC 4291 2.7)."""
    return address[0] == 0xFF


def is_global(address: bytes) -> bool:
    """Tell whether `address` is a unicast one that routers forward: global (RFC 4291 2.5.4) or unique local."""
    return not is_multicast(address) and not is_link_local(address) and address[:15] != bytes(15)


def is_unique_local(address: bytes) -> bool:
    """Tell whether `address` lies in fc00::/7 (RFC 4193 3.1)."""
    return address[0] & 0xFE == 0xFC


def best_source(addresses: Iterable[bytes], destination: bytes) -> bytes | None:
    """Return which of `addresses` to ask `destination` from: never a link-local one, None without a global one.

    One of the destination's class comes first, and of those the one with most leading bits in common (RFC 6724 5).
    A link-local gateway is asked from a global address, since a filter knows the provider's prefix only.
    """
    value = int.from_bytes(destination, "big")

    def distance(address: bytes) -> tuple[bool, int]:
        of_other_class = is_unique_local(address) != is_unique_local(destination)
        return of_other_class, int.from_bytes(address, "big") ^ value

    return min(filter(is_global, addresses), key=distance, default=None)


def subnet_router_anycast(address: bytes, length: int) -> bytes | None:
    """Return the anycast address of the routers of the subnet that `address` lies in, None if it has none.

    That is the prefix with host bits of 0 (RFC 4291 2.6.1). A /127 between two routers has none (RFC 6164 6), nor has
    one address.
    """
    host_bits = 128 - length
    value = int.from_bytes(address, "big") >> host_bits << host_bits
    return value.to_bytes(16, "big") if host_bits > 1 and value and not is_link_local(address) else None


def is_unicast_lladdr(lladdr: bytes) -> bool:
    """Tell whether `lladdr` can belong to one station: neither a group address nor all zero."""
    return not lladdr[0] & 1 and lladdr != NO_LLADDR
