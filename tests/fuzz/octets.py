"""Decisions out of octets, so that a fuzzer that only knows octets can make any: front to back, zeros when used up.

`Octets` reads them, `packet` writes what `Octets.packet` reads, for seeds. It must read the same from the same octets
for ever, or the kept corpus loses its meaning.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Octets:
    """A cursor over the fuzzer's octets."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._octets)

    def take(self, count: int) -> bytes:
        """Return the next `count` octets, fewer at the end."""
        taken = self._octets[self._at : self._at + count]
        self._at += count
        return taken

    def byte(self) -> int:
        """Return the next octet, 0 at the end."""
        return self.take(1)[0] if self else 0

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of `choices`."""
        return choices[self.byte() % len(choices)]

    def some(self, choices: Sequence[T]) -> list[T]:
        """Return those of up to 16 `choices` whose bit is set in the next two octets."""
        bits = self.byte() << 8 | self.byte()
        return [choice for place, choice in enumerate(choices) if bits >> place & 1]

    def packet(self) -> bytes:
        """Return as many octets as the next two say, which are a length of at most 2,047."""
        return self.take((self.byte() << 8 | self.byte()) & 0x7FF)

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._octets))


def packet(octets: bytes) -> bytes:
    """Return what `Octets.packet` reads as `octets`."""
    return len(octets).to_bytes(2, "big") + octets
