"""What is remembered of claimed targets, for how long, and what strangers can make of it."""

from collections.abc import Callable, Iterator

import pytest
from frames import packed, solicitation

from ndpresponder.linux.netlink.layout import CONFIRMED, NUD_FAILED, STALE
from ndpresponder.linux.netlink.resolver import Neighbor, Unknown
from ndpresponder.targets import verify
from ndpresponder.targets.sources.unrouted_hosts import UnroutedHosts
from ndpresponder.targets.verify import Verifier

TARGET = packed("2001:db8::c1")
ROUTER = packed("2001:db8::1")
LINK = 7
FRAME = solicitation("2001:db8::c1")


class World:
    """A verifier, the clock it reads, and a kernel that answers as told."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.there: set[bytes] = set()
        self.stale: set[bytes] = set()
        self.behind: dict[bytes, bytes] = {}  # target -> the router that leads to it
        self.nowhere: set[bytes] = set()
        self.unaskable: set[bytes] = set()
        self.asked: list[bytes] = []
        self.looked = 0
        self.fails = False
        self.news: list[tuple[Neighbor, int]] = []
        self.finished: list[tuple[list[bytes], float]] = []
        self._timers: list[tuple[float, Callable[..., None], tuple[object, ...]]] = []
        self.verifier = Verifier(self, self._finish, self._call_later, lambda: self.now_s, UnroutedHosts())

    def look(self, target: bytes) -> Unknown | bool:
        self.looked += 1
        if self.fails:
            raise ZeroDivisionError
        if target in self.there or target in self.nowhere:
            return target in self.there
        return Unknown({Neighbor(LINK, self.behind.get(target, target)): ROUTER}, target in self.stale)

    def ask(self, unknown: Unknown) -> bool:
        (neighbor,) = unknown.sources
        self.asked.append(neighbor.address)
        return neighbor.address in self.unaskable

    def sockets(self) -> tuple[()]:
        return ()

    def close(self) -> None:
        pass

    def heard(self) -> Iterator[tuple[Neighbor, int]]:
        while self.news:
            yield self.news.pop(0)

    def _finish(self, kept: list[bytes], since_s: float) -> None:
        self.finished.append((kept, since_s))

    def _call_later(self, delay: float, callback: Callable[..., None], /, *args: object) -> None:
        self._timers.append((self.now_s + delay, callback, args))

    def after(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds
        due = [timer for timer in self._timers if timer[0] <= self.now_s]
        self._timers = [timer for timer in self._timers if timer[0] > self.now_s]
        for _, callback, args in due:
            callback(*args)

    def hear(self, state: int, address: bytes = TARGET, link: int = LINK) -> None:
        self.news.append((Neighbor(link, address), state))
        self.verifier.read()


@pytest.fixture
def world() -> World:
    return World()


def test_what_happened_before_is_no_answer_to_a_question_asked_now(world: World) -> None:
    world.stale.add(TARGET)
    world.news.append((Neighbor(LINK, TARGET), CONFIRMED))  # not read yet: the loop was busy
    assert not world.verifier.is_there(TARGET)
    world.verifier.read()
    assert not world.verifier.is_there(TARGET)
    world.hear(CONFIRMED)
    assert world.verifier.is_there(TARGET)


def numbered(number: int) -> bytes:
    return packed(f"2001:db8::{number:x}")


def test_who_the_kernel_has_confirmed_is_there_at_once_and_stays_so_unasked(world: World) -> None:
    world.there.add(TARGET)
    assert world.verifier.is_there(TARGET)
    world.after(verify.KNOWN_S - 0.1)
    assert world.verifier.is_there(TARGET)
    assert (world.looked, world.asked) == (1, [])


def test_who_was_there_is_looked_up_again_after_a_while(world: World) -> None:
    world.there.add(TARGET)
    assert world.verifier.is_there(TARGET)
    world.there.clear()
    world.after(verify.KNOWN_S)
    assert not world.verifier.is_there(TARGET)
    assert world.asked == [TARGET]


def test_where_nobody_can_be_asked_who_is_routed_there_is_there(world: World) -> None:
    world.unaskable.add(TARGET)
    assert world.verifier.is_there(TARGET)


def test_where_no_route_leads_nobody_is_asked_for(world: World) -> None:
    world.nowhere.add(TARGET)
    assert not world.verifier.is_there(TARGET)
    assert not world.verifier.keep(FRAME)
    assert world.asked == []


@pytest.mark.parametrize(
    ("stale", "state", "there"),
    [
        (False, CONFIRMED, True),
        (False, STALE, True),
        (False, NUD_FAILED, False),
        (True, CONFIRMED, True),
        (True, NUD_FAILED, False),
    ],
    ids=["resolved", "it spoke first", "failed", "stale and confirmed", "stale and failed"],
)
def test_what_is_kept_ends_when_the_kernel_knows(world: World, stale: bool, state: int, there: bool) -> None:
    world.stale.update({TARGET} if stale else ())
    assert not world.verifier.is_there(TARGET)
    assert world.verifier.keep(FRAME)
    world.after(0.1)
    world.hear(state)
    assert world.finished == [([FRAME], 1000.0)]
    assert there == world.verifier.is_there(TARGET)
    world.after(2)
    assert len(world.finished) == 1


@pytest.mark.parametrize("state", [STALE, 0], ids=["a stale entry that moves on", "an entry that is deleted"])
def test_what_proves_nothing_ends_nothing(world: World, state: int) -> None:
    world.stale.add(TARGET)
    world.verifier.is_there(TARGET)
    assert world.verifier.keep(FRAME)
    world.hear(state)
    assert world.finished == []


def test_the_same_address_on_another_link_is_another_neighbor(world: World) -> None:
    world.verifier.is_there(TARGET)
    assert world.verifier.keep(FRAME)
    world.hear(CONFIRMED, link=8)
    assert world.finished == []


def test_nobody_is_waited_for_longer_than_a_second_nor_asked_for_twice_meanwhile(world: World) -> None:
    world.verifier.is_there(TARGET)
    assert world.verifier.keep(FRAME)
    world.after(verify.WAIT_S - 0.1)
    assert not world.verifier.is_there(TARGET)
    assert world.finished == []
    world.after(0.1)
    assert world.finished == [([FRAME], 1000.0)]
    assert world.asked == [TARGET]


def test_news_that_were_lost_are_asked_for_before_giving_up(world: World) -> None:
    world.verifier.is_there(TARGET)
    world.there.add(TARGET)
    world.after(verify.WAIT_S)
    assert world.verifier.is_there(TARGET)


def test_who_is_absent_is_asked_for_again_soon_but_not_at_once(world: World) -> None:
    world.verifier.is_there(TARGET)
    world.after(verify.WAIT_S)
    world.after(verify.ABSENT_S - 0.1)
    assert not world.verifier.is_there(TARGET)
    assert world.asked == [TARGET]
    world.after(0.1)
    assert not world.verifier.is_there(TARGET)
    assert world.asked == [TARGET, TARGET]


@pytest.mark.parametrize("state", [CONFIRMED, STALE])
def test_any_sign_of_life_revives_who_is_absent(world: World, state: int) -> None:
    world.verifier.is_there(TARGET)
    world.after(verify.WAIT_S)
    world.hear(state)
    world.there.add(TARGET)
    assert world.verifier.is_there(TARGET)


@pytest.mark.parametrize("state", [NUD_FAILED, 0])
def test_who_the_kernel_gives_up_is_no_longer_known(world: World, state: int) -> None:
    world.there.add(TARGET)
    assert world.verifier.is_there(TARGET)
    world.there.clear()
    world.hear(state)
    assert not world.verifier.is_there(TARGET)


def test_targets_behind_one_router_wait_for_it_together(world: World) -> None:
    targets = [packed("2001:db8:5::1"), packed("2001:db8:5::2")]
    world.behind.update(dict.fromkeys(targets, ROUTER))
    for target in targets:
        world.verifier.is_there(target)
    world.hear(CONFIRMED, ROUTER)
    assert all(map(world.verifier.is_there, targets))


def test_so_many_solicitations_of_one_target_are_kept(world: World) -> None:
    world.verifier.is_there(TARGET)
    assert [world.verifier.keep(FRAME) for _ in range(verify.MAX_KEPT + 1)] == [True] * verify.MAX_KEPT + [False]


def test_nothing_is_kept_of_who_is_not_waited_for(world: World) -> None:
    assert not world.verifier.keep(FRAME)


def test_a_scan_asks_for_so_many_and_no_more(world: World) -> None:
    for number in range(1, 1001):
        world.verifier.is_there(numbered(number))
    assert len(world.asked) == verify.ASKS_BURST
    world.after(1)
    for number in range(2001, 3001):
        world.verifier.is_there(numbered(number))
    assert len(world.asked) == verify.ASKS_BURST + verify.ASKS_PER_S


def test_a_scan_looks_up_so_many_and_no_more(world: World) -> None:
    for number in range(1, 10_000):
        world.nowhere.add(numbered(number))
        world.verifier.is_there(numbered(number))
    assert world.looked == verify.LOOKS_PER_S / 10


def test_a_scan_is_remembered_up_to_a_bound(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "MAX_REMEMBERED", 10)
    for number in range(1, 100):
        world.nowhere.add(numbered(number))
        world.verifier.is_there(numbered(number))
    looked = world.looked
    for number in range(99, 89, -1):
        world.verifier.is_there(numbered(number))
    assert world.looked == looked
    world.verifier.is_there(numbered(89))
    assert world.looked == looked + 1


def test_who_was_there_before_is_found_again_through_a_scan(world: World) -> None:
    world.there.add(TARGET)
    assert world.verifier.is_there(TARGET)
    world.there.clear()
    world.after(verify.KNOWN_S)
    for number in range(0x1000, 0x3000):
        world.verifier.is_there(numbered(number))
    assert not world.verifier.is_there(TARGET)
    assert world.asked[-1] == TARGET


def test_strangers_who_wait_leave_room_for_who_was_there_before(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "MAX_NEW", 10)
    known = [numbered(number) for number in range(1, 4)]
    world.there.update(known)
    assert all(map(world.verifier.is_there, known))
    world.there.clear()
    world.after(verify.KNOWN_S)
    strangers = [numbered(number) for number in range(0x1000, 0x1020)]
    world.stale.update(strangers)
    monkeypatch.setattr(verify, "MAX_PENDING", 12)
    for target in strangers + known:
        world.verifier.is_there(target)
    assert world.asked == strangers[:10] + known[:2]
    world.after(verify.WAIT_S)
    world.verifier.is_there(strangers[20])
    assert world.asked[-1] == strangers[20]


def test_at_the_end_all_that_waits_ends(world: World) -> None:
    world.verifier.is_there(TARGET)
    assert world.verifier.keep(FRAME)
    world.verifier.close()
    assert len(world.finished) == 1
    world.after(verify.WAIT_S)
    assert len(world.finished) == 1


def test_whether_a_target_is_known_is_told_without_looking_for_it() -> None:
    world = World()
    world.there.add(TARGET)
    assert not world.verifier.knows(TARGET)
    assert world.looked == 0
    assert world.verifier.is_there(TARGET)
    assert world.verifier.knows(TARGET)
    world.now_s += verify.KNOWN_S
    assert not world.verifier.knows(TARGET)
    assert (world.looked, world.asked) == (1, [])


def test_a_target_does_not_wait_for_ever_when_the_last_look_fails(world: World) -> None:
    assert not world.verifier.is_there(TARGET)
    world.fails = True
    with pytest.raises(ZeroDivisionError):
        world.after(verify.WAIT_S)
    world.fails = False
    world.after(verify.ABSENT_S + 0.1)
    world.there.add(TARGET)
    assert world.verifier.is_there(TARGET)
