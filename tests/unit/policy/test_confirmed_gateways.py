"""Of each gateway the stations that the kernel has confirmed are kept: no number of others takes their place."""

from frames import ROUTER_LLADDR, lladdr, packed
from sample_responder import GATEWAY

from ndpresponder.policy.confirmed_gateways import IDLE_S, MAX_GATEWAYS, MAX_STATIONS, Confirmation, ConfirmedGateways

STATION = lladdr(ROUTER_LLADDR)


class Scene:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.confirmed = ConfirmedGateways(lambda: self.now_s)


def other(number: int) -> bytes:
    return b"\x02\xbb" + number.to_bytes(4, "big")


def gateway(number: int) -> bytes:
    return packed("fe80::")[:14] + number.to_bytes(2, "big")


def test_the_longest_confirmed_station_stays_whatever_others_are_confirmed() -> None:
    scene = Scene()
    scene.confirmed.confirm(packed(GATEWAY), STATION)
    for number in range(100):
        scene.confirmed.confirm(packed(GATEWAY), other(number))
    assert scene.confirmed.of(packed(GATEWAY)) == [STATION, other(0), other(1), other(99)]
    assert len(scene.confirmed.stations) == MAX_STATIONS
    scene.now_s += IDLE_S
    scene.confirmed.confirm(packed(GATEWAY), other(100))
    assert STATION not in scene.confirmed.stations


def test_made_up_gateways_take_no_place_of_one_that_is_confirmed_now_and_then() -> None:
    scene = Scene()
    for number in range(100):
        scene.confirmed.confirm(gateway(number), other(number))
    assert len(scene.confirmed.stations) == MAX_GATEWAYS
    assert scene.confirmed.has(gateway(0))
    scene.now_s += IDLE_S - 1
    scene.confirmed.confirm(gateway(0), other(0))
    scene.now_s += 1
    scene.confirmed.confirm(packed(GATEWAY), STATION)
    assert scene.confirmed.has(gateway(0))
    assert scene.confirmed.stations[STATION] == {packed(GATEWAY)}


def test_one_station_may_have_several_gateways() -> None:
    scene = Scene()
    scene.confirmed.confirm(gateway(1), STATION)
    scene.confirmed.confirm(gateway(2), STATION)
    assert scene.confirmed.stations == {STATION: {gateway(1), gateway(2)}}


def test_what_is_confirmed_goes_to_a_successor_and_what_cannot_be_does_not() -> None:
    scene, successor = Scene(), Scene()
    scene.confirmed.confirm(packed(GATEWAY), STATION)
    wrong = [
        Confirmation(packed("ff02::1"), STATION, 1.0),
        Confirmation(packed(GATEWAY)[:15], STATION, 1.0),
        Confirmation(gateway(3), b"\x33" + STATION[1:], 1.0),
        Confirmation(gateway(3), bytes(6), 1.0),
        Confirmation(gateway(3), STATION, 1e9),
        Confirmation(gateway(3), STATION, float("nan")),
    ]
    successor.confirmed.restore([*wrong, *scene.confirmed.confirmations()])
    assert successor.confirmed.stations == {STATION: {packed(GATEWAY)}}
