"""Word a fault in the configuration: its place, its key, the fault, the remedy.

`values`, `draft`, `toml_file` and `checks` decide what a fault is.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(eq=False)
class Wrong(ValueError):
    """One value is wrong: what is wrong with it, and what to do."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault, or one warning, in one line for a person."""

    where: str  # "FILE:LINE", "flag --prefix", "environment NDPRESPONDER_LOG"
    path: str  # "interface[0].prefixes[1]"; empty outside a file
    message: str
    hint: str

    def __str__(self) -> str:
        place = f"{self.where}: {self.path}" if self.path else self.where
        return printable(f"{place}: {self.message}; {self.hint}")


def printable(words: str) -> str:
    """Escape what would break a line or a terminal: names of files and keys may hold anything."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in words)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word most like this one, or an empty string."""
    import difflib  # only a mistake pays for the import

    folded = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else ""
