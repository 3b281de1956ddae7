"""What of a source's targets counts on an uplink, what is left out, and what is said of that."""

from collections.abc import Callable
from typing import Any

import pytest
from sample_responder import addresses, prefixes

from ndpresponder.linux.netlink.neighbors import UplinkNeighbor
from ndpresponder.targets.address_conflicts import ATTEMPTS, INTERVAL_S, MAX_CONFLICTS, SILENT_S, AddressConflicts
from ndpresponder.targets.board import Entry, TargetBoard
from ndpresponder.targets.scope import EVERYTHING, NOWHERE, Cause, Scope, count
from ndpresponder.targets.source import TargetSet
from ndpresponder.targets.uncounted_log import MAX_NAMED, UncountedLog


def within(*texts: str, besides: str = "") -> Scope:
    return Scope(frozenset(prefixes(*texts)), frozenset(prefixes(*besides.split())))


ON_LINK = within("2001:db8::/64")
IN, OUT, PRIVATE = (next(iter(addresses(each))) for each in ("2001:db8::1", "2001:db8:1::1", "fd00::1"))


@pytest.mark.parametrize(
    ("expected", "scope"),
    [
        ({IN}, ON_LINK),
        ({IN}, within("2001:db8::/63")),
        ({IN, OUT}, within("2001:db8::/45")),
        ({IN}, within("2001:db8::/45", besides="2001:db8:1::/64")),
        ({IN, OUT}, within("2001:db8::/45", "2001:db8:1::1/128", besides="2001:db8:1::/64")),
        ({IN, OUT, PRIVATE}, EVERYTHING),
        (set(), NOWHERE),
    ],
)
def test_a_scope_takes_what_lies_in_it(expected: set[bytes], scope: Scope) -> None:
    live = frozenset({IN, OUT, PRIVATE})
    assert expected == count(TargetSet(live), scope, {}, None).inside


@pytest.mark.parametrize(
    ("expected", "claimed", "refused"),
    [
        (["2001:db8::/112"], ["2001:db8::/112", "fd00::/64"], []),
        (["2001:db8::/64"], ["2001:db8::/48"], []),
        ([], ["2001:db8::/48"], ["2001:db8::/56"]),
        (["2001:db8::/64"], ["2001:db8::/48", "2001:db8::/60"], ["2001:db8::/56"]),
        ([], ["2001:db8:1::/64"], []),
    ],
)
def test_claimed_prefixes_are_clipped_and_the_longest_still_decides(
    expected: list[str], claimed: list[str], refused: list[str]
) -> None:
    assert frozenset(prefixes(*expected)) == ON_LINK.clip(frozenset(prefixes(*claimed)), frozenset(prefixes(*refused)))


def test_what_counts_is_the_same_whether_or_not_it_is_worked_out_from_what_counted_before() -> None:
    before = count(TargetSet(frozenset({OUT, PRIVATE})), ON_LINK, {}, None)
    targets = TargetSet(frozenset({IN, OUT}))
    assert count(targets, ON_LINK, {}, before) == count(targets, ON_LINK, {}, None)
    assert count(targets, ON_LINK, {IN: Cause.UNROUTED}, before).live == frozenset()
    assert count(targets, ON_LINK, None, before).live == frozenset()
    assert count(targets, EVERYTHING, {}, before).live == {IN, OUT}


def test_it_is_known_why_a_target_does_not_count() -> None:
    targets = TargetSet(frozenset({IN, OUT}), frozenset(prefixes("fd00::/64")))
    counted = count(targets, ON_LINK, {IN: Cause.NEIGHBOR}, None)
    assert counted.left_out(IN) is Cause.NEIGHBOR
    assert counted.left_out(OUT) is counted.left_out(PRIVATE) is Cause.FOREIGN
    assert counted.left_out(next(iter(addresses("2001:db8:7::1")))) is None
    named = Scope(ON_LINK.prefixes, cause=Cause.OUT_OF_SCOPE)
    assert count(targets, named, {}, None).left_out(OUT) is Cause.OUT_OF_SCOPE
    assert count(targets, ON_LINK, None, None).left_out(IN) is Cause.UNEXAMINED


class Named:
    kind, name, uplinks = "test", "a", None

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        raise NotImplementedError


