"""The second, small socket hears the gateways' advertisements and nothing else."""

import contextlib
import select
from collections.abc import Iterator

import pytest
from frames import ROUTER_LLADDR, UPLINK_LLADDR, advertisement, packed, solicitation
from peer import Peer, Wire
from requirements import require

from ndpresponder.errors import LinkNotReady
from ndpresponder.linux.packet.listener import Listener
from ndpresponder.wire.filters import advertisements_of

GATEWAYS = ("2001:db8::1", "fe80::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    require("ip")
    with Wire("listener") as wire:
        yield wire


def said(target: str) -> bytes:
    return advertisement(target, "fe80::2", ethernet_source=ROUTER_LLADDR, ethernet_destination=UPLINK_LLADDR)


@pytest.mark.parametrize("count", range(len(GATEWAYS) + 1))
def test_only_advertisements_of_the_gateways_are_heard(wire, count):
    listened = GATEWAYS[:count]
    others = ["2001:db8::2", "2001:db8:0:1::1", "2001:db9::1", "fe80::1:1"]
    with wire.near.enter():
        listener = Listener("up0", advertisements_of(map(packed, listened)))
    with contextlib.closing(listener), Peer(wire.far) as peer:
        peer.send(*map(said, (*others, *GATEWAYS)), solicitation("2001:db8::1"), said(GATEWAYS[0])[:60])
        heard = []
        while len(heard) < count and select.select([listener], [], [], 5)[0]:
            heard += listener.receive()
        assert sorted(heard) == sorted(map(said, listened))
        assert listener.receive() == []


def test_a_link_that_goes_down_is_no_frame(make_namespace):
    namespace = make_namespace("l")
    namespace.ip("link add name one type veth peer name two", "link set one up", "link set two up")
    with namespace.enter():
        listener = Listener("one", advertisements_of([packed(GATEWAYS[0])]))
    with contextlib.closing(listener):
        namespace.ip("link set one down")
        assert select.select([listener], [], [], 5)[0]
        assert listener.receive() == []
        assert not select.select([listener], [], [], 0)[0]


def test_a_link_that_does_not_exist_is_not_ready(wire):
    with wire.near.enter(), pytest.raises(LinkNotReady, match="nowhere"):
        Listener("nowhere", advertisements_of([]))
