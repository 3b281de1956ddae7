"""Find the line on which each key and each array element of a TOML document stands.

`tomllib` keeps no line numbers. This scanner reads the structure only and expects a document that `tomllib`
has accepted; on any other text it may return nonsense, but it always ends. It must never be asked for values.
"""

import re
import tomllib

Path = tuple[str | int, ...]

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE = re.compile(r"[^\s,=\[\]{}#\"']+")  # a number, a word, the first half of a date and time
_TIME = re.compile(r"\d\d:[^\s,=\[\]{}#\"']+")  # its other half
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"[ \t]*")


class _Scanner:
    """Walk over one document and note the line of each path."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.counted_to = 0
        self.line = 1
        self.lines: dict[Path, int] = {}
        self.arrays: dict[Path, int] = {}  # arrays of tables: how many tables so far

    def scan(self) -> None:
        """Read the whole document, statement by statement."""
        table: Path = ()
        while self._next():
            before = self.at
            if self.source.startswith("[", self.at):
                table = self._header()
            else:
                self._pair(table)
            self.at = max(self.at, before + 1)

    def _next(self) -> str:
        """Skip space, line ends and comments, and return the character found there."""
        self.at = self._end(_SPACE)
        return self.source[self.at : self.at + 1]

    def _end(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.source, self.at)
        return match.end() if match else self.at

    def _line(self) -> int:
        self.line += self.source.count("\n", self.counted_to, self.at)
        self.counted_to = self.at
        return self.line

    def _header(self) -> Path:
        """Read `[a.b]` or `[[a.b]]` and return the path of the table it opens."""
        line = self._line()
        repeated = self.source.startswith("[[", self.at)
        self.at += 2 if repeated else 1
        names = self._dotted()
        self.at += 2 if repeated else 1
        if repeated:
            array = (*self._descend((), names[:-1], line), names[-1])
            self.arrays[array] = self.arrays.get(array, 0) + 1
        path = self._descend((), names, line)
        self.lines[path] = line  # a longer name may have implied the table before this line
        return path

    def _descend(self, path: Path, names: list[str], line: int) -> Path:
        """Follow names from a table; in an array of tables that is its latest table."""
        for name in names:
            path = (*path, name)
            self.lines.setdefault(path, line)
            if path in self.arrays:
                path = (*path, self.arrays[path] - 1)
                self.lines.setdefault(path, line)
        return path

    def _dotted(self) -> list[str]:
        """Read a key such as `a."b c".d`."""
        names = []
        while True:
            self.at = self._end(_BLANK)
            start = self.at
            if self.source[start : start + 1] in ('"', "'"):
                self.at = self._end(_STRING)
                names.append(tomllib.loads(f"k={self.source[start : self.at]}")["k"])
            else:
                self.at = self._end(_KEY)
                names.append(self.source[start : self.at])
            self.at = self._end(_BLANK)
            if not self.source.startswith(".", self.at):
                return names
            self.at += 1

    def _pair(self, table: Path) -> None:
        """Read `key = value` within a table."""
        line = self._line()
        path = self._descend(table, self._dotted(), line)
        self.at += 1  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        """Read a value: an array, an inline table, a string, or a bare word up to what ends it."""
        opening = self._next()
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        elif opening in ('"', "'"):
            self.at = self._end(_STRING)
        else:
            self.at = self._end(_BARE)
            if self._next().isdigit():
                self.at = self._end(_TIME)

    def _array(self, path: Path) -> None:
        self.at += 1
        number = 0
        while self._next() not in ("]", ""):
            before = self.at
            self.lines[(*path, number)] = self._line()
            self._value((*path, number))
            number += 1
            if self._next() == ",":
                self.at += 1
            self.at = max(self.at, before + 1)
        self.at += 1

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while self._next() not in ("}", ""):
            before = self.at
            self._pair(path)
            if self._next() == ",":
                self.at += 1
            self.at = max(self.at, before + 1)
        self.at += 1


def locate(source: str) -> dict[Path, int]:
    """Return the line, counted from 1, of every key and array element of a valid TOML document.

    Raises: RecursionError, where `tomllib` would raise it too.
    """
    scanner = _Scanner(source)
    scanner.scan()
    return scanner.lines
