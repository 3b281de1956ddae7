"""Estimate how often each Ethernet source solicited lately, in memory of a fixed size. Pure."""

from typing import Final

MODEST: Final = 4  # solicitations of an unknown requester in two seconds: a router sends one a second for a target
FLOODS: Final = 8  # and in one, if the kernel is to hold back its station; fewer where it lets few through
_CELLS_BITS: Final = 18
_CELLS: Final = 1 << _CELLS_BITS


class RecentRates:
    """How often each station solicited in this second and the last, estimated never too low."""

    __slots__ = ("_before", "_now", "floods")

    def __init__(self) -> None:
        self._now = self._before = bytearray()
        self.floods = FLOODS

    def turn(self) -> None:
        """Begin another second."""
        self._before, self._now = self._now, bytearray(_CELLS)
        if not self._before:
            self._before = bytearray(_CELLS)

    def ask(self, station: bytes) -> int:
        """Count that a station asks once more; return its rank.

        0: it waits for an answer; `MODEST`: it asks too much; `FLOODS`: far too much.
        """
        if not self._now:
            self.turn()
        now, before = self._now, self._before
        number = hash(station)  # another one in each process, so that nobody can meet it
        one, other = number & _CELLS - 1, number >> _CELLS_BITS & _CELLS - 1
        first, second = now[one], now[other]  # of which the smaller has fewer others in it
        count = first if first < second else second
        if count < FLOODS:
            count += 1
            if first < count:
                now[one] = count
            if second < count:
                now[other] = count
        first, second = before[one], before[other]
        last = first if first < second else second
        if count >= self.floods:
            return FLOODS
        if count + last > MODEST:
            return MODEST
        return 0 if last else count
