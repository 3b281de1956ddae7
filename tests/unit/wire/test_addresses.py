"""Classes and groups of addresses, at their borders."""

import pytest
from frames import lladdr, packed

from ndpresponder.wire.addresses import (
    ALL_NODES,
    ALL_NODES_LLADDR,
    LOOPBACK,
    NO_LLADDR,
    SOLICITED_NODE_PREFIX,
    UNSPECIFIED,
    V4_MAPPED_PREFIX,
    is_link_local,
    is_multicast,
    is_unicast_lladdr,
    solicited_node,
)


@pytest.mark.parametrize(
    ("expected", "address"),
    [
        (False, "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        (True, "fe80::"),
        (True, "fe80::1"),
        (True, "fe80:1::1"),
        (True, "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        (False, "fec0::"),
        (False, "ff80::1"),
        (False, "2001:db8::fe80"),
        (False, "::"),
    ],
)
def test_link_local(expected: bool, address: str) -> None:
    assert is_link_local(packed(address)) is expected


@pytest.mark.parametrize(
    ("expected", "address"),
    [(False, "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), (True, "ff00::"), (True, "ff02::1"), (False, "::ff")],
)
def test_multicast(expected: bool, address: str) -> None:
    assert is_multicast(packed(address)) is expected


@pytest.mark.parametrize(
    ("expected", "station"),
    [
        (True, "02:00:00:00:00:01"),
        (True, "00:00:00:00:00:01"),
        (True, "fe:ff:ff:ff:ff:ff"),
        (False, "00:00:00:00:00:00"),
        (False, "33:33:00:00:00:01"),
        (False, "01:00:5e:00:00:01"),
        (False, "ff:ff:ff:ff:ff:ff"),
    ],
)
def test_a_link_layer_address_that_one_station_can_have(expected: bool, station: str) -> None:
    assert is_unicast_lladdr(lladdr(station)) is expected


@pytest.mark.parametrize(
    ("group", "target"),
    [
        ("ff02::1:ff0e:8c6c", "4037::01:800:200e:8c6c"),  # the example of RFC 4291 2.7.1
        ("ff02::1:ff00:0", "2001:db8::"),
        ("ff02::1:ffff:ffff", "2001:db8::ff:ffff"),
        ("ff02::1:ff00:1", "2001:db8::ff00:1"),
    ],
)
def test_the_solicited_node_group(group: str, target: str) -> None:
    assert solicited_node(packed(target)) == packed(group)


@pytest.mark.parametrize(
    ("text", "constant"),
    [
        ("::", UNSPECIFIED),
        ("::1", LOOPBACK),
        ("ff02::1", ALL_NODES),
        ("ff02::1:ff00:0", SOLICITED_NODE_PREFIX + bytes(3)),
        ("::ffff:0.0.0.0", V4_MAPPED_PREFIX + bytes(4)),
    ],
)
def test_a_constant_is_the_address_it_is_called_after(text: str, constant: bytes) -> None:
    assert constant == packed(text)


def test_the_link_layer_group_of_all_nodes_ends_in_its_last_32_bits() -> None:
    assert lladdr("33:33") + ALL_NODES[12:] == ALL_NODES_LLADDR
    assert bytes(6) == NO_LLADDR
