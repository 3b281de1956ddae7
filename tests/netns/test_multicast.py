"""Memberships are what the kernel says they are, however many, and end with the object that holds them."""

import errno
import os
import re
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from peer import Wire
from requirements import require

from ndpresponder.lab.namespace import Namespace
from ndpresponder.linux.packet.memberships import Memberships

ALL = 1 << 30  # more changes than there are
PER_TURN = 32


def groups(count: int, first: int = 0) -> frozenset[bytes]:
    prefix = bytes.fromhex("ff0200000000000000000001ff")
    return frozenset(prefix + number.to_bytes(3, "big") for number in range(0xC00000 + first, 0xC00000 + first + count))


def joined(namespace: Namespace, interface: str = "up0") -> frozenset[bytes]:
    """Return the groups of the tests that the kernel listens to on an interface."""
    rows = re.findall(rf"(?m)^\d+ +{interface} +(ff02\w+)", namespace.run("cat", "/proc/net/igmp6").stdout)
    return frozenset(bytes.fromhex(row) for row in rows if row.startswith("ff0200000000000000000001ffc"))


@pytest.fixture(scope="module")
def near() -> Iterator[Namespace]:
    require("ip")
    with Wire("multicast") as wire:
        yield wire.near


@pytest.fixture
def memberships(near: Namespace) -> Iterator[Memberships]:
    with near.enter():
        made = Memberships(socket.if_nametoindex("up0"))
    yield made
    made.close()


def settle(near: Namespace, memberships: Memberships, wanted: frozenset[bytes]) -> int:
    """Follow `wanted` to the end, in portions; new sockets must be made inside."""
    memberships.set_groups(wanted)
    error = 0
    with near.enter():
        while not memberships.settled:
            error = memberships.change(PER_TURN) or error
    return error


def test_a_group_is_joined_and_left(near: Namespace, memberships: Memberships) -> None:
    assert settle(near, memberships, groups(3)) == 0
    assert joined(near) == memberships.joined == groups(3)
    assert settle(near, memberships, groups(2, first=2)) == 0
    assert joined(near) == memberships.joined == groups(2, first=2)
    memberships.close()
    assert joined(near) == memberships.joined == frozenset()


def test_the_work_is_done_in_portions(near: Namespace, memberships: Memberships) -> None:
    memberships.set_groups(groups(10))
    with near.enter():
        assert memberships.change(4) == 0
    assert (len(joined(near)), memberships.settled) == (4, False)
    memberships.set_groups(groups(2))
    with near.enter():
        assert memberships.change(ALL) == 0
    assert joined(near) == groups(2)
    assert memberships.settled


def test_five_thousand_groups_take_several_sockets_and_all_are_left(near: Namespace, memberships: Memberships) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert settle(near, memberships, groups(5000)) == 0
    assert joined(near) == groups(5000)
    # net.core.optmem_max bounds what one socket takes
    assert len(list(Path("/proc/self/fd").iterdir())) - before >= 2
    assert settle(near, memberships, groups(4000, first=1000)) == 0
    used = len(list(Path("/proc/self/fd").iterdir()))
    assert settle(near, memberships, groups(5000)) == 0  # what was left made room
    assert joined(near) == groups(5000)
    assert len(list(Path("/proc/self/fd").iterdir())) == used
    memberships.close()
    assert joined(near) == frozenset()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_without_another_socket_the_rest_is_not_joined_and_later_it_is(
    near: Namespace, memberships: Memberships
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    settle(near, memberships, groups(1))
    with near.enter():
        memberships.set_groups(groups(5000))
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            error = memberships.change(ALL)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert error == errno.EMFILE
    assert memberships.settled
    assert 1 < len(joined(near)) < 5000
    assert joined(near) == memberships.joined
    assert settle(near, memberships, groups(5000)) == 0
    assert joined(near) == groups(5000)


def test_a_link_that_is_gone_refuses_and_keeps_no_socket(make_namespace) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    memberships = Memberships(4242)
    memberships.set_groups(groups(3))
    with make_namespace().enter():
        assert memberships.change(ALL) == errno.ENODEV
    assert (memberships.joined, memberships.settled) == (frozenset(), True)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_memberships_of_a_deleted_link_can_be_left(make_namespace) -> None:
    namespace = make_namespace("b")
    namespace.ip("link add name one type veth peer name two", "link set one up")
    with namespace.enter():
        memberships = Memberships(socket.if_nametoindex("one"))
        memberships.set_groups(groups(3))
        assert memberships.change(ALL) == 0
    namespace.ip("link del one")
    memberships.set_groups(frozenset())
    assert memberships.change(ALL) == 0
    memberships.close()
