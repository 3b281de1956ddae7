"""Temporary prefixes: there until their lifetime ends or somebody removes them, never more than there is room for."""

import asyncio
import json
import os
from collections.abc import Callable
from ipaddress import IPv6Network
from itertools import islice

import pytest
from sample_responder import addresses, prefixes

from ndpresponder.config import InterfaceConfig
from ndpresponder.linux import memory_file
from ndpresponder.targets.source import NOTHING, TargetSet
from ndpresponder.targets.sources.temporary import (
    LONGEST_S,
    MAX_PREFIXES,
    Temporary,
    TemporaryPrefixes,
    TemporarySource,
)

ONE = Temporary(IPv6Network("2001:db8:1::/64"))
UPLINKS = (InterfaceConfig("eth0"), InterfaceConfig("eth1", allow_wide=True))
HOST = Temporary(IPv6Network("2001:db8::c1/128"), "eth0")


class Timer:
    def __init__(self, due_s: float, call: Callable[[], object]) -> None:
        self.due_s = due_s
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def when(self) -> float:
        return self.due_s


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.timers: list[Timer] = []

    def call_later(self, delay: float, callback: Callable[..., object], /, *args: object) -> Timer:
        timer = Timer(self.now_s + delay, lambda: callback(*args))
        self.timers.append(timer)
        return timer

    def pass_to(self, now_s: float) -> None:
        self.now_s = now_s
        for timer in [timer for timer in self.timers if timer.due_s <= now_s]:
            self.timers.remove(timer)
            if not timer.cancelled:
                timer.call()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def temporary(clock: Clock) -> TemporaryPrefixes:
    return TemporaryPrefixes(clock.call_later, lambda: clock.now_s)


def test_a_prefix_is_claimed_and_a_single_address_live_where_it_was_added(temporary: TemporaryPrefixes) -> None:
    temporary.add(ONE, None)
    temporary.add(HOST, None)
    claimed = frozenset(prefixes("2001:db8:1::/64"))
    assert temporary.on("eth0") == TargetSet(live=addresses("2001:db8::c1"), claimed=claimed)
    assert temporary.on("eth1") == TargetSet(claimed=claimed)


def test_it_ends_with_its_lifetime(temporary: TemporaryPrefixes, clock: Clock) -> None:
    temporary.add(ONE, 10)
    clock.pass_to(9.9)
    assert {ONE: pytest.approx(0.1)} == temporary.remaining()
    clock.pass_to(10)
    assert temporary.remaining() == {}
    assert temporary.on("eth0") == NOTHING


def test_adding_again_is_a_new_lifetime(temporary: TemporaryPrefixes, clock: Clock) -> None:
    temporary.add(ONE, 10)
    clock.pass_to(9)
    temporary.add(ONE, 10)
    clock.pass_to(18.9)
    assert temporary.remaining()
    temporary.add(ONE, None)
    clock.pass_to(1000)
    assert temporary.remaining() == {ONE: None}


def test_what_was_removed_and_added_again_does_not_end_with_its_first_lifetime(
    temporary: TemporaryPrefixes, clock: Clock
) -> None:
    temporary.add(ONE, 10)
    assert temporary.remove(ONE)
    assert not temporary.remove(ONE)
    temporary.add(ONE, 100)
    clock.pass_to(50)
    assert ONE in temporary.remaining()


def test_on_one_uplink_is_not_on_all(temporary: TemporaryPrefixes) -> None:
    temporary.add(HOST, None)
    assert not temporary.remove(Temporary(HOST.network))
    assert temporary.remove(HOST)


def test_there_are_never_more_than_there_is_room_for(temporary: TemporaryPrefixes, clock: Clock) -> None:
    networks = list(islice(IPv6Network("2001:db8::/32").subnets(new_prefix=64), MAX_PREFIXES + 1))
    assert all(temporary.add(Temporary(network), 10) for network in networks[:-1])
    assert not temporary.add(Temporary(networks[-1]), 10)
    assert temporary.add(Temporary(networks[0]), 20), "one that is there already needs no room"
    clock.pass_to(10)
    assert [Temporary(networks[0])] == list(temporary.remaining())
    assert temporary.add(Temporary(networks[-1]), 10)


def test_each_change_is_published_and_a_source_that_ended_hears_nothing(temporary: TemporaryPrefixes) -> None:
    asyncio.run(_hear(temporary))


async def _hear(temporary: TemporaryPrefixes) -> None:
    published: list[TargetSet] = []
    source = TemporarySource("eth0", temporary)
    running = asyncio.create_task(source.run(published.append))
    await asyncio.sleep(0)
    assert published == [NOTHING]
    temporary.add(ONE, None)
    await asyncio.sleep(0)
    temporary.remove(ONE)
    temporary.add(HOST, None)
    await asyncio.sleep(0)
    claimed = TargetSet(claimed=frozenset(prefixes("2001:db8:1::/64")))
    assert published[1:] == [claimed, TargetSet(live=addresses("2001:db8::c1"))]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    temporary.remove(HOST)
    await asyncio.sleep(0)
    assert len(published) == 3


