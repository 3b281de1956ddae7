"""Which gateways are remembered and served when router advertisements make up more than there is room for."""

import dataclasses

from frames import ROUTER_LLADDR, lladdr, packed
from sample_link import LINK
from sample_responder import GATEWAY

from ndpresponder.linux.netlink import MAX_SERVED_GATEWAYS, Link
from ndpresponder.observe.tally import Tally
from ndpresponder.policy.known_requesters import KnownRequesters
from ndpresponder.uplink.requesters import MAX_GATEWAYS, Requesters

STATIC, TRUE = packed("fe80::ffff:1"), packed("fe80::ffff:2")  # which no order of addresses puts first


class Scene:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.requesters = Requesters(KnownRequesters(self.clock), lambda _: None, Tally(), self.clock)

    def clock(self) -> float:
        return self.now_s

    def follow(self, *gateways: bytes, static: tuple[bytes, ...] = ()) -> Link:
        self.now_s += 1
        return self.requesters.follow_link(
            dataclasses.replace(LINK, gateways=frozenset((*gateways, *static)), static_gateways=frozenset(static))
        )


def made_up(count: int, first: int = 1) -> list[bytes]:
    return [packed("fe80::")[:12] + number.to_bytes(4, "big") for number in range(first, first + count)]


def test_a_gateway_configured_by_hand_is_served_before_any_that_advertisements_made_up() -> None:
    assert Scene().follow(*made_up(100), static=(STATIC,)).served_gateways[0] == STATIC


def test_of_advertised_gateways_the_longest_known_are_served() -> None:
    scene = Scene()
    scene.follow(TRUE)
    served = scene.follow(TRUE, *made_up(100)).served_gateways
    assert served[0] == TRUE
    assert len(served) == MAX_SERVED_GATEWAYS
    assert scene.follow(TRUE, *made_up(200)).served_gateways == served


def test_a_gateway_whose_route_was_missing_for_a_moment_has_its_place_again() -> None:
    scene = Scene()
    scene.follow(TRUE)
    scene.follow(*made_up(100))
    assert scene.follow(TRUE, *made_up(100)).served_gateways[0] == TRUE


def test_a_gateway_that_the_kernel_has_reached_is_served_before_those_that_are_merely_named() -> None:
    scene = Scene()
    scene.follow(*made_up(100))
    scene.requesters.confirmed.confirm(TRUE, lladdr(ROUTER_LLADDR))
    assert scene.follow(TRUE, *made_up(100)).served_gateways[0] == TRUE


def test_gateways_that_are_made_up_and_go_take_no_place_of_those_seen_before() -> None:
    scene = Scene()
    scene.follow(TRUE, static=(STATIC,))
    for turn in range(4):
        scene.follow(*made_up(MAX_GATEWAYS, 1 + turn * MAX_GATEWAYS))
        scene.follow()
    assert len(scene.requesters.gateways.seen_s) == MAX_GATEWAYS + 1
    assert {STATIC, TRUE} <= set(scene.requesters.gateways.seen_s)


def test_a_gateway_that_has_a_route_is_never_forgotten_however_many_there_are() -> None:
    scene = Scene()
    many = made_up(MAX_GATEWAYS + 10)
    scene.follow(*many)
    scene.follow(*many, packed(GATEWAY))
    assert set(scene.requesters.gateways.seen_s) == {*many, packed(GATEWAY)}
    scene.follow(packed(GATEWAY))
    assert len(scene.requesters.gateways.seen_s) == MAX_GATEWAYS + 1
    assert packed(GATEWAY) in scene.requesters.gateways.seen_s


def test_those_that_have_been_gone_for_long_go_first() -> None:
    scene = Scene()
    scene.follow(*made_up(10))
    scene.now_s += 3600
    scene.follow(TRUE)
    scene.follow(*made_up(MAX_GATEWAYS - 5, 100))
    scene.follow()
    assert TRUE in scene.requesters.gateways.seen_s
    assert len(set(made_up(10)) & set(scene.requesters.gateways.seen_s)) == 4
