"""The classic BPF program of a packet fanout group in a flood: most of what strangers ask is held back.

Pure. It ends as `overloaded`, whatever it is.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from ndpresponder.offload.counting_program import merged
from ndpresponder.offload.fanout_members import (
    HELD_BACK,
    LINK_LAYER,
    READ,
    READ_LINK,
    by_kind,
    of_ip,
    require_solicitation,
)
from ndpresponder.offload.many_requesters import one_of_many
from ndpresponder.policy.overload import Spared
from ndpresponder.wire.classic_bpf import JUMP_IF_AT_LEAST, MAX_INSTRUCTIONS, Program, Ranges, Writer
from ndpresponder.wire.filters import JUMP_IF_EQUAL, LOAD_HALF, LOAD_WORD, RETURN
from ndpresponder.wire.layout import ETH_P_IPV6, ETHER_TYPE, ETHERNET_SOURCE, SOURCE

LEAST_SHARE: Final = 1 / 64  # is read, by chance, of the stations that flood
MOST_SHARE: Final = 63 / 64
_SEARCHED: Final = 256  # flooding stations are searched for one by one
_RANDOM: Final = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM


class Shares(NamedTuple):
    """What is read, by chance, in a flood."""

    known: float  # of the few requesters that are known and flood
    others: float  # of all that is neither spared nor known to flood

    def changed(self, times: float, known_part: float) -> "Shares":
        """Return the shares with which so many times as much is read.

        `known_part` of what is read came from known requesters that flood: the others gain first, and lose last.
        """
        known, others = self
        others_part = max(1e-9, 1 - known_part)
        new_others = _within(others * (times - known_part * LEAST_SHARE / known) / others_part)
        if not known_part:
            return Shares(LEAST_SHARE, new_others)
        return Shares(_within(known * (times - others_part * new_others / others) / known_part), new_others)


def _within(share: float) -> float:
    return min(MOST_SHARE, max(LEAST_SHARE, share))


def hold_back(program: Program, shares: Shares, spared: Spared) -> Program:
    """Return `program`, but of the solicitations that it has read only the `shares` are read, by chance.

    All is read of the spared stations, by their link-layer address, and of the gateways, by their IPv6 address. Of the
    stations that flood, and with this salt of some others where those are many, next to nothing is; nor of those
    guarded, but from their IPv6 sources: all if it says so, else the share. Each program ends where it has decided that
    a frame be read: there this goes on.
    """
    writer = Writer()
    put = writer.put
    read = put(RETURN, READ)
    held = by_kind(writer, HELD_BACK)
    by_chance, often, rarely = (
        _by_chance(writer, share, held, read) for share in (shares.others, shares.known, LEAST_SHARE)
    )
    station, source = LINK_LAYER + ETHERNET_SOURCE.start, of_ip(SOURCE.start)
    then = by_chance
    if len(spared.flooding) > _SEARCHED:
        then = one_of_many(writer, spared.flooding, spared.salt, station, rarely, then)
    elif spared.flooding:
        then = writer.search(_stations(spared.flooding), station, 64, rarely, then)
    if spared.known:
        then = writer.search(_stations(spared.known), station, 64, often, then)
    then = writer.search(merged(spared.gateways, 0, ()), source, 128, read, then)
    for guard, its_own in spared.guarded.items():
        one_of = rarely
        for kept, label in ((False, by_chance), (True, read)):
            some = [each for each, is_kept in its_own.items() if is_kept is kept]
            one_of = writer.search(merged(some, 0, ()), source, 128, label, one_of)
        then = writer.search(_stations([guard]), station, 64, one_of, then)
    writer.search(_stations(spared.stations), station, 64, read, then)
    require_solicitation(writer, read)
    writer.require(JUMP_IF_EQUAL, ETH_P_IPV6, read)
    writer.put(LOAD_HALF, LINK_LAYER + ETHER_TYPE.start)
    end = writer.program()
    return (*(program if len(program) + len(end) <= MAX_INSTRUCTIONS else READ_LINK)[:-1], *end)


def _by_chance(writer: Writer, share: float, held: int, read: int) -> int:
    writer.put(JUMP_IF_AT_LEAST, int(share * (1 << 32)), held, read)
    return writer.put(LOAD_WORD, _RANDOM)


def _stations(lladdrs: Iterable[bytes]) -> Ranges:
    """Return what stands from the source on in the Ethernet headers of these: the address and the EtherType."""
    return [(value, value) for value in sorted(int.from_bytes(each) << 16 | ETH_P_IPV6 for each in lladdrs)]
