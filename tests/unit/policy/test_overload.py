"""Of more frames than can be answered the gateway's are, and a share of each other requester's: not who came first."""

import random
from collections.abc import Collection

from frames import ROUTER_LLADDR, lladdr, packed, solicitation
from sample_responder import GATEWAY

from ndpresponder.outcome import Kind
from ndpresponder.policy.confirmed_gateways import ConfirmedGateways
from ndpresponder.policy.known_requesters import REGULAR_AFTER_S, KnownRequesters
from ndpresponder.policy.overload import (
    BUSY_PER_S,
    FLOODING_PER_S,
    GATEWAYS_SHARE,
    KNOWN_ROOM,
    MAX_GUARDED,
    MAX_SPARED,
    SHARE,
    Overload,
)
from ndpresponder.policy.recent_rates import FLOODS
from ndpresponder.wire.layout import ETHERNET_SOURCE, REQUESTER

BATCH = 64
STATION = lladdr(ROUTER_LLADDR)
KNOWN = solicitation()
FROM_GATEWAY = solicitation(source=GATEWAY)
PRETENDER = solicitation(source=GATEWAY, ethernet_source="02:00:00:00:00:77")


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Scene:
    """The overload with what it looks at."""

    def __init__(self, known: Collection[bytes] = (), confirmed: bool = False, recall=lambda _: None) -> None:
        self.clock = Clock()
        self.known, self.confirmed = KnownRequesters(self.clock), ConfirmedGateways(self.clock)
        for frame in known:
            self.known.meet(who(frame))
        if confirmed:
            self.confirmed.confirm(packed(GATEWAY), STATION)
        self.overload = Overload(self.known, self.confirmed, {packed(GATEWAY): 0.0}, self.clock, recall)

    def chosen(self, batch: list[bytes]) -> list[bytes]:
        return self.overload.thin(batch)[0]

    def a_second_later(self, seconds: float = 1.0) -> None:
        self.clock.now_s += seconds


def who(frame: bytes) -> bytes:
    return frame[REQUESTER]


def station(frame: bytes) -> bytes:
    return frame[ETHERNET_SOURCE]


def stranger(number: int, **fields: object) -> bytes:
    """Return a frame of one of many made-up stations."""
    made_up = {"source": packed("fe80::bad:0:0")[:12] + number.to_bytes(4, "big")} | fields
    return solicitation(ethernet_source=b"\x02\xbb" + number.to_bytes(4, "big"), **made_up)


def strangers(count: int) -> list[bytes]:
    return [stranger(number) for number in range(count)]


# The gateway


def test_a_confirmed_gateway_has_its_answers_whatever_else_there_is() -> None:
    first = strangers(BATCH - 1)
    scene = Scene(known=first, confirmed=True)
    for _ in range(100):
        assert FROM_GATEWAY in scene.chosen([*first, FROM_GATEWAY])


def test_who_writes_the_address_of_a_confirmed_gateway_is_a_stranger() -> None:
    scene = Scene(confirmed=True)
    floods = [stranger(number, source=GATEWAY) for number in range(BATCH - 4)]
    chosen = scene.chosen([*floods, *[FROM_GATEWAY] * 4])
    assert chosen.count(FROM_GATEWAY) == 4
    assert len(chosen) - 4 == 1 + BATCH // 16


def test_sources_made_up_beside_a_confirmed_station_share_and_the_gateway_does_not() -> None:
    scene = Scene(confirmed=True)
    floods = [solicitation(source=packed("fe80::bad:0:0")[:12] + bytes((0, 0, 1, n))) for n in range(60)]
    chosen = scene.chosen([*floods, *[FROM_GATEWAY] * 4])
    assert chosen.count(FROM_GATEWAY) == 4
    assert len(chosen) - 4 == SHARE


def test_flow_labels_made_up_in_the_gateways_very_name_give_no_share_of_their_own() -> None:
    scene = Scene(confirmed=True)
    floods = [FROM_GATEWAY[:16] + bytes((0, n)) + FROM_GATEWAY[18:] for n in range(BATCH)]
    assert len(scene.chosen(floods)) == GATEWAYS_SHARE


def test_of_a_flood_in_the_gateways_very_name_what_was_answered_before_is_answered() -> None:
    asked = solicitation("2001:db8::c1", GATEWAY)
    scene = Scene(confirmed=True, recall=lambda frame: frame == asked or None)
    floods = [solicitation(f"2001:db8::{n:x}", GATEWAY) for n in range(1, BATCH)]
    assert asked in scene.chosen([*floods, asked])


