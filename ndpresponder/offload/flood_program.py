"""The classic BPF programs of a flood: the kernel holds back most solicitations.

The rules of the program that says which member of a fanout group gets a frame, in this order:

1. A frame that the program without a flood does not have read is counted as before.
2. Spared stations, by their link-layer address, and gateways, by their IPv6 address, are read. All that is read by
   the rules that follow goes to a ring of its own: it may be full, and these must not lose by it.
3. Of a guarded station, in whose name there is a flood, its own IPv6 sources are read, and those that flood by chance,
   by a share of their own: a new router must not lose by it. Next to nothing is read of its other sources.
4. Of the few known requesters that flood a share is read by chance, of the others that flood next to nothing.
5. Of all others another share is read by chance.

Thousands of stations that flood have no room in a search. Each is hashed to one of `BUCKETS` bits, which the program
holds as words: a few other stations share a bit with one that floods, and others with another salt. Only a host that
knows the salt can choose to. What the kernel holds back ends as `overloaded`.

Pure.
"""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from ndpresponder.offload import fanout_members as members
from ndpresponder.offload.counting_program import merged
from ndpresponder.policy.overload import Spared
from ndpresponder.wire import classic_bpf as bpf
from ndpresponder.wire.classic_bpf import Instruction, Label, Program, Ranges, Writer
from ndpresponder.wire.filters import SOLICITATIONS_OF_THE_LINK, WHOLE_FRAME
from ndpresponder.wire.layout import ETH_P_IPV6, ETHER_TYPE, ETHERNET_SOURCE, SOURCE

LEAST_SHARE: Final = 1 / 64  # is read, by chance, of the stations that flood
MOST_SHARE: Final = 63 / 64
UNREAD_SHARE: Final = 1 / 1024  # is left for a successor to read: a flood takes ten seconds to fill the ring with that
_NOTHING: Final = 1e-9  # of what is read: a class that sent nothing is given all that it may have
BUCKETS: Final = 1 << 15
_BUCKET_SHIFT: Final = 32 - 15
_SEARCHED: Final = 256  # stations that flood are searched for one by one
_RANDOM: Final = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_STATION: Final = members.LINK_LAYER + ETHERNET_SOURCE.start
_SOURCE: Final = members.of_ip(SOURCE.start)
_MOST: Final = 0xFFFFFFFF


class Shares(NamedTuple):
    """What is read, by chance, in a flood."""

    known: float  # of the few requesters that are known and flood
    guarded: float  # of a guarded station's own sources that flood
    others: float  # of all that is neither spared nor known to flood

    def changed(self, times: float, parts: "Shares") -> "Shares":
        """Return the shares with which so many times as much is read.

        `parts` says which part of what was read came from each of the three. The known requesters gain last, and lose
        first. The guarded sources and the others have half each, and what the other half leaves.
        """
        sent = Shares(*(part / share for part, share in zip(parts, self, strict=True)))
        left = max(times - sent.known * LEAST_SHARE, (1 - parts.known) * min(1, times))
        others = _within(max(left / 2, left - sent.guarded) / max(_NOTHING, sent.others))
        left -= others * sent.others
        guarded = _within(left / sent.guarded) if parts.guarded else others
        left = times - others * sent.others - guarded * sent.guarded
        return Shares(_within(left / sent.known) if parts.known else LEAST_SHARE, guarded, others)


AT_LEAST: Final = Shares(LEAST_SHARE, LEAST_SHARE, LEAST_SHARE)


def _within(share: float) -> float:
    return min(MOST_SHARE, max(LEAST_SHARE, share))


def hold_back(program: Program, shares: Shares, spared: Spared) -> Program:
    """Return `program`, but of what it has read most is held back.

    Each program ends where it has decided that a frame be read: there this goes on.
    """
    writer = Writer()
    read, chosen, held, guarded, by_chance, often, rarely = (Label() for _ in range(7))
    writer.expect(bpf.LOAD_HALF, members.LINK_LAYER + ETHER_TYPE.start, ETH_P_IPV6, read)
    members.require_solicitation(writer, read)
    writer.search(_stations(spared.stations), _STATION, 64, read)
    for station, sources in spared.guarded.items():
        in_its_name, beside = Label(), Label()
        writer.search(_stations([station]), _STATION, 64, in_its_name)
        writer.jump(beside)
        writer.mark(in_its_name)
        for is_kept, label in ((True, read), (False, guarded)):
            writer.search(merged(each for each, kept in sources.items() if kept is is_kept), _SOURCE, 128, label)
        writer.jump(rarely)
        writer.mark(beside)
    writer.search(merged(spared.gateways), _SOURCE, 128, read)
    writer.search(_stations(spared.known), _STATION, 64, often)
    if len(spared.flooding) > _SEARCHED:
        _search_many(writer, spared.flooding, spared.salt, rarely)
    else:
        writer.search(_stations(spared.flooding), _STATION, 64, rarely)
    chances = (by_chance, shares.others), (guarded, shares.guarded), (often, shares.known), (rarely, LEAST_SHARE)
    for label, share in chances:
        writer.mark(label)
        writer.put(bpf.LOAD_WORD, _RANDOM)
        writer.test(bpf.JUMP_IF_AT_LEAST, int(share * (1 << 32)), held, chosen)
    writer.mark(chosen)
    writer.put(bpf.RETURN, members.FLOOD)
    writer.mark(held)
    members.count_by_kind(writer, members.HELD_BACK)
    writer.mark(read)
    writer.put(bpf.RETURN, members.READ)
    end = writer.program()
    return (*(program if len(program) + len(end) <= bpf.MAX_INSTRUCTIONS else members.READ_LINK)[:-1], *end)


