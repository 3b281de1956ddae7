"""Configured prefixes are known at once: a /128 is live, anything wider is claimed."""

import asyncio
from ipaddress import IPv6Network

from sample_responder import addresses, prefixes

from ndpresponder.targets.source import TargetSet, as_prefix
from ndpresponder.targets.sources import StaticSource


def published(*networks: str) -> list[TargetSet]:
    sets: list[TargetSet] = []
    asyncio.run(StaticSource("eth0", map(IPv6Network, networks)).run(sets.append))
    return sets


def test_a_host_is_live_and_a_prefix_is_claimed() -> None:
    assert published("2001:db8::c1/128", "2001:db8:1::/127", "2001:db8:2::/64") == [
        TargetSet(addresses("2001:db8::c1"), frozenset(prefixes("2001:db8:1::/127", "2001:db8:2::/64")))
    ]


def test_no_prefix_is_an_empty_set_and_still_published() -> None:
    assert published() == [TargetSet()]


def test_its_targets_are_answered_on_its_uplink_only() -> None:
    source = StaticSource("eth0", ())
    assert (source.kind, source.name, source.uplinks) == ("static", "eth0", frozenset({"eth0"}))


def test_a_network_is_its_bits_and_its_length() -> None:
    assert as_prefix(IPv6Network("2001:db8::/32")) == (0x20010DB8 << 96, 32)
