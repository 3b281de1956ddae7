"""Encode the table of targets, the uplink and the policy as the octets of the kernel program's maps.

Pure: no IO. The layouts are those of the structs in responder.bpf.c, in host byte order but for the addresses.
"""

import itertools
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from ndpresponder.policy.requester import Policy, UplinkState, override_flag, router_flag
from ndpresponder.policy.table import Match, TargetTable
from ndpresponder.wire.layout import ETH_P_IPV6, SOLICITED_FLAG, TARGET_LLADDR_OPTION

ADDRESS_SIZE: Final = 16
PREFIX_SIZE: Final = 20
VALUE_SIZE: Final = 4
SETUP: Final = struct.Struct("=8s8sII")  # Ethernet source and type, option, what is answered, flags
COUNT: Final = struct.Struct("=QQQ8x")  # multicast, unicast, nanoseconds of CLOCK_MONOTONIC at the last
# Halves of a target, nanoseconds of CLOCK_MONOTONIC when it was last answered, and all of that XORed
RECENT: Final = struct.Struct("=QQQQ")
RECENT_PLACES: Final = 4096  # for two targets each

_VALUE: Final = struct.Struct("=I")
_PREFIX: Final = struct.Struct("=I16s")
_TARGET_OPTION: Final = bytes((TARGET_LLADDR_OPTION, 1))  # and its length, in 8 octets
_OWN, _OTHERS = 1, 2  # values of `own`
_MULTICAST_CLAIMED, _MULTICAST_LIVE, _UNICAST_CLAIMED, _UNICAST_LIVE = 1, 2, 4, 8  # bits of what is answered


class Entries(NamedTuple):
    """Entries of one map: keys and values, one behind the other."""

    keys: bytes
    values: bytes
    number: int


def _entries(keys: Iterable[bytes], values: Iterable[int]) -> Entries:
    all_keys = list(keys)
    return Entries(b"".join(all_keys), b"".join(map(_VALUE.pack, values)), len(all_keys))


def live_entries(table: TargetTable, some: Iterable[bytes]) -> Entries:
    """Return those of `some` of the table's live targets that no exclusion takes away."""
    live = replace(table, live=frozenset(some)).answered_live()
    return Entries(b"".join(live), bytes(VALUE_SIZE) * len(live), len(live))


def prefix_entries(table: TargetTable) -> Entries:
    """Return prefixes such that the longest one that holds a target tells by its value whether this is claimed."""
    decided = list(_decide(table))
    return _entries((key for key, _ in decided), (is_claimed for _, is_claimed in decided))


def _decide(table: TargetTable) -> Iterator[tuple[bytes, bool]]:
    """Yield the key of each prefix of the table, and whether an address is claimed of which it is the longest."""
    divisions = (((shift, ours | others) for shift, ours, others in division) for division in table.divided)
    prefixes: dict[int, set[int]] = {}
    networks: Collection[int]
    for shift, networks in itertools.chain(table.excluded, table.claimed, *divisions):
        prefixes.setdefault(shift, set()).update(networks)
    all_claimed = not table.excluded and not table.divided  # else each takes a look-up
    for shift, networks in prefixes.items():
        shorter = _without_longer(table, shift)
        for network in networks:
            value = network << shift
            octets = value.to_bytes(ADDRESS_SIZE, "big")
            yield _PREFIX.pack(128 - shift, octets), all_claimed or shorter.match(octets, value) is Match.CLAIMED


def _without_longer(table: TargetTable, shift: int) -> TargetTable:
    """Return what `table` says of an address that is not live and in none of its prefixes longer than 128 - `shift`."""
    return TargetTable(
        frozenset(),
        tuple(entry for entry in table.claimed if entry[0] >= shift),
        tuple(entry for entry in table.excluded if entry[0] >= shift),
        tuple(tuple(entry for entry in division if entry[0] >= shift) for division in table.divided),
    )


def own_entries(state: UplinkState | None) -> Entries:
    """Return the addresses that are never answered for; the uplink's own never ask either."""
    if state is None:
        return Entries(b"", b"", 0)
    others = state.gateways | state.anycast
    kinds = {**dict.fromkeys(others, _OTHERS), **dict.fromkeys(state.own_addresses, _OWN)}
    return _entries(kinds, kinds.values())


def setup(state: UplinkState | None, policy: Policy, claimed: bool) -> bytes:
    """Return the settings; `claimed` is whether claimed targets are answered for, without a state nothing is."""
    if state is None:
        return bytes(SETUP.size)
    answers = _MULTICAST_LIVE | (_UNICAST_LIVE if policy.unicast != "never" else 0)
    if claimed:
        answers |= _MULTICAST_CLAIMED | (_UNICAST_CLAIMED if policy.unicast == "always" else 0)
    flags = SOLICITED_FLAG | router_flag(state, policy)
    of_claimed, of_live = (flags | override_flag(policy, is_live) for is_live in (False, True))
    ethernet = state.lladdr + ETH_P_IPV6.to_bytes(2, "big")
    return SETUP.pack(ethernet, _TARGET_OPTION + state.lladdr, answers, of_claimed | of_live << 8)


def recent_targets(octets: bytes) -> list[bytes]:
    """Return the targets that the program noted, the latest first; `octets` are all its places."""
    noted = [
        (answered_ns, struct.pack("=QQ", first, second))
        for first, second, answered_ns, check in RECENT.iter_unpack(octets)
        if answered_ns and first ^ second ^ answered_ns == check  # else two processors wrote it at a time
    ]
    return [target for _, target in sorted(noted, reverse=True)]