def _stations(lladdrs: Iterable[bytes]) -> Ranges:
    """Return what stands from the source on in the Ethernet headers of these: the address and the EtherType."""
    return [(value, value) for value in sorted(int.from_bytes(each) << 16 | ETH_P_IPV6 for each in lladdrs)]


def bucket_of(station: bytes, salt: int) -> int:
    """Return the bucket of a station."""
    high, low = _factors(salt)
    return (int.from_bytes(station[:4]) * high + int.from_bytes(station[4:]) * low & _MOST) >> _BUCKET_SHIFT


def _search_many(writer: Writer, stations: Collection[bytes], salt: int, inside: Label) -> None:
    """Go on at `inside` if the bit of the station's bucket is set."""
    words = [0] * (BUCKETS // 32)
    for bucket in {bucket_of(station, salt) for station in stations}:
        words[bucket >> 5] |= 1 << (bucket & 31)
    outside, put = Label(), writer.put
    high, low = _factors(salt)
    put(bpf.LOAD_HALF, _STATION + 4)
    put(bpf.MULTIPLY, low)
    put(bpf.TO_X)
    put(bpf.LOAD_WORD, _STATION)
    put(bpf.MULTIPLY, high)
    put(bpf.ADD_X)
    put(bpf.SHIFT_RIGHT, _BUCKET_SHIFT)
    put(bpf.STORE, 0)
    put(bpf.AND, 31)
    put(bpf.TO_X)
    put(bpf.LOAD, 1)
    put(bpf.SHIFT_LEFT_X)
    put(bpf.TO_X)
    put(bpf.LOAD_STORED, 0)
    put(bpf.SHIFT_RIGHT, 5)
    _choose_word(writer, words, 0, inside, outside)
    writer.mark(outside)


def _choose_word(writer: Writer, words: list[int], first: int, inside: Label, outside: Label) -> None:
    """Write the choice among words by the number that is loaded, where the first has the number `first`."""
    if len(words) == 1:
        writer.put(bpf.LOAD, words[0])
        writer.test(bpf.JUMP_IF_SET_X, 0, inside, outside)
        return
    middle = len(words) // 2
    lower, upper = (Label() if any(half) else outside for half in (words[:middle], words[middle:]))
    writer.test(bpf.JUMP_IF_AT_LEAST, first + middle, upper, lower)
    for half, label, start in ((words[:middle], lower, first), (words[middle:], upper, first + middle)):
        if label is not outside:
            writer.mark(label)
            _choose_word(writer, half, start, inside, outside)


def _factors(salt: int) -> tuple[int, int]:
    return salt & _MOST | 1, salt >> 32 & _MOST | 1


def left_in_flood(spared: Spared) -> Program:
    """Return the filter of a socket that nobody reads for a moment in a flood, from one process to the next.

    Half a second of a flood fills the ring, so that the gateway's solicitations would be dropped with the others. It
    decides as `hold_back` does, but counts nothing. A filter starts at the frame, not at the IPv6 header.
    """
    *head, _, refused = SOLICITATIONS_OF_THE_LINK
    stations = [*spared.stations, *spared.guarded]
    shares = Shares(UNREAD_SHARE, UNREAD_SHARE, UNREAD_SHARE)
    program = hold_back(members.READ_ALL, shares, Spared(stations, gateways=spared.gateways))
    return (*head, Instruction(bpf.JUMP, 0, 0, 1), refused, *map(_of_filter, program))


def _of_filter(each: Instruction) -> Instruction:
    if each.code == bpf.RETURN:
        return each._replace(operand=WHOLE_FRAME if each.operand in (members.READ, members.FLOOD) else 0)
    if each.code in (bpf.LOAD_BYTE, bpf.LOAD_HALF, bpf.LOAD_WORD) and each.operand < members.LINK_LAYER:
        return each._replace(operand=each.operand - members.of_ip(0))
    return each
