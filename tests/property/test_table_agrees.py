"""Membership in a table is what `ipaddress` says it is."""

from ipaddress import IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from ndpresponder.policy.table import Match, TargetTable
from ndpresponder.targets.source import as_prefix

# Few distinct bits, so that prefixes and addresses meet; and now and then any address at all
near = st.builds(
    lambda high, low: high << 96 | low, st.sampled_from([0, 0x20010DB8, 0xFE800000, 0xFF020000]), st.integers(0, 64)
)
addresses = st.one_of(near, st.integers(0, (1 << 128) - 1)).map(IPv6Address)
networks = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False),
    addresses,
    st.one_of(st.integers(120, 128), st.integers(0, 128)),
)
NEVER = [IPv6Network(text) for text in ("::/128", "::1/128", "fe80::/10", "ff00::/8")]


def expected(
    target: IPv6Address, live: set[IPv6Address], claimed: set[IPv6Network], excluded: set[IPv6Network]
) -> Match:
    if any(target in network for network in excluded):
        return Match.EXCLUDED
    if target in live:
        return Match.LIVE
    return Match.CLAIMED if any(target in network for network in claimed) else Match.NOT_OURS


@given(st.sets(addresses, max_size=6), st.sets(networks, max_size=6), st.sets(networks, max_size=3), st.data())
def test_a_target_is_matched_as_ipaddress_says(
    live: set[IPv6Address], claimed: set[IPv6Network], excluded: set[IPv6Network], data: st.DataObject
) -> None:
    table = TargetTable.build((address.packed for address in live), map(as_prefix, claimed), map(as_prefix, excluded))
    borders = [network[position] for network in claimed | excluded for position in (0, -1)]
    for target in [*live, *borders, *data.draw(st.lists(addresses, max_size=5))]:
        match = table.match(target.packed, int(target))
        if any(target in network for network in NEVER):
            assert match in (Match.EXCLUDED, Match.NOT_OURS)
        else:
            assert match is expected(target, live, claimed, excluded)


@given(st.sets(addresses), st.sets(networks))
def test_a_table_does_not_depend_on_order(live: set[IPv6Address], claimed: set[IPv6Network]) -> None:
    forward = TargetTable.build([address.packed for address in sorted(live)], map(as_prefix, sorted(claimed)))
    backward = TargetTable.build(
        [address.packed for address in sorted(live, reverse=True)], map(as_prefix, sorted(claimed, reverse=True))
    )
    assert forward == backward
    assert hash(forward) == hash(backward)
