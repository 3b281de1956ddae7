"""Of more frames than can be answered, each known requester gets a share, strangers and floods nothing beyond it."""

from collections.abc import Collection

from answering import GATEWAY, addresses
from frames import lladdr, packed, solicitation

from ndpresponder.outcome import Kind
from ndpresponder.overload import FLOODING, MAX_SPARED, SHARE, Crowd, Frame
from ndpresponder.wire.layout import ETHERNET_SOURCE, REQUESTER

KNOWN = solicitation(), False
STRANGER = solicitation(source="fe80::bad"), False
FROM_GATEWAY = solicitation(source=GATEWAY), True
PRETENDER = solicitation(source=GATEWAY, ethernet_source="02:00:00:00:00:77"), False
NOBODY = frozenset[bytes]()
BATCH = 64


def who(frame: Frame) -> bytes:
    return frame[0][REQUESTER]


def station(frame: Frame) -> bytes:
    return frame[0][ETHERNET_SOURCE]


def thin(
    batch: list[Frame], known: Collection[bytes], gateways: Collection[bytes]
) -> tuple[list[Frame], dict[Kind, int]]:
    return Crowd(known, gateways).thin(batch)


def test_who_is_known_is_answered_whatever_else_there_is() -> None:
    batch = [STRANGER] * 30 + [KNOWN] + [STRANGER] * 33
    assert thin(batch, {who(KNOWN)}, NOBODY) == ([KNOWN], {**dict.fromkeys(Kind, 0), Kind.MULTICAST: 63})


def test_a_gateway_is_known_before_it_ever_asked() -> None:
    assert thin([STRANGER, FROM_GATEWAY], NOBODY, addresses(GATEWAY))[0] == [FROM_GATEWAY]


def test_all_who_write_the_address_of_a_gateway_have_one_share_together() -> None:
    pretenders = [(solicitation(source=GATEWAY, ethernet_source=bytes([2, 0, 0, 0, 1, n])), False) for n in range(63)]
    chosen, others = thin([*pretenders, KNOWN], {who(KNOWN)}, addresses(GATEWAY))
    assert chosen == [*pretenders[:SHARE], KNOWN]
    assert others[Kind.MULTICAST] == 63 - SHARE


def test_a_known_gateway_shares_with_nobody() -> None:
    chosen = thin([PRETENDER] * 60 + [FROM_GATEWAY], {who(FROM_GATEWAY)}, addresses(GATEWAY))[0]
    assert chosen == [PRETENDER] * SHARE + [FROM_GATEWAY]


def test_nobody_gets_more_than_a_share() -> None:
    other = solicitation(source="fe80::3"), False
    chosen, others = thin([KNOWN] * 50 + [other] * 2, {who(KNOWN), who(other)}, NOBODY)
    assert chosen == [KNOWN] * SHARE + [other] * 2
    assert others[Kind.MULTICAST] == 50 - SHARE


def test_what_is_not_answered_is_counted_by_its_kind() -> None:
    probe, dad = (solicitation(destination="2001:db8::c1"), False), (solicitation(source="::"), False)
    others = thin([probe, dad, dad, STRANGER, (b"", False)], NOBODY, NOBODY)[1]
    assert others == {Kind.MULTICAST: 1, Kind.UNICAST: 2, Kind.DAD: 2}


def test_the_kernel_spares_who_is_known_by_station_and_gateways_by_address() -> None:
    crowd = Crowd({who(KNOWN): None}, addresses(GATEWAY))
    crowd.thin([STRANGER] * (BATCH - 1) + [KNOWN])
    assert crowd.spared() == ([station(KNOWN)], set(), [packed(GATEWAY)])


def test_who_is_known_and_floods_is_spared_for_a_share_until_that_is_forgotten() -> None:
    crowd = Crowd({who(KNOWN): None}, NOBODY)
    crowd.thin([STRANGER] * (BATCH - 2) + [KNOWN] * 2)
    assert crowd.spared() == ([station(KNOWN)], {station(KNOWN)}, [])
    crowd.thin([STRANGER] * BATCH)
    assert crowd.spared().flooding == set()  # one in 64, and no more
    crowd.thin([KNOWN] * BATCH)
    crowd.forget()
    assert crowd.spared().flooding == set()


def test_ten_that_flood_together_are_told() -> None:
    flooding = [(solicitation(ethernet_source=bytes([2, 0, 0, 0, 2, n])), False) for n in range(FLOODING // 2)]
    crowd = Crowd(dict.fromkeys(map(who, flooding)), NOBODY)
    crowd.thin(flooding * (BATCH // len(flooding)))
    assert crowd.spared().flooding == set(map(station, flooding))


def test_who_floods_in_the_name_of_a_gateway_does_it_no_harm_if_it_is_known_itself() -> None:
    crowd = Crowd({who(FROM_GATEWAY): None}, addresses(GATEWAY))
    crowd.thin([PRETENDER] * (BATCH - 1) + [FROM_GATEWAY])
    assert crowd.spared() == ([station(FROM_GATEWAY)], set(), [])


def test_of_many_stations_those_known_longest_are_spared() -> None:
    first, *others = [bytes([2, 0, 0, 0, 3, n]) for n in range(MAX_SPARED + 1)]
    known = [(solicitation(source=source, ethernet_source=first), False) for source in ("fe80::3", "fe80::4")]
    known += [(solicitation(ethernet_source=other), False) for other in others]
    assert list(Crowd(dict.fromkeys(map(who, known)), NOBODY).spared().stations) == [first, *others[:-1]]
    assert station(known[0]) == first == lladdr("02:00:00:00:03:00")