def test_a_gateway_that_nobody_has_confirmed_has_a_share_with_all_who_write_its_address() -> None:
    pretenders = [stranger(number, source=GATEWAY) for number in range(BATCH - 1)]
    assert Scene().chosen([*pretenders, FROM_GATEWAY]) == pretenders[:SHARE]


# Known requesters


def test_who_is_known_is_answered_whatever_strangers_ask() -> None:
    assert KNOWN in Scene(known=[KNOWN]).chosen([*strangers(BATCH - 1), KNOWN])


def test_nobody_gets_more_than_a_share() -> None:
    other = stranger(1)
    chosen, others = Scene(known=[KNOWN, other]).overload.thin([KNOWN] * 50 + [other] * 2)
    assert chosen == [KNOWN] * SHARE + [other] * 2
    assert others[Kind.MULTICAST] == 50 - SHARE


def test_of_too_many_that_are_known_the_longest_known_are_answered() -> None:
    later = strangers(BATCH - 1)
    scene = Scene(known=[KNOWN])
    scene.a_second_later()
    for each in later:
        scene.known.meet(who(each))
    chosen = scene.chosen([*later, KNOWN])
    assert KNOWN in chosen
    assert len(chosen) == KNOWN_ROOM


def test_who_is_known_and_floods_goes_last() -> None:
    floods = strangers(80)
    scene = Scene(known=[*floods, KNOWN])
    for _ in range(FLOODING_PER_S + 1):
        scene.overload.thin(floods)
    spared = scene.overload.spared(1.0)
    chosen = scene.chosen([*floods[: BATCH - 1], KNOWN])
    assert chosen[0] == KNOWN
    assert len(chosen) <= 1 + SHARE
    assert list(spared.stations) == [station(KNOWN)]
    assert set(spared.flooding) == set(map(station, floods))


# Strangers


