"""What is announced, when, and in which octets (RFC 4861 7.2.6)."""

import itertools

import pytest
from frames import UPLINK_LLADDR, advertisement, lladdr, packed, solicitation
from sample_responder import addresses

from ndpresponder.policy.table import changes
from ndpresponder.unsolicited.announcements import (
    BURST,
    INTERVAL_S,
    INTRODUCED_WITHIN_S,
    MAX_INTRODUCED,
    REPEATS,
    TARGETS_PER_S,
    Announcer,
    Introductions,
    announcement,
)
from ndpresponder.wire.layout import OVERRIDE_FLAG, ROUTER_FLAG

ONE, TWO = "2001:db8::1", "2001:db8::2"
GATEWAY = "fe80::1"
ALL_NODES = "ff02::1"


class TimedAnnouncer(Announcer):
    """An announcer that is told the time."""

    def __init__(self, targets_per_s: int = TARGETS_PER_S) -> None:
        self.now_s = 0.0
        super().__init__(lambda: self.now_s, targets_per_s)

    def set_targets(self, live: frozenset[bytes]) -> None:
        self.change(live, *changes(self._live, live))

    def due_at(self, now_s: float) -> list[bytes]:
        self.now_s = now_s
        return self.due()

    def wait_at(self, now_s: float) -> float | None:
        self.now_s = now_s
        return self.wait_s()


def made(announcer: TimedAnnouncer, until_s: float, start_s: float = 0.0) -> list[tuple[float, bytes]]:
    """Return what is announced and when, by a caller that comes exactly when it is told to."""
    now_s, announced = start_s, []
    while now_s <= until_s:
        announced += [(round(now_s, 6), target) for target in announcer.due_at(now_s)]
        wait_s = announcer.wait_at(now_s)
        if wait_s is None:
            break
        now_s += max(wait_s, 1e-6)
    return announced


def test_a_live_target_is_announced_three_times_a_second_apart() -> None:
    announcer = TimedAnnouncer()
    announcer.set_targets(addresses(ONE))
    times = [at for at, target in made(announcer, 60) if target == packed(ONE)]
    assert len(times) == REPEATS == 3
    assert all(0 <= later - earlier - INTERVAL_S < 0.001 for earlier, later in itertools.pairwise(times))
    assert announcer.wait_at(60) is None


def test_the_same_set_again_announces_nothing() -> None:
    announcer = TimedAnnouncer()
    announcer.set_targets(addresses(ONE))
    made(announcer, 60)
    announcer.set_targets(addresses(ONE))
    assert announcer.pending == 0


def test_a_target_that_goes_is_announced_no_more() -> None:
    announcer = TimedAnnouncer()
    announcer.set_targets(addresses(ONE, TWO))
    assert set(announcer.due_at(0)) == addresses(ONE, TWO)
    announcer.set_targets(addresses(TWO))
    assert {target for _, target in made(announcer, 60)} == addresses(TWO)


def test_a_target_that_comes_back_is_announced_from_the_beginning() -> None:
    announcer = TimedAnnouncer()
    announcer.set_targets(addresses(ONE))
    announcer.due_at(0)
    announcer.set_targets(frozenset())
    announcer.set_targets(addresses(ONE))
    assert len(made(announcer, 60, start_s=0.5)) == REPEATS


def test_a_link_that_returns_is_told_everything_and_one_that_is_down_nothing() -> None:
    announcer = TimedAnnouncer()
    announcer.set_targets(addresses(ONE, TWO))
    announcer.stop()
    assert announcer.due_at(1) == []
    announcer.restart()
    assert len(made(announcer, 60, start_s=2)) == 2 * REPEATS


def test_two_thousand_at_once_are_spread_and_first_announcements_go_first() -> None:
    announcer = TimedAnnouncer()
    targets = frozenset(value.to_bytes(16, "big") for value in range(0x20010DB8 << 96, (0x20010DB8 << 96) + 2000))
    announcer.set_targets(targets)
    announced = made(announcer, 60)
    assert len(announced) == 2000 * REPEATS
    assert {target for _, target in announced[:2000]} == targets
    for first, (start_s, _) in enumerate(announced):
        in_a_second = sum(at < start_s + 1 for at, _ in announced[first : first + 2 * TARGETS_PER_S])
        assert in_a_second <= BURST + TARGETS_PER_S
    assert announced[-1][0] < 2000 * REPEATS / TARGETS_PER_S + 1


def test_an_announcement_is_an_advertisement_to_all_nodes_and_a_solicitation_for_each_gateway() -> None:
    frames = announcement(lladdr(UPLINK_LLADDR), packed(ONE), ROUTER_FLAG | OVERRIDE_FLAG, addresses(GATEWAY, TWO))
    to_all = advertisement(
        ONE, ALL_NODES, router=True, solicited=False, override=True, ethernet_destination="33:33:00:00:00:01"
    )
    from_the_target = {"source": ONE, "ethernet_source": UPLINK_LLADDR}
    assert frames == [to_all, solicitation(TWO, **from_the_target), solicitation(GATEWAY, **from_the_target)]


def test_so_many_are_introduced_at_once_and_as_many_again_in_a_minute() -> None:
    now_s = 0.0
    introductions = Introductions(lambda: now_s)
    targets = [value.to_bytes(16, "big") for value in range(4 * MAX_INTRODUCED)]
    first = [target for target in targets if introductions.admit(target)]
    assert first == targets[:MAX_INTRODUCED]
    assert introductions.left_out == 3 * MAX_INTRODUCED
    now_s = 1.0
    assert all(introductions.admit(target) for target in first)  # its repeats
    now_s = INTRODUCED_WITHIN_S
    later = [target for target in targets[MAX_INTRODUCED:] if introductions.admit(target)]
    assert later == targets[MAX_INTRODUCED : 2 * MAX_INTRODUCED]


def test_what_is_in_use_is_announced_first_after_a_restart() -> None:
    announcer = TimedAnnouncer()
    announcer.set_targets(addresses(ONE, TWO))
    announcer.restart((packed(TWO), packed("2001:db8::9")))
    assert announcer.due_at(10.0) == [packed(TWO), packed(ONE)]


def test_what_is_added_is_announced_in_its_order_and_bounded() -> None:
    announcer = TimedAnnouncer(1000)
    announcer.add((value.to_bytes(16, "big") for value in (3, 1, 2, 4)), 3)
    assert [int.from_bytes(target, "big") for target in announcer.due_at(10.0)] == [3, 1, 2]
    assert announcer.pending == 3


@pytest.mark.parametrize("number", [1, 3, 4, 50])
def test_of_targets_that_go_before_they_are_announced_none_is_announced(number: int) -> None:
    announcer = TimedAnnouncer()
    live = frozenset(each.to_bytes(16, "big") for each in range(60))
    announcer.set_targets(live)
    left = live - frozenset(sorted(live)[:number])
    announcer.set_targets(left)
    assert announcer.pending == len(left)
