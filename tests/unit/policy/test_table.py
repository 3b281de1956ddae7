"""What the table says of a target: live, claimed, excluded or not ours."""

import pytest
from frames import packed
from hypothesis import given
from hypothesis import strategies as st
from sample_responder import addresses, prefixes

from ndpresponder.policy.table import EMPTY, Match, Prefix, TargetTable, changes

LIVE = "2001:db8:1::c1"
TABLE = TargetTable.build(
    live=addresses(LIVE, "2001:db8::c2", "2001:db8::dead"),
    claimed=prefixes("2001:db8::/112", "2001:db8:2::/65", "2001:db8:3::4/126"),
    excluded=prefixes("2001:db8::dead/128", "2001:db8::f0/124", "2001:db8:9::/48"),
)
NEVER_OURS = ["::", "::1", "fe80::1", "febf::1", "ff02::1:ff00:c1", "ffff::"]
JUST_OUTSIDE = ["::2", "fe7f:ffff::1", "fec0::1", "feff:ffff::1"]


def match(table: TargetTable, target: str) -> Match:
    return table.match(packed(target), int.from_bytes(packed(target), "big"))


@pytest.mark.parametrize(
    ("expected", "target"),
    [
        (Match.CLAIMED, "2001:db8::"),
        (Match.CLAIMED, "2001:db8::ffff"),
        (Match.NOT_OURS, "2001:db8::1:0"),
        (Match.NOT_OURS, "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"),
        (Match.CLAIMED, "2001:db8:2:0:7fff:ffff:ffff:ffff"),
        (Match.NOT_OURS, "2001:db8:2:0:8000::"),
        (Match.NOT_OURS, "2001:db8:3::3"),
        (Match.CLAIMED, "2001:db8:3::4"),
        (Match.CLAIMED, "2001:db8:3::7"),
        (Match.NOT_OURS, "2001:db8:3::8"),
        (Match.LIVE, LIVE),
        (Match.NOT_OURS, "2001:db8:1::c2"),
        (Match.LIVE, "2001:db8::c2"),
        (Match.EXCLUDED, "2001:db8::dead"),
        (Match.CLAIMED, "2001:db8::ef"),
        (Match.EXCLUDED, "2001:db8::f0"),
        (Match.EXCLUDED, "2001:db8::ff"),
        (Match.CLAIMED, "2001:db8::100"),
        (Match.EXCLUDED, "2001:db8:9::1"),
    ],
)
def test_a_target_is_matched(expected: Match, target: str) -> None:
    assert match(TABLE, target) is expected


@pytest.mark.parametrize("target", [LIVE, "::", "2001:db8::"])
def test_an_empty_table_has_nothing(target: str) -> None:
    assert match(EMPTY, target) is Match.NOT_OURS


@pytest.mark.parametrize("length", range(1, 129))
def test_a_prefix_of_any_length_has_its_first_and_last_address_and_no_other(length: int) -> None:
    first = int.from_bytes(packed("2001:db8::"), "big") >> (128 - length) << (128 - length)
    last = first + (1 << (128 - length)) - 1
    table = TargetTable.build(claimed=[Prefix(first, length)])
    for expected, values in ((Match.CLAIMED, (first, last)), (Match.NOT_OURS, (first - 1, last + 1))):
        for value in values:
            if 1 < value < 0xFE80 << 112:  # what lies beyond is never ours
                assert table.match(value.to_bytes(16, "big"), value) is expected


@pytest.mark.parametrize("target", NEVER_OURS)
@pytest.mark.parametrize("claimed", ["2001:db8::/64", "::/0", "::/1", "8000::/1", "fe80::/64", "ff02::/16", "::/127"])
def test_no_source_can_make_such_an_address_ours(target: str, claimed: str) -> None:
    table = TargetTable.build(live=addresses(target), claimed=prefixes(claimed))
    assert match(table, target) in (Match.EXCLUDED, Match.NOT_OURS)


@pytest.mark.parametrize("target", JUST_OUTSIDE)
def test_what_lies_beside_such_addresses_can_be_ours(target: str) -> None:
    assert match(TargetTable.build(live=addresses(target)), target) is Match.LIVE
    assert match(TargetTable.build(claimed=prefixes("::/0")), target) is Match.CLAIMED


def test_tables_of_the_same_targets_are_equal_in_whatever_order_they_came() -> None:
    claimed = prefixes("2001:db8::/64", "2001:db8:1::/64", "2001:db8:2::/112")
    live = ["2001:db8::1", "2001:db8::2"]
    table = TargetTable.build(addresses(*live), claimed)
    assert table == TargetTable.build(addresses(*reversed(live)), [*reversed(claimed), *claimed])
    assert table != TargetTable.build(addresses(*live), claimed[:2])


def test_an_ordinary_table_looks_up_no_more_than_what_it_was_built_from() -> None:
    table = TargetTable.build(claimed=prefixes("2001:db8::/64", "2001:db8:1::/64", "2001:db8:2::/112"))
    assert [shift for shift, _ in table.claimed] == [16, 64]
    assert table.excluded == ()


def test_an_exclusion_takes_live_targets_away() -> None:
    live = addresses("2001:db8::1", "2001:db8::2")
    assert TargetTable.build(live, excluded=prefixes("2001:db8::2/127")).answered_live() == addresses("2001:db8::1")
    assert TargetTable.build(live).answered_live() == live


@given(st.frozensets(st.binary(max_size=1)), st.frozensets(st.binary(max_size=1)))
def test_changes_are_what_is_gone_and_what_is_new(before: frozenset[bytes], after: frozenset[bytes]) -> None:
    assert changes(before, after) == (before - after, after - before)


def test_what_changes_in_a_subset_is_seen() -> None:
    some, more = frozenset({b"a"}), frozenset({b"a", b"b"})
    assert changes(some, more) == (frozenset(), {b"b"})
    assert changes(more, some) == ({b"b"}, frozenset())
    assert changes(more, more) == (frozenset(), frozenset())
