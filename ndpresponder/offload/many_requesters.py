"""Asks in a classic BPF program whether an Ethernet source is one of thousands, which a search has no room for.

Pure. The station is hashed to one of `BUCKETS` bits, which the program holds as words: of those that are none of the
many a few share a bit with one that is, and others with another `salt`. Nobody who does not know it can choose to.
"""

from collections.abc import Collection
from typing import Final

from ndpresponder.wire.classic_bpf import ADD_X, JUMP_IF_AT_LEAST, TO_X, Writer
from ndpresponder.wire.filters import AND, LOAD_HALF, LOAD_WORD

_BITS: Final = 15
BUCKETS: Final = 1 << _BITS
_WORDS: Final = BUCKETS // 32
_MOST: Final = 0xFFFFFFFF

# linux/bpf_common.h
_MULTIPLY: Final = 0x24  # BPF_ALU | BPF_MUL | BPF_K
_SHIFT_RIGHT: Final = 0x74  # BPF_ALU | BPF_RSH | BPF_K
_SHIFT_LEFT_X: Final = 0x6C  # BPF_ALU | BPF_LSH | BPF_X
_LOAD: Final = 0x00  # BPF_LD | BPF_IMM
_STORE: Final = 0x02  # BPF_ST
_LOAD_STORED: Final = 0x60  # BPF_LD | BPF_MEM
_JUMP_IF_SET_X: Final = 0x4D  # BPF_JMP | BPF_JSET | BPF_X


def bucket_of(station: bytes, salt: int) -> int:
    """Return the bucket of a station."""
    high, low = _factors(salt)
    return (int.from_bytes(station[:4]) * high + int.from_bytes(station[4:]) * low & _MOST) >> 32 - _BITS


def one_of_many(writer: Writer, stations: Collection[bytes], salt: int, place: int, inside: int, outside: int) -> int:
    """Write the question whether the link-layer address at `place` is one of `stations`; return its label."""
    words = [0] * _WORDS
    for bucket in {bucket_of(station, salt) for station in stations}:
        words[bucket >> 5] |= 1 << (bucket & 31)
    put = writer.put
    high, low = _factors(salt)
    _choose(writer, words, 0, inside, outside)
    put(_SHIFT_RIGHT, 5)
    put(_LOAD_STORED, 0)
    put(TO_X)
    put(_SHIFT_LEFT_X)
    put(_LOAD, 1)
    put(TO_X)
    put(AND, 31)
    put(_STORE, 0)
    put(_SHIFT_RIGHT, 32 - _BITS)
    put(ADD_X)
    put(_MULTIPLY, high)
    put(LOAD_WORD, place)
    put(TO_X)
    put(_MULTIPLY, low)
    return put(LOAD_HALF, place + 4)


def _choose(writer: Writer, words: list[int], first: int, inside: int, outside: int) -> int:
    """Write the choice among words by the number that is loaded, where the first has the number `first`."""
    if not any(words):
        return outside
    if len(words) == 1:
        writer.put(_JUMP_IF_SET_X, 0, inside, outside)
        return writer.put(_LOAD, words[0])
    middle = len(words) // 2
    upper = _choose(writer, words[middle:], first + middle, inside, outside)
    lower = _choose(writer, words[:middle], first, inside, outside)
    return writer.put(JUMP_IF_AT_LEAST, first + middle, upper, lower)


def _factors(salt: int) -> tuple[int, int]:
    return salt & _MOST | 1, salt >> 32 & _MOST | 1
