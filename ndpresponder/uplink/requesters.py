"""Remember the requesters and gateways of one uplink, and choose which of them it answers under overload.

Each memory is bounded, and the first requesters to come cannot fill it: see `KnownRequesters`, `ConfirmedGateways` and
`GatewaysSeen`. Of what a predecessor kept, octets that are no memory are refused as they are read, and facts that
cannot be true are left out where they are taken over.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from ndpresponder.linux.netlink import Link
from ndpresponder.observe.tally import Tally
from ndpresponder.outcome import Outcome
from ndpresponder.policy.confirmed_gateways import Confirmation, ConfirmedGateways
from ndpresponder.policy.known_requesters import KnownRequester, KnownRequesters
from ndpresponder.policy.overload import Overload
from ndpresponder.wire.layout import REQUESTER

MAX_GATEWAYS: Final = 1024  # without a route now; anybody can make up any number in router advertisements
_ADDRESS_LENGTH: Final = 16
_ABSENT_S: Final = 3600.0  # until one that has no route is the first to be forgotten
_VERSION: Final = 1
MAX_KNOWN: Final = 4096  # of all uplinks together, those that asked last: some 110 octets each


class Memory(NamedTuple):
    """What one uplink remembers, for a successor; the times are those of the monotonic clock that both share."""

    in_flood: bool
    gateways: list[bytes]
    confirmed: list[Confirmation]
    known: list[KnownRequester]


class Requesters:
    """The memory of one uplink."""

    def __init__(
        self, known: KnownRequesters, recall: Callable[[bytes], object], tally: Tally, clock: Callable[[], float]
    ) -> None:
        """Count in `tally` what is not answered; `recall` finds an answer that was given before."""
        self.known = known
        self.confirmed = ConfirmedGateways(clock)
        self.gateways = GatewaysSeen(clock)
        self.overload = Overload(known, self.confirmed, self.gateways.seen_s, clock, recall)
        self._tally = tally
        self.was_flooded = False  # when a predecessor ended

    def follow_link(self, link: Link) -> Link:
        """Remember the gateways of a link; return it with those first that are to be served first.

        A gateway whose station was confirmed goes before one that is merely named in a router advertisement.
        """
        self.gateways.follow_link(link)
        seen = [each for each in self.gateways.seen_s if each in link.gateways]
        return replace(link, longest_known=tuple(sorted(seen, key=lambda each: not self.confirmed.has(each))))

    def remember(self, most: int) -> Memory:
        """Return what a successor is to know: of the known requesters at most so many."""
        return Memory(
            self.overload.would_fill_the_ring,
            list(self.gateways.seen_s),
            self.confirmed.confirmations(),
            self.known.to_keep(most),
        )

    def restore(self, memory: Memory) -> None:
        """Know what a predecessor knew; what cannot be is left out."""
        self.was_flooded = memory.in_flood
        self.gateways.restore(memory.gateways)
        self.confirmed.restore(memory.confirmed)
        self.known.restore(memory.known)

    def admit(self, frames: list[bytes], backlogged: bool) -> list[bytes]:
        """Return the frames of one batch that are answered; the others are counted.

        `backlogged` says that the ring is filled faster than it is read.
        """
        self.overload.read += len(frames)
        if not backlogged and not self.overload.flooded:
            if frames:
                self.known.use(frames[0][REQUESTER])  # of many at once that must do
            return frames
        chosen, others = self.overload.thin(frames, backlogged)
        for kind, count in enumerate(others):
            self._tally.received[kind] += count
        self._tally.ended[Outcome.OVERLOADED] += len(frames) - len(chosen)
        return chosen


class GatewaysSeen:
    """Every default gateway that was ever seen on a link: they stay who they are while a route is missing.

    Those configured by hand stay, and those that have a route; of too many others those that were seen first.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.seen_s: dict[bytes, float] = {}  # -> when it had a route last; the longest seen first
        self._fixed: set[bytes] = set()

    def restore(self, gateways: list[bytes]) -> None:
        """Remember those that a predecessor saw, in its order."""
        self.seen_s.update({each: self._clock() for each in gateways[:MAX_GATEWAYS] if len(each) == _ADDRESS_LENGTH})

    def follow_link(self, link: Link) -> None:
        """Remember the gateways of a link as it is now."""
        now_s = self._clock()
        self._fixed |= link.static_gateways
        self.seen_s.update(dict.fromkeys(sorted(link.gateways), now_s))
        absent = [each for each in self.seen_s if each not in link.gateways and each not in self._fixed]
        absent.sort(key=lambda each: now_s - self.seen_s[each] >= _ABSENT_S)  # else those seen for longest come first
        for each in absent[MAX_GATEWAYS:]:
            del self.seen_s[each]


def encode_memories(memories: Mapping[str, Memory]) -> bytes:
    """Return the memories of some uplinks, by their names, as octets."""
    uplinks = {name: each._asdict() for name, each in memories.items()}
    return json.dumps({"version": _VERSION, "uplinks": uplinks}, default=bytes.hex).encode()


def decode_memories(data: bytes) -> dict[str, Memory]:
    """Return the memories in `data`.

    Raises:
        ValueError: it holds none.
    """
    try:
        whole = json.loads(data)
        if whole["version"] != _VERSION:
            raise ValueError(f"they are of version {whole['version']}")
        return {str(name): _memory(each) for name, each in whole["uplinks"].items()}
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError("they are no memories") from error


def _memory(each: Any) -> Memory:
    return Memory(
        each["in_flood"] is True,
        [bytes.fromhex(gateway) for gateway in each["gateways"]],
        [
            Confirmation(bytes.fromhex(gateway), bytes.fromhex(station), float(last_s))
            for gateway, station, last_s in each["confirmed"]
        ],
        [KnownRequester(bytes.fromhex(who), float(since_s), float(last_s)) for who, since_s, last_s in each["known"]],
    )
