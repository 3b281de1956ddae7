"""The longest prefix decides: in a table with refused prefixes, and among the kernel's routes."""

from hypothesis import example, given
from hypothesis import strategies as st
from small_prefixes import SPACE, divisions, sets, small

from ndpresponder.linux.netlink.routes import Route
from ndpresponder.policy.table import Match, Prefix, TargetTable
from ndpresponder.targets.scope import EVERYTHING, Scope
from ndpresponder.targets.sources.routes import Selection, targets_of

UPLINK, INSIDE, OTHER = 2, 3, 4


def covers(wide: tuple[int, int], value: int) -> bool:
    return value >> 128 - wide[1] == wide[0] >> 128 - wide[1]


routes = st.lists(
    st.builds(
        lambda where, metric, devices, unicast: Route(*where, 254, metric, 4, unicast, devices if unicast else ()),
        small,
        st.integers(1, 3),
        st.sampled_from([(), (UPLINK,), (INSIDE,), (OTHER,), (INSIDE, OTHER), (INSIDE, UPLINK), (1,)]),
        st.booleans(),
    ),
    max_size=12,
)


def longest(prefixes: frozenset[Prefix], value: int) -> int:
    return max((each.length for each in prefixes if covers(each, value)), default=-1)


@given(divisions, sets, sets)
def test_a_refused_prefix_takes_its_part_from_the_claims_beside_it_and_from_no_others(divided, claimed, excluded):
    table = TargetTable.build(claimed=claimed, excluded=excluded, divided=divided)
    for value in SPACE:
        expected = Match.NOT_OURS
        if longest(claimed, value) >= 0 or any(
            longest(ours, value) > longest(others, value) for ours, others in divided
        ):
            expected = Match.CLAIMED
        if longest(excluded, value) >= 0:
            expected = Match.EXCLUDED
        assert expected is table.match(value.to_bytes(16, "big"), value)


@given(divisions, sets)
def test_all_claims_are_told(divided, claimed):
    told = TargetTable.build(claimed=claimed, divided=divided).claims()
    everything = claimed.union(*(ours for ours, _ in divided))
    assert {(each.value >> 128 - each.length, 128 - each.length) for each in everything} == {
        (network, shift) for shift, networks in told for network in networks
    }
    assert [shift for shift, _ in told] == sorted({shift for shift, _ in told})


@example(
    [Route(SPACE[0], 122, 254, 1, 4, True, (INSIDE,)), Route(SPACE[0], 123, 254, 1, 4, False, ())],
    None,
    [Prefix(SPACE[0], 123), Prefix(SPACE[0], 124)],
)
@example([Route(SPACE[0], 128, 254, 1, 4, False, ()), Route(SPACE[0], 128, 254, 1, 4, True, (INSIDE,))], None, [])
@given(routes, st.none() | st.frozensets(st.sampled_from([INSIDE, OTHER]), min_size=1), st.lists(small, max_size=2))
def test_what_routes_make_ours_is_what_the_kernel_would_forward(routes, through, within):
    scope = Scope(frozenset(within)) if within else EVERYTHING
    targets = targets_of(routes, Selection(frozenset({UPLINK, 1}), through, None, scope))
    divided = [(targets.claimed, targets.refused)]
    table = TargetTable.build(divided=divided) if targets.refused else TargetTable.build(claimed=targets.claimed)
    for value in SPACE:
        usable = [route for route in routes if covers(route, value) and (route.devices or not route.unicast)]
        best = min(usable, key=lambda route: (-route.length, route.metric), default=None)
        ours = best is not None and best.unicast and not {UPLINK, 1} & set(best.devices)
        ours = ours and (through is None or set(best.devices) <= through)
        ours = ours and (not within or any(covers(each, value) for each in within))
        assert (Match.CLAIMED if ours else Match.NOT_OURS) is table.match(value.to_bytes(16, "big"), value)


@given(routes)
def test_nothing_superfluous_is_said(routes):
    targets = targets_of(routes, Selection(frozenset({UPLINK, 1})))
    for each in targets.refused:
        assert any(wide.length < each.length and covers(wide, each.value) for wide in targets.claimed)
    assert not targets.claimed & targets.refused
