"""No event, however it looks, raises anything where it is judged whether it matters."""

from hypothesis import given
from hypothesis import strategies as st

from ndpresponder.linux.netlink.downstream import Downstream
from ndpresponder.linux.netlink.layout import attribute, attributes
from ndpresponder.linux.netlink.routes import Route, Wanted, concerns

KNOWN = Downstream(7, True, "", frozenset(), {}, frozenset())
ALL = Wanted(frozenset({254}), 1, ())
kinds = st.sampled_from([16, 17, 20, 21, 24, 25, 28, 29]).map(lambda kind: kind.to_bytes(2, "little"))
anything = st.binary(max_size=256)
events = st.builds(lambda head, kind, rest: head + kind + rest, st.binary(min_size=4, max_size=4), kinds, anything)


@given(events | anything)
def test_any_event_is_judged(event):
    assert KNOWN.can_change_by(event, [b"up0"]) in (True, False)
    assert isinstance(concerns(event, ALL), Route | bool)


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), anything), max_size=5), anything)
def test_attributes_read_back_as_they_were_written(written, torn):
    octets = b"".join(attribute(*each) for each in written)
    assert written == list(attributes(octets))
    assert written == list(attributes(octets + torn))[: len(written)]
