"""The groups of the targets, each as long as one of its targets is there, and no more than there is room for."""

import time
from collections import Counter
from collections.abc import Iterable

from frames import packed, solicited_node
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sample_responder import addresses, prefixes

from ndpresponder.policy.table import TargetTable, changes
from ndpresponder.unsolicited.groups import MAX_GROUPS, SLICE, GroupTable
from ndpresponder.wire.addresses import SOLICITED_NODE_PREFIX

SAME_GROUP = ("2001:db8::aa:1", "2001:db8:1::aa:1")  # the low 24 bits are equal


class Groups(GroupTable):
    """Groups that are told of all targets at once."""

    live: frozenset[bytes] = frozenset()

    def set_targets(self, live: frozenset[bytes], claimed: Iterable[tuple[int, frozenset[int]]]) -> bool:
        before, self.live = self.live, live
        self.change(live, *changes(before, live))
        while not self.count():
            pass
        return self.choose(claimed)


def follow(table: Groups, *live: str, claimed: tuple[str, ...] = ()) -> bool:
    """Let `table` follow targets given as text."""
    targets = TargetTable.build(addresses(*live), prefixes(*claimed))
    return table.set_targets(targets.live, targets.claimed)


def test_a_group_is_left_with_its_last_target() -> None:
    groups = Groups()
    assert follow(groups, *SAME_GROUP)
    assert groups.groups == {solicited_node(SAME_GROUP[0])}
    assert not follow(groups, SAME_GROUP[1])
    assert follow(groups)
    assert groups.groups == frozenset()


def test_a_claimed_prefix_has_the_groups_of_all_its_addresses() -> None:
    groups = Groups()
    follow(groups, claimed=("2001:db8::c0/126",))
    assert groups.groups == {solicited_node(f"2001:db8::c{last}") for last in range(4)}
    assert groups.left_out == 0


def test_a_prefix_that_is_too_wide_is_left_out_and_counted() -> None:
    groups = Groups()
    follow(groups, "2001:db8::1", claimed=("2001:db8::/112", "2001:db8:1::/124"))
    assert len(groups.groups) == 16  # the live target's is one of the narrow prefix's
    assert groups.left_out == 1 << 16
    follow(groups, claimed=("2001:db8::/64",))
    assert groups.left_out == 1 << 24  # there are no more


def test_prefixes_that_share_their_groups_need_room_once() -> None:
    groups = Groups(groups_max=16)
    follow(groups, claimed=("2001:db8::/124", "2001:db8:1::/124"))
    assert len(groups.groups) == 16
    assert groups.left_out == 0


def test_live_targets_come_before_claimed_prefixes_and_new_ones_throw_nobody_out() -> None:
    groups = Groups(groups_max=4)
    follow(groups, "2001:db8::f1", "2001:db8::f2", "2001:db8::f3", claimed=("2001:db8::/127",))
    assert (len(groups.groups), groups.left_out) == (3, 2)
    follow(groups, "2001:db8::1", "2001:db8::2", "2001:db8::f1", "2001:db8::f2", "2001:db8::f3")
    assert {solicited_node(f"2001:db8::f{last}") for last in (1, 2, 3)} <= groups.groups
    assert (len(groups.groups), groups.left_out) == (4, 1)
    follow(groups, "2001:db8::1", "2001:db8::2")
    assert groups.groups == {solicited_node("2001:db8::1"), solicited_node("2001:db8::2")}


def test_no_more_groups_than_a_bridge_can_learn() -> None:
    groups = Groups()
    live = frozenset(packed(f"2001:db8::{number:x}") for number in range(1, MAX_GROUPS + 101))
    groups.set_targets(live, ())
    assert (len(groups.groups), groups.left_out) == (MAX_GROUPS, 100)


