"""The checksum of `wire.icmpv6` is that of RFC 1071, added up word by word, at the edges of its range as well."""

import struct

import pytest
from frames import internet_checksum, packed

from ndpresponder.wire.icmpv6 import checksum, pseudo_header_sum, word_sum

SOURCE, DESTINATION = packed("fe80::1"), packed("ff02::1:ff00:c1")
BARE = internet_checksum(SOURCE, DESTINATION, bytes(8))  # of a message of 8 zero octets


def message(word: int, check: int = 0) -> bytes:
    return struct.pack("!HHI", 0, check, word)


@pytest.mark.parametrize(
    ("total", "block"),
    [
        (0, b""),
        (0, b"\x00\x00"),
        (0, b"\xff\xff"),  # minus zero
        (0, b"\xff\xff" * 40),
        (1, b"\x00\x01"),
        (0xFFFE, b"\xff\xfe"),
        (1, b"\xff\xff\x00\x01"),
        (0x0100, b"\x01"),
        (0x0203, b"\x01\x02\x01\x01"),
    ],
)
def test_the_sum_of_words(total: int, block: bytes) -> None:
    assert word_sum(block) == total


@pytest.mark.parametrize("word", [0, 1, 0x8000, 0xFFFE, 0xFFFF, 0x1_0000, 0xFFFF_FFFF, BARE - 1, BARE, BARE + 1])
def test_the_checksum_is_the_one_added_up_word_by_word(word: int) -> None:
    assert checksum(SOURCE, DESTINATION, message(word)) == internet_checksum(SOURCE, DESTINATION, message(word))


def test_a_checksum_of_zero_is_written_as_zero() -> None:
    assert checksum(SOURCE, DESTINATION, message(BARE)) == 0x0000


@pytest.mark.parametrize("word", [BARE, BARE + 65535, BARE + 2 * 65535])
def test_a_checksum_is_never_written_as_minus_zero(word: int) -> None:
    assert checksum(SOURCE, DESTINATION, message(word)) == 0


@pytest.mark.parametrize("written", [0x0000, 0xFFFF])
def test_both_zeros_are_valid_where_the_checksum_is_zero(written: int) -> None:
    assert checksum(SOURCE, DESTINATION, message(BARE, written)) == 0


@pytest.mark.parametrize("written", [0x0000, 0xFFFF])
def test_neither_zero_is_valid_where_the_checksum_is_another(written: int) -> None:
    assert checksum(SOURCE, DESTINATION, message(BARE + 1, written)) != 0


@pytest.mark.parametrize("difference", [1, 0x100, 0x8000, 0xFFFE])
def test_any_other_checksum_is_invalid(difference: int) -> None:
    right = checksum(SOURCE, DESTINATION, message(7))
    assert checksum(SOURCE, DESTINATION, message(7, right)) == 0
    assert checksum(SOURCE, DESTINATION, message(7, (right + difference) % 0x10000)) != 0


def test_an_odd_message_is_padded_with_a_zero_octet() -> None:
    odd = message(7) + b"\x12"
    assert checksum(SOURCE, DESTINATION, odd) == internet_checksum(SOURCE, DESTINATION, odd)


def test_the_pseudo_header_counts_the_length_and_the_next_header() -> None:
    assert pseudo_header_sum(bytes(16), bytes(16), 32) == 32 + 58
