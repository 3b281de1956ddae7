"""What was answered lately is remembered for each requester, in bounded memory."""

import tracemalloc

from frames import UPLINK_LLADDR, lladdr, packed

from ndpresponder.unsolicited.recent_answers import MAX_REQUESTERS, MAX_TARGETS, RecentAnswers
from ndpresponder.wire.addresses import ALL_NODES, ALL_NODES_LLADDR
from ndpresponder.wire.advertisement import advertise

ROUTER, SCANNER = lladdr("02:00:00:00:00:01"), lladdr("02:00:00:00:00:02")


def answers(requester: bytes, *numbers: int) -> list[bytes]:
    """Return advertisements of the targets with these numbers to a requester."""
    return [
        advertise(lladdr(UPLINK_LLADDR), requester, packed("fe80::1"), 0, number.to_bytes(16, "big"))
        for number in numbers
    ]


def numbers(recent: RecentAnswers) -> list[int]:
    """Return the numbers of the targets that are remembered."""
    return [int.from_bytes(target, "big") for target in recent.targets()]


def test_the_latest_comes_first() -> None:
    recent = RecentAnswers()
    recent.note(answers(ROUTER, 1, 2, 3), 1.0)
    recent.note(answers(ROUTER, 1), 2.0)
    assert numbers(recent) == [1, 3, 2]


def test_a_scan_pushes_out_nothing_that_another_asked_for() -> None:
    recent = RecentAnswers()
    recent.note(answers(ROUTER, 1), 1.0)
    for number in range(10, 10 + 2 * MAX_TARGETS):
        recent.note(answers(SCANNER, number), 2.0)
    assert numbers(recent)[:2] == [10 + 2 * MAX_TARGETS - 1, 1]
    assert len(recent.rows()) == MAX_TARGETS + 1


def test_of_long_batches_a_part_of_each_quarter_of_a_second_is_remembered() -> None:
    recent = RecentAnswers()
    for first in range(0, 64_000, 64):
        recent.note(answers(ROUTER, *range(first, first + 64)), first / 64_000)
    quarters = {number * 4 // 64_000 for number in numbers(recent)}
    assert 3 in quarters, quarters


def test_a_router_that_asks_now_and_then_is_remembered_in_the_midst_of_long_batches() -> None:
    recent = RecentAnswers()
    for first in range(100, 64_000, 64):
        recent.note(answers(SCANNER, *range(first, first + 64)), 1.0)
        if first % 6400 == 100:
            recent.note(answers(ROUTER, first // 6400), 1.0)
    asked = [int.from_bytes(target, "big") for requester, target in recent.rows() if requester == ROUTER]
    assert asked[-5:] == [5, 6, 7, 8, 9]


def test_a_short_batch_after_long_ones_is_the_latest() -> None:
    recent = RecentAnswers()
    recent.note(answers(ROUTER, *range(10, 74)), 1.0)
    recent.note(answers(ROUTER, *range(10, 74)), 1.1)
    recent.note(answers(ROUTER, 1), 1.2)
    assert numbers(recent)[0] == 1


def test_a_clock_that_is_set_stops_nothing() -> None:
    recent = RecentAnswers()
    for now_s in (1e9, 5.0, 2e9):
        recent.note(answers(ROUTER, *range(64)), now_s)
    assert len(recent.rows()) == 64


def test_duplicate_address_detection_is_nobodys() -> None:
    recent = RecentAnswers()
    defence = advertise(lladdr(UPLINK_LLADDR), ALL_NODES_LLADDR, ALL_NODES, 0, packed("2001:db8::1"))
    recent.note([defence], 1.0)
    assert recent.targets() == []


def test_ever_new_requesters_and_targets_take_bounded_memory() -> None:
    recent = RecentAnswers()
    tracemalloc.start()
    try:
        for number in range(4 * MAX_REQUESTERS):
            requester = lladdr("02:00:00:00:00:00")[:4] + number.to_bytes(2, "big")
            for target in range(MAX_TARGETS + 100):
                recent.note(answers(requester, target), 1.0 * target)
        assert len(recent.rows()) == MAX_REQUESTERS * MAX_TARGETS
        assert tracemalloc.get_traced_memory()[0] < 3 << 20
    finally:
        tracemalloc.stop()


def test_made_up_requesters_push_out_each_other_but_not_the_confirmed_gateway() -> None:
    recent = RecentAnswers()
    recent.spared = lambda: {ROUTER}
    recent.note(answers(ROUTER, 1), 1.0)
    for number in range(10 * MAX_REQUESTERS):
        recent.note(answers(lladdr("02:99:00:00:00:00")[:4] + number.to_bytes(2, "big"), 2), 1.0)
    assert numbers(recent) == [2, 1]
    assert len(recent.rows()) == MAX_REQUESTERS


def test_what_is_handed_over_is_remembered_in_its_order() -> None:
    recent, successor = RecentAnswers(), RecentAnswers()
    recent.note(answers(ROUTER, 1, 2), 1.0)
    recent.note(answers(SCANNER, 3), 2.0)
    successor.restore(recent.rows())
    assert numbers(successor) == numbers(recent) == [3, 2, 1]
