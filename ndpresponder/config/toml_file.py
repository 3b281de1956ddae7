"""Read a TOML file into a draft: every fault of the file is found at once and reported with its line.

It must never raise anything because of what the file holds, and never judge settings against each other
(`checks` does, once flags and environment are merged in).
"""

import errno
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from ndpresponder.config.bounded_file import MAX_BYTES, PATIENCE_S, NothingWritten, read_octets
from ndpresponder.config.draft import Given, Table
from ndpresponder.config.problem import Problem, Wrong, listed, nearest, printable
from ndpresponder.config.settings import Config, Key, keys, leaves
from ndpresponder.config.toml_lines import Path, locate
from ndpresponder.config.values import kind_of

VERSION = 1
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_NAMES = re.compile(r"\('(.*?)',?\)")  # `tomllib` shows names as a tuple
_SYNTAX_HINTS: Mapping[str, str] = {
    "Invalid value": 'write text in quotes, such as level = "info"',
    "Expected newline": 'write one key = value on each line, and text in quotes, such as level = "info"',
    "Illegal character '\\n'": "close the text with a quote on the same line",
    "Cannot": "a key or table stands there twice: keep one",
    "Expected '='": "write key = value, and the names of tables in brackets",
}


def read(name: str, problems: list[Problem]) -> Table:
    """Read one configuration file; what is wrong with it is added to the problems."""
    shown = printable(name)
    try:
        data = read_octets(name)
    except (OSError, ValueError) as error:
        problems.append(Problem(shown, "", *_unreadable(name, error)))
        return Table(shown, broken={"interface"})
    if len(data) > MAX_BYTES:
        problems.append(Problem(shown, "", "is larger than 1 MiB", "name a configuration file in TOML"))
        return Table(shown, broken={"interface"})
    return parse(data, shown, problems)


def parse(data: bytes, name: str, problems: list[Problem]) -> Table:
    """Read the bytes of a configuration file."""
    try:
        source = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.append(Problem(f"{name}:{line}", "", "is not UTF-8 text", "save the file as UTF-8"))
        return Table(name, broken={"interface"})
    try:
        raw = tomllib.loads(source)
        lines = locate(source.replace("\r\n", "\n"))
    except RecursionError:
        problems.append(Problem(name, "", "is nested too deeply", "no setting needs more than two levels"))
        return Table(name, broken={"interface"})
    except ValueError as error:  # TOMLDecodeError, or an integer of more than 4,300 digits
        problems.append(_syntax(name, source, str(error)))
        return Table(name, broken={"interface"})
    return _Reader(name, lines, problems).document(raw)


def _unreadable(name: str, error: OSError | ValueError) -> tuple[str, str]:
    """Say why a file cannot be read, and what to do."""
    path = FilePath(name)
    if isinstance(error, IsADirectoryError):
        return "is a directory", f"name the file in it, such as {path / 'ndpresponder.toml'}"
    if isinstance(error, PermissionError):
        return "cannot be read: permission denied", "let the user that runs ndpresponder read it (chmod, chown)"
    if isinstance(error, FileNotFoundError):
        if not path.parent.is_dir():
            return "does not exist", f"there is no directory {path.parent} either; check the path"
        try:
            names = os.listdir(path.parent)
        except OSError:
            names = []
        near = nearest(path.name, names)
        others = sorted(other for other in names if other.endswith(".toml"))[:3]
        beside = f"beside it there is {listed(others)}" if others else "check the path"
        return "does not exist", f"did you mean {path.parent / near}?" if near else beside
    if isinstance(error, NothingWritten):
        return f"is a pipe or a device, and {error} within {PATIENCE_S:g} s", "name a file, or write to it and close it"
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return "cannot be read: it is a socket, or a device that is not there", "name a configuration file in TOML"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"cannot be read: {reason}", "check the path"


def _syntax(name: str, source: str, message: str) -> Problem:
    """Word an error of `tomllib`, whose line stands at the end of its message."""
    position = _POSITION.search(message)
    if position is None:
        return Problem(name, "", "is not TOML: a number has far too many digits", "write a smaller number")
    what = message[: position.start()]
    line = int(position[1]) if position[1] else source.count("\n", 0, len(source.rstrip())) + 1
    hint = next((hint for start, hint in _SYNTAX_HINTS.items() if what.startswith(start)), "see https://toml.io")
    if not position[1]:
        hint = "close what is open: a bracket, a brace or a quote"
    what = _NAMES.sub(lambda names: names[1].replace("', '", "."), what)
    return Problem(f"{name}:{line}", "", f"is not TOML: {what[:1].lower()}{what[1:]}", hint)


