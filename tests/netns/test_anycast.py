"""The anycast address of a subnet's routers (RFC 4291 2.6.1): on the uplink's own link it is theirs to answer for."""

from collections.abc import Iterator

import pytest
from daemon_process import Installed
from frames import packed, solicitation
from kernel_runs import EVERY_FASTPATH, Fastpath
from peer import Peer, Wire
from requirements import require

from ndpresponder.lab import wait_until
from ndpresponder.outcome import Outcome

OWN = "2001:db8:1::2"
ROUTERS = "2001:db8:1::"
OF_ANOTHER_PREFIX = "2001:db8:2::"
CLAIMS = ("2001:db8:1::/64", "2001:db8:2::/64", "2001:db8::/112")


@pytest.fixture(scope="module", params=EVERY_FASTPATH)
def mode(request) -> Fastpath:
    return Fastpath(request.param)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    require("ip")
    with Wire("anycast") as wire:
        yield wire


@pytest.fixture(scope="module")
def daemon(wire, mode) -> Iterator[Installed]:
    wire.near.ip(f"address replace {OWN}/64 dev up0 nodad")
    prefixes = [word for prefix in CLAIMS for word in ("-n", prefix)]
    with Installed(wire.near, "-i", "up0", *prefixes, *mode.flags(wire)) as daemon:
        yield daemon


@pytest.fixture
def peer(wire, daemon) -> Iterator[Peer]:
    with Peer(wire.far) as peer:
        yield peer


def answered(peer: Peer, *targets: str) -> list[str]:
    """Return which targets are answered for."""
    answers = {answer[62:78] for answer in peer.ask(*map(solicitation, targets))}
    return [target for target in targets if packed(target) in answers]


def test_that_of_the_uplinks_own_link_is_never_answered_for_and_that_of_another_prefix_is(daemon, peer):
    counted = daemon.caused(lambda: peer.ask(solicitation(ROUTERS), solicitation(ROUTERS, destination=ROUTERS)), 3)
    assert counted[f"ignored {Outcome.EXCLUDED.label}"] == 2
    targets = (ROUTERS, OF_ANOTHER_PREFIX, "2001:db8:1::1")
    assert answered(peer, *targets) == [OF_ANOTHER_PREFIX, "2001:db8:1::1"]


def is_excluded(daemon: Installed, peer: Peer, target: str) -> bool:
    """Tell whether the daemon leaves an address to others; the kernel may answer for it."""
    return daemon.caused(lambda: peer.ask(solicitation(target)), 2)["ignored excluded"] == 1


@pytest.mark.parametrize(
    ("address", "theirs", "ours"),
    [
        ("2001:db8:1::5:2/112", "2001:db8:1::5:0", "2001:db8:1::6:0"),
        ("2001:db8:2::2/64", "2001:db8:2::", "2001:db8:2::1"),
        ("2001:db8:1:0:8000::7/66", "2001:db8:1:0:8000::", "2001:db8:1:0:4000::"),
        ("2001:db8:1::a/126", "2001:db8:1::8", "2001:db8:1::b"),
        ("2001:db8:1::f0 peer 2001:db8:2::25/120", "2001:db8:2::", "2001:db8:1::e0"),
    ],
)
def test_it_follows_the_addresses_and_their_lengths(wire, daemon, peer, address, theirs, ours):
    assert answered(peer, theirs, ours) == [theirs, ours]
    wire.near.ip(f"address add {address} dev up0 nodad")
    try:
        wait_until(lambda: answered(peer, theirs, ours) == [ours], 5, "the address to be known")
        assert is_excluded(daemon, peer, address.partition("/")[0].partition(" ")[0])  # with a peer or not
    finally:
        wire.near.ip(f"address del {address} dev up0")
    wait_until(lambda: answered(peer, theirs, ours) == [theirs, ours], 5, "the address to be gone")


@pytest.mark.parametrize("address", ["2001:db8:1::31/127", "2001:db8:1::30/128"])
def test_a_link_of_two_routers_and_a_single_address_have_none(wire, daemon, peer, address):
    """RFC 6164 6: on a /127 both addresses are hosts'."""
    wire.near.ip(f"address add {address} dev up0 nodad")
    own = address.partition("/")[0]
    try:
        wait_until(lambda: is_excluded(daemon, peer, own), 5, "the address to be known")
        other = "2001:db8:1::30" if own.endswith("31") else "2001:db8:1::31"
        assert answered(peer, other) == [other]
    finally:
        wire.near.ip(f"address del {address} dev up0")


@pytest.mark.parametrize("protocol", ["kernel", "ra"])
def test_a_prefix_that_is_on_the_link_by_a_router_advertisement_counts_too(wire, daemon, peer, protocol):
    wire.near.ip(f"route add 2001:db8:2::/64 dev up0 proto {protocol}")
    try:
        wait_until(lambda: answered(peer, OF_ANOTHER_PREFIX) == [], 5, "the route to be known")
    finally:
        wire.near.ip("route del 2001:db8:2::/64 dev up0")
    wait_until(lambda: answered(peer, OF_ANOTHER_PREFIX) == [OF_ANOTHER_PREFIX], 5, "the route to be gone")


def test_a_stranger_who_advertises_a_small_prefix_excludes_nobody(wire, daemon, peer):
    wire.near.ip("route add 2001:db8::c0/124 dev up0 proto kernel", "address add 2001:db8:1::9/128 dev up0")
    try:
        wait_until(lambda: is_excluded(daemon, peer, "2001:db8:1::9"), 5, "all of it to be known")
        assert answered(peer, "2001:db8::c0") == ["2001:db8::c0"]
    finally:
        wire.near.ip("route del 2001:db8::c0/124 dev up0", "address del 2001:db8:1::9/128 dev up0")


def test_what_the_prefix_covers_is_said_once(daemon):
    (line,) = daemon.lines("on_link=2001:db8:1::/64")
    assert "covers the uplink's own" in line
    assert " prefix=2001:db8:1::/64" in line
    assert 'claimed_by="static up0"' in line
