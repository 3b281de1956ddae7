"""Hosts that were found without a route: who is asked again, who is forgotten, and how many there can be."""

import pytest
from frames import packed

from ndpresponder.linux.netlink.resolver import Neighbor
from ndpresponder.targets.sources.unrouted_hosts import AGAIN_S, MAX_HOSTS, SILENT_S, UnroutedHosts, followed

HOST = Neighbor(1, packed("2001:db8::c1"))  # 1 is `lo`, which is everywhere


class Time:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.hosts = UnroutedHosts(lambda: self.now_s)


@pytest.fixture
def time() -> Time:
    return Time()


def test_who_was_found_is_live_until_it_is_silent_for_long(time: Time) -> None:
    time.hosts.add(HOST)
    assert time.hosts.targets().downstream == {"lo": {HOST.address}}
    assert list(time.hosts.due()) == []
    time.now_s += AGAIN_S
    assert list(time.hosts.due()) == [HOST]
    assert list(time.hosts.due()) == []  # once a second
    time.now_s += SILENT_S
    assert time.hosts.targets().live == {HOST.address}
    time.now_s += 1
    assert time.hosts.targets().live == frozenset()
    assert list(time.hosts.due()) == []


def test_who_answers_stays(time: Time) -> None:
    time.hosts.add(HOST)
    for _ in range(5):
        time.now_s += AGAIN_S
        assert list(time.hosts.due()) == [HOST]
        time.hosts.confirm(HOST)
        assert list(time.hosts.due()) == []
    assert time.hosts.targets().live == {HOST.address}


def test_whom_nobody_looked_for_is_not_remembered(time: Time) -> None:
    time.hosts.confirm(HOST)
    assert time.hosts.targets().live == frozenset()


def test_there_is_a_bound_and_the_first_are_kept(time: Time) -> None:
    hosts = [Neighbor(1, number.to_bytes(16, "big")) for number in range(MAX_HOSTS + 1)]
    for host in hosts:
        time.hosts.add(host)
    assert time.hosts.targets().live == {host.address for host in hosts[:-1]}


def test_only_links_that_exist_and_have_hosts_are_followed() -> None:
    assert followed([("bridge", ["lo", "none0"]), ("wireguard", ["lo"])]) == [1]
    assert followed([("wireguard", ["lo"]), ("file", [])]) == []
