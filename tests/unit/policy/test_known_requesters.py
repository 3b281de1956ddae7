"""No place among the known requesters stays filled for having come first, and none is lost to who comes later."""

from frames import solicitation

from ndpresponder.policy import known_requesters as module
from ndpresponder.policy.known_requesters import (
    MAX_OF_STATION,
    MAX_REQUESTERS,
    NEW_IDLE_S,
    REGULAR_AFTER_S,
    REGULAR_IDLE_S,
    KnownRequester,
    KnownRequesters,
)
from ndpresponder.wire.layout import REQUESTER

ROUTER = solicitation()[REQUESTER]


class Scene:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.known = KnownRequesters(lambda: self.now_s)


def made_up(number: int, station: int | None = None) -> bytes:
    where = (number if station is None else station).to_bytes(4, "big")
    return b"\x02\xbb" + where + ROUTER[6:28] + number.to_bytes(4, "big")


def fill(scene: Scene, first: int = 0, count: int = MAX_REQUESTERS) -> int:
    """Have so many requesters ask twice; return how many of them are known."""
    return sum(scene.known.meet(made_up(number)) for number in range(first, first + count))


def test_strangers_who_came_first_give_their_places_up_when_they_do_not_go_on_asking() -> None:
    scene = Scene()
    assert fill(scene) == MAX_REQUESTERS
    assert not scene.known.meet(ROUTER)
    scene.now_s += NEW_IDLE_S
    assert scene.known.meet(ROUTER)
    assert len(scene.known.since_s) == MAX_REQUESTERS


def test_a_requester_that_goes_on_asking_is_not_displaced_by_any_number_that_ask_twice() -> None:
    scene = Scene()
    scene.known.meet(ROUTER)
    for turn in range(20):
        scene.now_s += 1
        scene.known.use(ROUTER)
        fill(scene, turn * MAX_REQUESTERS)
    scene.now_s += REGULAR_IDLE_S - 1  # a quiet spell
    fill(scene, 1 << 24, 2 * MAX_REQUESTERS)
    assert ROUTER in scene.known


def test_regular_places_are_given_up_too_after_a_long_silence() -> None:
    scene = Scene()
    fill(scene)
    scene.now_s += REGULAR_AFTER_S
    for number in range(MAX_REQUESTERS):
        scene.known.use(made_up(number))
    scene.known.meet(ROUTER)
    scene.now_s += REGULAR_AFTER_S
    scene.known.use(ROUTER)
    assert next(iter(scene.known.regulars_first())) == made_up(0)
    assert len(scene.known.since_s) == MAX_REQUESTERS + 1
    scene.now_s += REGULAR_IDLE_S
    scene.known.use(ROUTER)
    assert len(scene.known.since_s) == MAX_REQUESTERS
    assert made_up(0) not in scene.known


def test_one_station_has_a_few_places_whatever_sources_it_writes() -> None:
    scene = Scene()
    known = [number for number in range(1000) if scene.known.meet(made_up(number, station=7))]
    assert known == list(range(MAX_OF_STATION))
    scene.now_s += NEW_IDLE_S
    assert scene.known.meet(made_up(1001, station=7))  # in the place of one that asks no more
    assert len(list(scene.known.of_station(made_up(0, 7)[:6]))) == MAX_OF_STATION


def test_who_is_known_is_known_to_a_successor() -> None:
    scene, successor = Scene(), Scene()
    scene.known.meet(ROUTER)
    scene.now_s += REGULAR_AFTER_S
    scene.known.use(ROUTER)
    fill(scene, 0, 10)
    successor.now_s = scene.now_s + 1
    successor.known.restore(scene.known.to_keep(5))
    assert len(successor.known.since_s) == 5
    assert next(iter(successor.known.regulars_first())) == ROUTER
    assert successor.known.since_s[ROUTER] == scene.known.since_s[ROUTER]


def test_what_cannot_be_a_requester_is_not_taken_over() -> None:
    scene = Scene()
    scene.known.restore(
        [
            KnownRequester(ROUTER[:-1], 1.0, 2.0),
            KnownRequester(b"\x33" + ROUTER[1:], 1.0, 2.0),
            KnownRequester(bytes(6) + ROUTER[6:], 1.0, 2.0),
            KnownRequester(ROUTER[:6] + b"\x08\x00" + ROUTER[8:], 1.0, 2.0),
            KnownRequester(ROUTER, 2.0, 1.0),
            KnownRequester(ROUTER, -1.0, 1.0),
            KnownRequester(ROUTER, 1.0, float("nan")),
            KnownRequester(ROUTER, 1.0, 1e9),
        ]
    )
    assert len(scene.known.since_s) == 0
    scene.known.restore([KnownRequester(made_up(number), 1.0, 1.0) for number in range(2 * MAX_REQUESTERS)])
    assert len(scene.known.since_s) == MAX_REQUESTERS


def test_memory_is_bounded_by_what_the_module_says() -> None:
    scene = Scene()
    for turn in range(5):
        fill(scene, turn * MAX_REQUESTERS)
        scene.now_s += REGULAR_AFTER_S
        for who in list(scene.known.since_s):
            scene.known.use(who)
        scene.now_s += REGULAR_IDLE_S
    assert len(scene.known.since_s) <= 2 * module.MAX_REQUESTERS
    assert sum(len(list(scene.known.of_station(who[:6]))) for who in scene.known.since_s) == len(scene.known.since_s)