@given(
    live=st.frozensets(st.integers(0, 63), max_size=8),
    networks=st.frozensets(st.tuples(st.integers(0, 6), st.integers(0, 63), st.booleans()), max_size=12),
)
@example(live=frozenset(range(16)), networks=frozenset({(3, 0, False), (3, 0, True), (4, 0, False)}))
def test_what_is_searched_is_what_an_enumeration_finds(
    live: frozenset[int], networks: frozenset[tuple[int, int, bool]]
) -> None:
    room = 16
    claimed: dict[int, set[int]] = {}
    for shift, low, elsewhere in networks:
        claimed.setdefault(shift, set()).add(((elsewhere << 32) + low) >> shift)
    lengths = [(shift, frozenset(claimed[shift])) for shift in sorted(claimed)]
    joined, left_out = set(live), 0
    for shift, firsts in lengths:
        for first in sorted(firsts):
            missing = {low & 0xFFFFFF for low in range(first << shift, (first + 1) << shift)} - joined
            if len(joined) + len(missing) <= room:
                joined |= missing
            else:
                left_out += 1 << shift if 1 << shift > room else len(missing)
    table = Groups(room)
    table.set_targets(frozenset(low.to_bytes(16, "big") for low in live), lengths)
    assert table.groups == {solicited_node(f"::{low:x}") for low in joined}
    assert table.left_out == left_out


def test_prefixes_without_room_take_no_time() -> None:
    groups = Groups()
    networks = frozenset(range(1000))
    began = time.monotonic()
    groups.set_targets(frozenset(), [(12, networks)])
    assert time.monotonic() - began < 0.1
    assert (len(groups.groups), groups.left_out) == (MAX_GROUPS, 999 * 4096)


class GroupMachine(RuleBasedStateMachine):
    """The model: how many live targets each group has."""

    room = 6

    def __init__(self) -> None:
        super().__init__()
        self.table = Groups(self.room)
        self.live: frozenset[bytes] = frozenset()
        self.before: frozenset[bytes] = frozenset()

    @rule(
        live=st.frozensets(
            st.builds(lambda net, last: bytes([32, net]) + bytes(13) + bytes([last]), *[st.integers(0, 9)] * 2)
        )
    )
    def follow(self, live: frozenset[bytes]) -> None:
        self.live = live
        changed = self.table.set_targets(live, ())
        assert changed == (self.table.groups != self.before)
        kept = self.before & {solicited_node(target) for target in live}
        assert kept <= self.table.groups
        self.before = self.table.groups

    @invariant()
    def holds_the_groups_of_the_targets_while_there_is_room(self) -> None:
        wanted = Counter(solicited_node(target) for target in self.live)
        assert self.table.groups <= wanted.keys()
        assert len(self.table.groups) == min(len(wanted), self.room)
        assert self.table.left_out == max(0, len(wanted) - self.room)


GroupMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
test_groups_against_the_model = GroupMachine.TestCase


def numbered(first: int, end: int) -> frozenset[bytes]:
    return frozenset(number.to_bytes(16, "big") for number in range(first, end))


def test_no_step_counts_more_than_a_slice_of_many_targets() -> None:
    groups = Groups()
    live = numbered(0, 2 * SLICE + 1)
    groups.change(live, frozenset(), live)
    assert [groups.count(), groups.count(), groups.count()] == [False, False, True]
    assert groups.choose(())
    assert len(groups.groups) + groups.left_out == len(live)


def test_a_target_that_goes_before_it_is_counted_is_not_taken_off() -> None:
    groups = Groups()
    live = numbered(0, SLICE + 100)
    groups.change(live, frozenset(), live)
    assert not groups.count()
    gone = numbered(50, SLICE + 50)  # some are counted, some are not
    left = live - gone
    groups.change(left, gone, frozenset())
    while not groups.count():
        pass
    groups.choose(())
    assert groups.groups == {SOLICITED_NODE_PREFIX + target[-3:] for target in left}


def test_some_that_go_before_they_are_counted_are_not_taken_off() -> None:
    groups = Groups()
    live = numbered(0, 3 * SLICE)
    groups.change(live, frozenset(), live)
    assert not groups.count()
    gone = numbered(0, SLICE)
    groups.change(live - gone, gone, frozenset())
    while not groups.count():
        pass
    groups.choose(())
    assert len(groups.groups) + groups.left_out == 2 * SLICE