class _Reader:
    """Check one parsed document against the declared keys."""

    def __init__(self, name: str, lines: dict[Path, int], problems: list[Problem]) -> None:
        self.name = name
        self.lines = lines
        self.problems = problems

    def where(self, path: Path) -> str:
        """Return FILE:LINE of a path, or of the nearest table around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.name}:{self.lines.get(path, 1)}"

    def report(self, path: Path, message: str, hint: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(self.where(path), dotted(path), message, hint))

    def document(self, raw: dict[str, Any]) -> Table:
        """Check the whole document."""
        if "version" not in raw:
            self.report(("version",), "missing", f"write version = {VERSION} as the first line")
        elif type(raw["version"]) is not int or raw["version"] != VERSION:
            self.report(("version",), f"must be {VERSION}, the only version there is", f"write version = {VERSION}")
        return self.table(Config, {name: raw[name] for name in raw if name != "version"}, ())

    def table(self, cls: type[Any], raw: dict[str, Any], path: Path) -> Table:
        """Check one table."""
        known = keys(cls)
        table = Table(self.where(path), dotted(path))
        for name, value in raw.items():
            here = (*path, name)
            key = known.get(name)
            if key is None:
                self.report(here, "unknown key", _advise(name, known, root=not path))
            elif key.table is None:
                self.value(table, key, value, here)
            elif key.many:
                self.array_of_tables(table, key, value, here)
            elif isinstance(value, dict):
                table.tables[name] = self.table(key.table, value, here)
            else:
                self.report(here, f"must be a table, not {kind_of(value)}", f"write [{name}] on its own line")
        for name, key in known.items():
            if key.required and name not in raw:
                self.report((*path, name), "missing", f"write {name} = {key.setting.example} in the table")
                table.broken.add(name)
        return table

    def value(self, table: Table, key: Key, value: object, path: Path) -> None:
        """Check one value, or each element of an array."""
        if not key.many:
            table.set(key, value, self.where(path), self.problems, dotted(path))
            return
        if not isinstance(value, list):
            table.broken.add(key.name)
            fix = f'write {key.name} = ["{value}"]' if isinstance(value, str) else "write it in square brackets"
            self.report(path, f"must be an array, not {kind_of(value)}", fix)
            return
        found, places = [], []
        for number, element in enumerate(value):
            try:
                found.append(key.parse(element))
                places.append(self.where((*path, number)))
            except Wrong as wrong:
                table.broken.add(key.name)
                self.report((*path, number), wrong.message, wrong.hint)
        table.values[key.name] = Given(tuple(found), self.where(path), dotted(path), tuple(places))

    def array_of_tables(self, table: Table, key: Key, value: object, path: Path) -> None:
        """Check an array of tables."""
        assert key.table is not None
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            what = kind_of(value) if not isinstance(value, list) else "an array of other things"
            self.report(path, f"must be an array of tables, not {what}", f"write [[{key.name}]] in double brackets")
            table.broken.add(key.name)
            value = [value] if isinstance(value, dict) else []
        table.arrays[key.name] = [self.table(key.table, each, (*path, n)) for n, each in enumerate(value)]


def dotted(path: Path) -> str:
    """Write a path as text: interface[0].prefixes[1]."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _header(path: tuple[str, ...]) -> str:
    """Write the line that opens a table."""
    table: Any = Config
    for step in path:
        key = keys(table)[step]
        table = key.table
    return f"[[{'.'.join(path)}]]" if key.many else f"[{'.'.join(path)}]"


def _advise(name: str, known: dict[str, Key], root: bool) -> str:
    """Say what an unknown key was probably meant to be."""
    candidates = [*known, "version"] if root else list(known)
    near = nearest(name, candidates)
    if near:
        return f"did you mean {near}?"
    for path, _ in leaves():
        if path[-1] == name and len(path) > 1:
            return f"it belongs into {_header(path[:-1])}"
    return f"known here: {listed(candidates)}"
