"""A long file is read by a short way: it says of a line what the long way does, or leaves it to that."""

from ipaddress import IPv6Address, IPv6Network

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from ndpresponder.config.problem import Wrong
from ndpresponder.policy.table import Prefix
from ndpresponder.targets.sources.file import lines_of, listed, parse_line

GLOBAL = st.integers(1 << 125, (1 << 126) - 1).map(IPv6Address)
texts = st.one_of(
    st.ip_addresses(v=6).map(str),
    GLOBAL.map(str),
    GLOBAL.map(lambda address: address.exploded.upper()),
    st.builds("{}/{}".format, st.ip_addresses(v=6), st.integers(0, 129)),
    st.builds("2001:db8::{}".format, st.ip_addresses(v=4)),
    st.text("0123456789abcdef:.%/ #\0", max_size=40),
)
lines = st.one_of(
    st.builds(
        lambda *parts: "".join(parts),
        st.sampled_from(["", " ", "\t"]),
        texts,
        st.sampled_from(["", " ", " # a"]),
    ),
    st.binary(max_size=40).map(lambda octets: octets.decode(errors="surrogateescape")),
)


@given(GLOBAL)
def test_it_takes_every_global_address(address: IPv6Address) -> None:
    assert listed(str(address)) == Prefix(int(address), 128)


@pytest.mark.parametrize("text", ["fe80::1", "ff02::1", "::1", "::", "::ffff:192.0.2.1", "", "#"])
def test_it_leaves_the_rest_to_who_explains(text: str) -> None:
    assert listed(text) is None


@given(lines)
@example("2001:db8::1%eth0")
@example("2001:db8::1/128")
@example("2001:db8::0001\x00")
@example("2001:db8::\u0661")
@example("fd00::1")
@example("2001:db8::/0000000000000112")
@example("2001:db8::/64" + "0" * 300)
@example("2001:db8::/+64")
@example("::ffff:0:0/96")
@example("0:0:0:1::/64")
@example("::/64")
@example("::2/127")
@example("fe80::/64")
@example("2001:db8::1/112")
@example("2001:db8::/\u0661")
@example("2001:db8::1 /128")
@example("/64")
@example("2001:db8::/")
def test_the_short_way_lists_what_the_long_way_lists(line: str) -> None:
    found = listed(line)
    try:
        network = parse_line(line)
    except Wrong:
        network = None
    event(f"listed: {network is not None}")
    assert (found and IPv6Network((found.value, found.length))) == network


@given(
    st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"b" * 9000, b"\x0b", b"\x85"]), max_size=40).map(b"".join)
)
@example(b"a" * 16383 + b"\r\nb")
@example(b"a" * 16384 + b"\r\nb")
@example(b"\r" * 16384 + b"\n")
def test_any_end_of_a_line_ends_it(data: bytes) -> None:
    found = [line.removesuffix("\n").encode("utf-8", "surrogateescape") for line in lines_of(data)]
    assert found == data.splitlines()
