"""Of more frames than can be answered, each known requester gets a share, strangers and floods nothing beyond it."""

from answering import GATEWAY, addresses
from frames import solicitation

from ndpresponder.outcome import Kind
from ndpresponder.overload import SHARE, fair_share

KNOWN = solicitation(), False
STRANGER = solicitation(source="fe80::bad"), False
FROM_GATEWAY = solicitation(source=GATEWAY), True
NOBODY = frozenset[bytes]()


def test_who_is_known_is_answered_whatever_else_there_is() -> None:
    batch = [STRANGER] * 30 + [KNOWN] + [STRANGER] * 33
    assert fair_share(batch, {KNOWN[0][6:38]}, NOBODY) == ([KNOWN], {**dict.fromkeys(Kind, 0), Kind.MULTICAST: 63})


def test_a_gateway_is_known_before_it_ever_asked() -> None:
    assert fair_share([STRANGER, FROM_GATEWAY], NOBODY, addresses(GATEWAY))[0] == [FROM_GATEWAY]


def test_all_who_write_the_address_of_a_gateway_have_one_share_together() -> None:
    pretenders = [(solicitation(source=GATEWAY, ethernet_source=bytes([2, 0, 0, 0, 1, n])), False) for n in range(63)]
    chosen, others = fair_share([*pretenders, KNOWN], {KNOWN[0][6:38]}, addresses(GATEWAY))
    assert chosen == [*pretenders[:SHARE], KNOWN]
    assert others[Kind.MULTICAST] == 63 - SHARE


def test_a_known_gateway_shares_with_nobody() -> None:
    pretender = solicitation(source=GATEWAY, ethernet_source="02:00:00:00:00:77"), False
    chosen = fair_share([pretender] * 60 + [FROM_GATEWAY], {FROM_GATEWAY[0][6:38]}, addresses(GATEWAY))[0]
    assert chosen == [pretender] * SHARE + [FROM_GATEWAY]


def test_nobody_gets_more_than_a_share() -> None:
    other = solicitation(source="fe80::3"), False
    chosen, others = fair_share([KNOWN] * 50 + [other] * 2, {KNOWN[0][6:38], other[0][6:38]}, NOBODY)
    assert chosen == [KNOWN] * SHARE + [other] * 2
    assert others[Kind.MULTICAST] == 50 - SHARE


def test_what_is_not_answered_is_counted_by_its_kind() -> None:
    probe, dad = (solicitation(destination="2001:db8::c1"), False), (solicitation(source="::"), False)
    others = fair_share([probe, dad, dad, STRANGER, (b"", False)], NOBODY, NOBODY)[1]
    assert others == {Kind.MULTICAST: 1, Kind.UNICAST: 2, Kind.DAD: 2}
