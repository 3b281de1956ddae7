"""Check raw tables, of a file, of flags or of the environment, against the declared keys.

A raw table is what `tomllib` would return, with the place of each value beside it. Of these the checker makes a draft,
in which layers are merged and which becomes the settings tree. A draft never holds a value that its key refuses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from ndpresponder.config.declaration import Key, keys
from ndpresponder.config.problem import Problem, Wrong, nearest
from ndpresponder.config.settings import Config, leaves
from ndpresponder.config.values import kind_of

T = TypeVar("T")
Path = tuple[str | int, ...]

VERSION = 1


@dataclass(frozen=True, slots=True)
class Given:
    value: Any
    where: str
    path: str = ""  # "interface[0].prefixes"; empty outside a file
    items: tuple["Given", ...] = ()

    def problem(self, message: str, hint: str) -> Problem:
        return Problem(self.where, self.path, message, hint)

    def joined(self, other: "Given") -> "Given":
        """Return the array of both, as if all stood where this one does."""
        return Given(self.value + other.value, self.where, self.path, self.items + other.items)


NOT_GIVEN: Final = Given(None, "default")


@dataclass(slots=True)
class Table:
    where: str = ""
    path: str = ""  # "interface[0]"; empty for the root and outside a file
    values: dict[str, Given] = field(default_factory=dict)
    tables: dict[str, "Table"] = field(default_factory=dict)
    arrays: dict[str, list["Table"]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)  # keys that were given, but wrongly

    def of(self, key: str) -> Any:
        """Return the value of a key, or None."""
        return self.values.get(key, NOT_GIVEN).value

    def items(self, key: str) -> tuple[Given, ...]:
        return self.values.get(key, NOT_GIVEN).items

    def problem(self, message: str, hint: str) -> Problem:
        return Problem(self.where, self.path, message, hint)


class Checker:
    """Check the raw tables of one file, or of one layer of flags or variables."""

    def __init__(self, places: Mapping[Path, str], problems: list[Problem], is_file: bool) -> None:
        self._places = places  # a path that is not there stands where the table around it does
        self._problems = problems
        self._is_file = is_file  # only there keys can be missing, and paths tell a person something

    def _where(self, path: Path) -> tuple[str, str]:
        """Return the place of a path, and the path as text: interface[0].prefixes[1]."""
        place = path
        while place and place not in self._places:
            place = place[:-1]
        steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        return self._places.get(place, ""), steps.removeprefix(".") if self._is_file else ""

    def _report(self, path: Path, message: str, hint: str) -> None:
        self._problems.append(Problem(*self._where(path), message, hint))

    def document(self, raw: dict[str, Any]) -> Table:
        if "version" not in raw:
            self._report(("version",), "missing", f"write version = {VERSION} as the first line")
        elif type(raw["version"]) is not int or raw["version"] != VERSION:
            self._report(("version",), f"must be {VERSION}, the only version there is", f"write version = {VERSION}")
        return self.table(Config, {name: raw[name] for name in raw if name != "version"})

    def table(self, cls: type[Any], raw: dict[str, Any], path: Path = ()) -> Table:
        known = keys(cls)
        table = Table(*self._where(path))
        for name, value in raw.items():
            here = (*path, name)
            key = known.get(name)
            if key is None:
                self._report(here, "unknown key", _advise(name, known, root=not path))
            elif key.table is None:
                self.value(table, key, value, here)
            elif key.many:
                self._array_of_tables(table, key, value, here)
            elif isinstance(value, dict):
                table.tables[name] = self.table(key.table, value, here)
            else:
                self._report(here, f"must be a table, not {kind_of(value)}", f"write [{name}] on its own line")
        for name, key in known.items():
            if key.required and name not in raw and self._is_file:
                self._report((*path, name), "missing", f"write {name} = {key.example} in the table")
                table.broken.add(name)
        return table

    def value(self, table: Table, key: Key, value: object, path: Path) -> None:
        if not key.many:
            found = self._parsed(table, key, value, path)
            if found is not None:
                table.values[key.name] = found
        elif isinstance(value, list):
            each = (self._parsed(table, key, element, (*path, n)) for n, element in enumerate(value))
            items = tuple(filter(None, each))
            table.values[key.name] = Given(tuple(item.value for item in items), *self._where(path), items)
        else:
            table.broken.add(key.name)
            fix = f'write {key.name} = ["{value}"]' if isinstance(value, str) else "write it in square brackets"
            self._report(path, f"must be an array, not {kind_of(value)}", fix)

    def _parsed(self, table: Table, key: Key, raw: object, path: Path) -> Given | None:
        try:
            return Given(key.parse(raw), *self._where(path))
        except Wrong as wrong:
            table.broken.add(key.name)
            self._report(path, wrong.message, wrong.hint)
            return None

    def _array_of_tables(self, table: Table, key: Key, value: object, path: Path) -> None:
        assert key.table is not None
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            kind = kind_of(value) if not isinstance(value, list) else "an array of other things"
            self._report(path, f"must be an array of tables, not {kind}", f"write [[{key.name}]] in double brackets")
            table.broken.add(key.name)
            value = [value] if isinstance(value, dict) else []
        table.arrays[key.name] = [self.table(key.table, each, (*path, n)) for n, each in enumerate(value)]


def _advise(name: str, known: dict[str, Key], root: bool) -> str:
    candidates = [*known, "version"] if root else list(known)
    if near := nearest(name, candidates):
        return f"did you mean {near}?"
    for path, _ in leaves():
        if path[-1] == name and len(path) > 1:
            return f"it belongs into {_header(path[:-1])}"
    return f"known here: {', '.join(candidates)}"


def _header(path: tuple[str, ...]) -> str:
    table: Any = Config
    for step in path:
        key = keys(table)[step]
        table = key.table
    return f"[[{'.'.join(path)}]]" if key.many else f"[{'.'.join(path)}]"


def lay(base: Table, over: Table) -> None:
    """Lay one table over another, whose values it replaces; arrays of tables grow."""
    base.values |= over.values
    base.broken |= over.broken
    for name, table in over.tables.items():
        lay(base.tables.setdefault(name, Table(table.where)), table)
    for name, tables in over.arrays.items():
        base.arrays.setdefault(name, []).extend(tables)


def build(cls: type[T], table: Table) -> T:
    """Return the dataclass of a draft without problems, with the default of each key that is not given."""
    arguments: dict[str, Any] = {}
    for name, key in keys(cls).items():
        if name in table.values:
            arguments[key.attribute] = table.values[name].value
        elif key.table is not None and name in table.arrays:
            arguments[key.attribute] = tuple(build(key.table, each) for each in table.arrays[name])
        elif key.table is not None and name in table.tables:
            arguments[key.attribute] = build(key.table, table.tables[name])
    return cls(**arguments)
