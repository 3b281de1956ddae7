"""Where to go on in a ring that somebody else has read from: in memory of our own, filled as the kernel fills it."""

import pytest

from ndpresponder.linux.packet.ring import (
    NANOSECONDS,
    OURS,
    SECONDS,
    SLOT_SIZE,
    SLOT_WORDS,
    SLOTS,
    find_first,
)


def ring(first: int, count: int, *, start_s: int = 1000, stepped_back_at: int | None = None) -> "memoryview[int]":
    """Return a ring in which `count` frames wait from the slot `first` on, a second apart."""
    words = memoryview(bytearray(SLOTS * SLOT_SIZE)).cast("I")
    for number in range(count):
        word = (first + number) % SLOTS * SLOT_WORDS
        words[word] = OURS
        words[word + SECONDS] = start_s + number
        words[word + NANOSECONDS] = 5
        if stepped_back_at is not None and number >= stepped_back_at:
            words[word + SECONDS] -= 100
    return words


@pytest.mark.parametrize("count", [1, 2, 100, SLOTS - 1])
@pytest.mark.parametrize("first", [0, 1, 4000, SLOTS - 50, SLOTS - 1])
def test_the_frame_that_waited_longest_is_found_wherever_it_stands(first: int, count: int) -> None:
    assert find_first(ring(first, count)) == first


@pytest.mark.parametrize("first", [0, 1, 4000, SLOTS - 1])
def test_a_full_ring_begins_where_its_oldest_frame_is(first: int) -> None:
    assert find_first(ring(first, SLOTS)) == first


def test_a_full_ring_begins_there_even_if_the_clock_was_set_back_meanwhile() -> None:
    assert find_first(ring(300, SLOTS, stepped_back_at=4000)) == 300


def test_an_empty_ring_does_not_tell() -> None:
    assert find_first(ring(0, 0)) is None


class Filling:
    """A ring that the kernel goes on filling right after the slots were looked at."""

    def __init__(self, words: "memoryview[int]", slots: list[int]) -> None:
        self._words = words
        self._slots = slots

    def __getitem__(self, key):
        found = self._words[key]
        if isinstance(key, slice):
            found = memoryview(bytes(found)).cast("I")
            for slot in self._slots:
                self._words[slot * SLOT_WORDS] = OURS
                self._words[slot * SLOT_WORDS + SECONDS] = 20_000
        return found


def test_a_frame_that_came_before_the_one_that_was_seen_is_not_passed_over() -> None:
    assert find_first(Filling(ring(11, 1), [10])) == 10  # type: ignore[arg-type]


def test_a_ring_that_fills_up_while_it_is_looked_at_begins_with_its_oldest_frame() -> None:
    assert find_first(Filling(ring(500, SLOTS - 3), [497, 498, 499])) == 500  # type: ignore[arg-type]
