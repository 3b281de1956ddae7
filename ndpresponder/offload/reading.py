"""Choose how much of a flood the daemon reads: as much as it has time for, by what it read since it looked last.

A program that holds back too little fills the second ring, which costs a requester that is new its answer. One that
holds back too much costs those that flood theirs.
"""

import operator
from typing import Final, NamedTuple

from ndpresponder.linux.loop import waited_s
from ndpresponder.linux.packet.sender import BATCH
from ndpresponder.offload.flood_program import Shares
from ndpresponder.policy.overload import Overload

SETTLE_S: Final = 0.02  # a full ring is read by then
_BUSY: Final = 0.97  # of what can be read at most is asked for
_WAKING: Final = 12  # frames take as long as to wait for them and to wake up
_FIRST_SHARES: Final = Shares(1 / 8, 1 / 8, 1 / 8)
_LESS: Final = 3 / 4  # at least, when the ring was filled faster than it was read
_MORE: Final = 1.25  # times as much at most after that: what others took from this process may have been the reason
_MOST_AT_ONCE: Final = 8.0  # before that
_AT_ONCE: Final = 1.25  # a change of so many times is not left to the next program


class Read(NamedTuple):
    """What an uplink had read of a flood at some time, or between two times."""

    at_s: float
    waited_s: float  # for so long the loop had nothing to do
    frames: int
    batches: int
    from_known: int
    from_guarded: int
    crowded: int  # frames that came while the ring was filled faster than it was read

    @property
    def busy(self) -> float:
        """Return how much was read, as a part of what can be read.

        That is the part of the time in which the loop had something to do, but for what it takes to wake up: at more
        frames a second each time finds more of them.
        """
        busy = 1 - self.waited_s / max(SETTLE_S, self.at_s)
        each_time = max(1.0, self.frames / max(1, self.batches))
        return max(1 / _MOST_AT_ONCE, busy * (1 + _WAKING / BATCH) / (1 + _WAKING / each_time))

    @property
    def parts(self) -> Shares:
        """Return which part came from those that each share is for."""
        known, guarded = (count / max(1, self.frames) for count in (self.from_known, self.from_guarded))
        return Shares(known, guarded, 1 - known - guarded)


class Reading:
    """The shares of one uplink that are read in a flood."""

    def __init__(self, overload: Overload) -> None:
        self._overload = overload
        self.shares = self.in_force = _FIRST_SHARES  # of the next program, and of the one in force
        self._most_at_once = _MOST_AT_ONCE
        self._before = Read(0, 0, 0, 0, 0, 0, 0)

    def begin_flood(self) -> None:
        """Choose the first shares of a flood: of known requesters as in the last one."""
        self.shares = _FIRST_SHARES._replace(known=max(_FIRST_SHARES.known, self.shares.known))
        self._most_at_once = _MOST_AT_ONCE

    def look(self, now_s: float) -> Read:
        """Return what was read since the last call."""
        over, before = self._overload, self._before
        self._before = Read(
            now_s, waited_s(), over.frames, over.batches, over.from_known, over.from_guarded, over.total
        )
        return Read(*map(operator.sub, self._before, before))

    def adapt(self, read: Read) -> bool:
        """Choose the next shares by what those in force had read; return whether they cannot wait."""
        if not read.frames:  # the flood pauses, and how busy this is says nothing of it
            return False
        times = min(self._most_at_once, _BUSY / read.busy)
        if read.crowded:
            self._most_at_once = _MORE
            times = max(_LESS, 1 - read.crowded / read.frames)
        self.shares = self.in_force.changed(times, read.parts)
        changes = [new / old for new, old in zip(self.shares, self.in_force, strict=True)]
        return bool(read.crowded) or max(changes) > _AT_ONCE or min(changes) < 1 / _AT_ONCE