def test_what_was_kept_is_in_force_again_for_the_rest_of_its_lifetime(clock: Clock) -> None:
    kept: list[bytes] = []
    before = TemporaryPrefixes(clock.call_later, lambda: clock.now_s, kept.append)
    before.add(ONE, 100)
    before.add(HOST, None)
    before.add(Temporary(ONE.network, "eth0"), 5)
    clock.pass_to(10)
    clock.timers.clear()  # they end with their process
    clock.pass_to(40)
    after = TemporaryPrefixes(clock.call_later, lambda: clock.now_s, kept.append)
    after.restore(kept[-1], UPLINKS)
    assert after.remaining() == {ONE: 60, HOST: None}
    clock.pass_to(100)
    assert after.remaining() == {HOST: None}
    after.restore(kept[-1], UPLINKS)
    assert after.remaining() == {HOST: None}


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"5",
        b"[1]",
        b"[[1, 2]]",
        b'[["2001:db8::1/64", "", null]]',
        b'[["2001:db8::/64", "", "soon"]]',
        b"\xff",
        b'[[5, "", null]]',
        b'[["2001:db8:1::/64", "", null], ["2001:db8:2::/64", "", true]]',
        b'[["2001:db8::/64", "", Infinity]]',
        b'[["2001:db8::/64", "", NaN]]',
        b'[["192.0.2.0/24", "", null]]',
        b"[" * 100_000,
    ],
)
def test_what_nobody_kept_is_refused_as_a_whole(temporary: TemporaryPrefixes, kept: bytes) -> None:
    with pytest.raises(ValueError):
        temporary.restore(kept, UPLINKS)
    assert temporary.remaining() == {}


def test_to_remove_what_is_not_there_keeps_nothing(clock: Clock) -> None:
    kept: list[bytes] = []
    TemporaryPrefixes(clock.call_later, lambda: clock.now_s, kept.append).remove(ONE)
    assert not kept


REFUSED = {
    "everything": ("::/0", "", "is every address there is"),
    "link-local": ("fe80::/64", "", "is link-local"),
    "multicast": ("ff00::/16", "eth1", "is multicast"),
    "loopback": ("::1/128", "", "is loopback"),
    "too wide for one uplink": ("2001:db8::/48", "eth0", "2001:db8::/48 is wider than /64; set allow_wide for eth0"),
    "too wide for all of them": ("2001:db8::/48", "", "set allow_wide for eth0 in the configuration"),
    "no such uplink": ("2001:db8:1::/64", "eth7", "'eth7' is not an uplink here; did you mean"),
    "no name of an uplink": ("2001:db8:1::/64", "a/b", "'a/b' is not an interface name"),
    "an uplink that is no text": ("2001:db8:1::/64", 5, "must be text, not an integer"),
}


@pytest.mark.parametrize(("network", "uplink", "why"), REFUSED.values(), ids=REFUSED)
def test_what_was_kept_is_judged_as_what_is_added(
    temporary: TemporaryPrefixes, network: str, uplink: object, why: str
) -> None:
    rows = [[str(ONE.network), "", None], [network, uplink, None], ["2001:db8::/48", "eth1", None]]
    (reason,) = temporary.restore(json.dumps(rows).encode(), UPLINKS)
    assert why in reason
    assert temporary.remaining() == {ONE: None, Temporary(IPv6Network("2001:db8::/48"), "eth1"): None}


def test_of_too_many_that_were_kept_there_is_room_for_as_many_as_can_be_added(temporary: TemporaryPrefixes) -> None:
    networks = list(islice(IPv6Network("2001:db8::/32").subnets(new_prefix=64), MAX_PREFIXES + 5))
    rows = [[str(network), "", 1e300] for network in networks]
    refused = temporary.restore(json.dumps([*rows, *rows]).encode(), UPLINKS)
    assert len(temporary.remaining()) == MAX_PREFIXES
    assert len(refused) == 2 * 5
    assert set(temporary.remaining().values()) == {LONGEST_S}


def test_another_configuration_removes_what_is_too_wide_for_it(temporary: TemporaryPrefixes) -> None:
    wide = Temporary(IPv6Network("2001:db8::/48"), "eth1")
    for prefix in (ONE, HOST, wide):
        temporary.add(prefix, None)
    assert temporary.review(UPLINKS) == []
    assert temporary.review(UPLINKS[:1]) == [], "its uplink may come back"
    (reason,) = temporary.review((InterfaceConfig("eth1"),))
    assert reason.startswith("2001:db8::/48 is wider than /64; set allow_wide for eth1 in the configuration")
    assert temporary.remaining() == {ONE: None, HOST: None}


@pytest.mark.parametrize(
    "octets", [b"\0" * 4096 + b"\1", b"\0" * 4096 + b"\xff" * 8, b"\1"], ids=["cut", "too long", "empty"]
)
def test_memory_that_is_not_as_it_was_written_holds_nothing_or_what_is_there(octets: bytes) -> None:
    descriptor = os.memfd_create("test")
    try:
        os.write(descriptor, octets)
        assert memory_file.read(descriptor) in (b"", b"\xff" * 4)
    finally:
        os.close(descriptor)