def test_what_is_left_out_is_said_once_for_each_prefix_and_at_most_so_often() -> None:
    said: list[dict[str, Any]] = []
    board = TargetBoard({"eth0": frozenset()}, lambda *_: None, lambda *_: None)  # type: ignore[arg-type, return-value]
    UncountedLog(board, lambda event, **facts: said.append(facts))
    board.scopes = {"eth0": ON_LINK}
    entry = Entry(Named())
    board.entries.append(entry)
    entry.withheld["eth0"] = {}
    for number in range(3):  # other addresses of the same prefixes
        entry.targets = TargetSet(addresses(f"fd00::{number}", "fd00:0:0:1::1", "2001:db8::1"))
        board.rebuild()
    assert [facts["prefixes"] for facts in said] == ["fd00::/64, fd00:0:0:1::/64"]
    for number in range(2, 3 * MAX_NAMED):
        entry.targets = TargetSet(addresses(f"fd00:0:0:{number:x}::1"))
        board.rebuild()
    assert len(said) == 1 + (MAX_NAMED - 2) + 2  # the last line says that there are more


class Time:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.asked: list[bytes] = []
        self.conflicts = AddressConflicts(
            lambda _, target, __: self.asked.append(target), lambda *_: None, lambda: self.now_s
        )  # type: ignore[arg-type, return-value]

    def has(self, target: bytes = IN, stale: bool = True, answered: bool = False, lladdr: bytes = b"\2") -> bool:
        return self.conflicts.belongs_to("eth0", target, UplinkNeighbor(lladdr, stale), answered)


def test_a_stale_neighbor_is_asked_three_times_and_then_taken_to_be_gone_for_a_while() -> None:
    time = Time()
    for number in range(1, ATTEMPTS + 1):
        assert time.has()
        assert time.has()
        assert len(time.asked) == number
        time.now_s += INTERVAL_S
    assert not time.has()
    time.now_s += SILENT_S / 2
    assert not time.has()
    assert len(time.asked) == ATTEMPTS
    time.now_s += SILENT_S
    time.has()
    assert len(time.asked) == ATTEMPTS + 1


def test_a_neighbor_that_answers_or_has_another_lladdr_is_there() -> None:
    time = Time()
    time.has()
    assert time.has(stale=False, answered=True)
    for _ in range(ATTEMPTS + 1):
        time.has()
        time.now_s += INTERVAL_S
    assert not time.has()
    assert time.has(lladdr=b"\3")


def test_a_strangers_entry_alone_silences_nobody_that_was_answered_for() -> None:
    time = Time()
    assert not time.has(answered=True)
    assert time.asked == [IN]


def test_doubts_are_bounded_and_those_beyond_stay_as_they_were() -> None:
    time = Time()
    for number in range(MAX_CONFLICTS):
        time.has(number.to_bytes(16, "big"))
    assert time.has(OUT)
    assert not time.has(OUT, answered=True)
    assert len(time.asked) == MAX_CONFLICTS


def test_of_many_targets_on_a_few_links_no_target_is_looked_at_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    takes = Scope.takes

    def counted(scope: Scope, value: int, length: int = 128) -> bool:
        looks.append(value)
        return takes(scope, value, length)

    monkeypatch.setattr(Scope, "takes", counted)
    live = addresses(*(f"2001:db8:0:{link}::{host:x}" for link in (1, 2) for host in range(1, 1001)))
    before = count(TargetSet(live), within("2001:db8::/48"), {}, None)
    after = count(TargetSet(live | addresses("2001:db8:0:3::1")), before.scope, {}, before)
    assert before.live is live  # no copy either
    assert after.live is after.targets.live
    assert len(looks) == 3


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (within("2001:db8::/48", besides="2001:db8::/126"), {OUT}),
        (within("2001:db8::1/128", "2001:db8:1::/64"), {IN, OUT}),
        (within("2001:db8::/126"), {IN}),
    ],
)
def test_what_is_narrower_than_a_link_counts_by_itself(scope: Scope, expected: set[bytes]) -> None:
    wide = Scope(scope.prefixes | within("2001:db8:1::/64").prefixes, scope.besides) if OUT in expected else scope
    assert count(TargetSet(frozenset({IN, OUT, PRIVATE})), wide, {}, None).live == expected


def test_addresses_that_can_never_be_ours_are_known_from_the_first_look_to_the_last() -> None:
    link_local, loopback = (next(iter(addresses(each))) for each in ("fe80::1", "::1"))
    before = count(TargetSet(frozenset({IN, link_local})), EVERYTHING, {}, None)
    after = count(TargetSet(frozenset({IN, OUT, link_local, loopback})), EVERYTHING, {}, before)
    last = count(TargetSet(frozenset({IN, loopback})), EVERYTHING, {}, after)
    assert [each.strange for each in (before, after, last)] == [{link_local}, {link_local, loopback}, {loopback}]
