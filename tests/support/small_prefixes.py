"""Sets of prefixes in a space so small that they overlap all the time."""

from hypothesis import strategies as st

from ndpresponder.policy.table import Prefix

BASE = 0x20010DB8 << 96
BITS = 6  # a space so small that prefixes overlap all the time
SPACE = range(BASE, BASE + (1 << BITS))


def prefix(value: int, length: int) -> Prefix:
    shift = BITS - length
    return Prefix(BASE + (value >> shift << shift), 128 - BITS + length)


small = st.builds(prefix, st.integers(0, (1 << BITS) - 1), st.integers(0, BITS))
sets = st.frozensets(small, max_size=8)
divisions = st.lists(st.tuples(sets, sets), max_size=3)