def test_a_stranger_that_asks_once_a_second_is_answered_while_ten_thousand_ask_more_often() -> None:
    flood, router = strangers(10_000), stranger(1 << 20)
    scene, chance = Scene(), random.Random(1)
    for _ in range(3):
        for start in range(0, len(flood), BATCH // 5):
            scene.overload.thin(flood[start : start + BATCH // 5] * 5)
        scene.a_second_later()
    for _ in range(3):
        assert router in scene.chosen([*chance.sample(flood, BATCH - 1), router])
        scene.a_second_later()


def test_a_stranger_that_asks_again_goes_before_those_that_are_never_seen_again() -> None:
    router, scene = stranger(1 << 20), Scene()
    fresh = iter(strangers(10_000))
    scene.chosen([next(fresh) for _ in range(BATCH)] + [router])
    scene.a_second_later()
    assert router in scene.chosen([next(fresh) for _ in range(BATCH - 1)] + [router])


def test_a_station_that_floods_is_named_to_the_kernel_and_let_go_in_time() -> None:
    flood, scene = strangers(BATCH), Scene()
    for _ in range(FLOODS):
        scene.overload.thin(flood)
    assert set(scene.overload.spared(1.0).flooding) == set(map(station, flood))
    for _ in range(BATCH):
        scene.a_second_later()
        scene.overload.thin([])
    assert not scene.overload.spared(1.0).flooding


def test_where_few_are_let_through_fewer_tell_a_flood() -> None:
    flood, scene = strangers(BATCH), Scene()
    scene.overload.spared(1 / 8)
    for _ in range(3):
        scene.overload.thin(flood)
    assert len(scene.overload.spared(1 / 8).flooding) == BATCH


def test_a_stranger_that_asks_as_fast_as_a_router_may_is_answered_twice_before_it_counts_as_a_flood() -> None:
    scene, router = Scene(), stranger(1)
    scene.overload.spared(1 / 64)
    assert [router in scene.chosen([router, *strangers(BATCH)[2:]]) for _ in range(2)] == [True, True]


def test_what_is_not_answered_is_counted_by_its_kind() -> None:
    scene = Scene()
    for _ in range(2):
        scene.overload.thin([stranger(1)] * BATCH)
    probe, dad = stranger(1, destination="2001:db8::c1"), stranger(1, source="::")
    chosen, others = scene.overload.thin([probe, dad, dad, stranger(1), b""])
    assert chosen == [b""]
    assert others == [1, 1, 2]
    assert [Kind.MULTICAST, Kind.UNICAST, Kind.DAD] == [0, 1, 2]


# Whom the kernel spares


def test_the_kernel_spares_confirmed_stations_first_and_then_those_known_longest() -> None:
    known = strangers(MAX_SPARED + 1)
    scene = Scene(known=known, confirmed=True)
    spared = scene.overload.spared(1.0)
    assert list(spared.stations) == [STATION, *map(station, known[: MAX_SPARED - 1])]
    assert not spared.gateways  # its address is nobody's: the station is known


def test_regular_requesters_are_spared_before_new_ones() -> None:
    new = strangers(MAX_SPARED)
    scene = Scene(known=[*new, KNOWN])
    scene.a_second_later(REGULAR_AFTER_S)
    scene.known.use(who(KNOWN))
    assert next(iter(scene.overload.spared(1.0).stations)) == station(KNOWN)


def test_a_gateway_that_nobody_has_confirmed_is_spared_by_its_address_unless_that_floods() -> None:
    scene = Scene()
    assert scene.overload.spared(1.0).gateways == [packed(GATEWAY)]
    for _ in range(FLOODING_PER_S // BATCH + 1):
        scene.overload.thin([PRETENDER] * BATCH)
    assert scene.overload.spared(1.0).gateways == []


def test_a_flood_in_the_name_of_the_gateways_station_leaves_its_own_sources_spared() -> None:
    scene = Scene(known=[KNOWN], confirmed=True)
    assert station(KNOWN) == STATION
    floods = [solicitation(source=packed("fe80::bad:0:0")[:12] + bytes((0, 0, 1, n))) for n in range(BATCH)]
    for _ in range(FLOODING_PER_S // BATCH + 1):
        scene.overload.thin(floods)
    spared = scene.overload.spared(1.0)
    assert not spared.stations
    assert spared.guarded == {STATION: {packed(GATEWAY): True, who(KNOWN)[-16:]: True}}
    for _ in range(FLOODING_PER_S // BATCH + 1):
        scene.overload.thin([FROM_GATEWAY] * BATCH)
    assert scene.overload.spared(1.0).guarded[STATION][packed(GATEWAY)] is False
    assert len(spared.guarded) <= MAX_GUARDED


def test_whom_the_kernel_spares_is_answered_in_full_where_nobody_was_in_the_way() -> None:
    scene = Scene(known=[KNOWN])
    waited = [KNOWN] * (2 * KNOWN_ROOM)  # while the process had no processor
    assert len(scene.overload.thin(waited, crowded=False)[0]) == KNOWN_ROOM
    assert list(scene.overload.spared(1.0).stations) == [station(KNOWN)]
    assert scene.overload.thin(waited, crowded=False)[0] == waited
    assert len(scene.overload.thin(waited, crowded=True)[0]) == SHARE


def test_all_of_it_is_forgotten_with_the_flood() -> None:
    scene = Scene(known=[KNOWN])
    for _ in range(FLOODING_PER_S // BATCH + 1):
        scene.overload.thin([KNOWN] * BATCH)
    scene.overload.forget()
    assert (scene.overload.total, scene.overload.lately) == (0, 0)
    assert list(scene.overload.spared(1.0).stations) == [station(KNOWN)]


def test_what_is_read_for_a_second_tells_whether_the_ring_would_be_full_soon_if_nobody_read_it() -> None:
    scene = Scene()
    for per_s, fills in ((BUSY_PER_S * 2, True), (BUSY_PER_S // 2, False), (BUSY_PER_S * 2, True), (0, False)):
        scene.a_second_later()
        scene.overload.measure()
        scene.overload.read += per_s
        scene.a_second_later()
        assert scene.overload.would_fill_the_ring is fills
    scene.overload.flooded = True
    assert scene.overload.would_fill_the_ring


def test_what_waited_for_this_process_is_answered_whole_although_a_flood_goes_on() -> None:
    scene = Scene(known=[KNOWN], confirmed=True)
    waited = [FROM_GATEWAY] * 30 + [KNOWN] * 30 + strangers(4)
    assert scene.overload.thin(waited, crowded=False)[0][:60] == waited[30:60] + waited[:30]
    assert len(scene.chosen(waited)) < 30
