"""Settings on their way to the tree: each checked value together with the place it came from.

A draft is what a file, the environment and the flags are merged in; `build` turns it into the tree.
It must never hold a value that its key's parser has not accepted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ndpresponder.config.problem import Problem, Wrong
from ndpresponder.config.settings import Config, Key, keys

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Given:
    """A checked value and where it stands; for an array also where each element stands."""

    value: Any
    where: str
    path: str = ""  # "interface[0].prefixes"; empty outside a file
    items: tuple[str, ...] = ()


@dataclass(slots=True)
class Table:
    """One table of settings."""

    where: str = ""
    path: str = ""  # "interface[0]"; empty for the root and outside a file
    values: dict[str, Given] = field(default_factory=dict)
    tables: dict[str, "Table"] = field(default_factory=dict)
    arrays: dict[str, list["Table"]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)  # keys that were given, but wrongly

    def of(self, key: str) -> Any:
        """Return the value of a key, or None."""
        given = self.values.get(key)
        return given.value if given else None

    def origin(self, key: str) -> str:
        """Say where a key's value came from."""
        given = self.values.get(key)
        return given.where if given else "default"

    def set(self, key: Key, raw: object, where: str, problems: list[Problem], path: str = "") -> None:
        """Check a raw value and keep it, or note what is wrong with it."""
        try:
            self.values[key.name] = Given(key.parse(raw), where, path)
        except Wrong as wrong:
            self.broken.add(key.name)
            problems.append(Problem(where, path, wrong.message, wrong.hint))

    def set_each(self, key: Key, raws: Sequence[object], where: str, problems: list[Problem]) -> None:
        """Check the elements of an array, which all stand in one place, and keep them."""
        found = []
        for raw in raws:
            try:
                found.append(key.parse(raw))
            except Wrong as wrong:
                self.broken.add(key.name)
                problems.append(Problem(where, "", wrong.message, wrong.hint))
        self.values[key.name] = Given(tuple(found), where, items=(where,) * len(found))


def build(cls: type[T], table: Table) -> T:
    """Make the dataclass of a draft; what is not given has its default.

    The draft must be free of problems: a required key that is missing is the caller's to find.
    """
    arguments: dict[str, Any] = {}
    for key in keys(cls).values():
        if key.table is None:
            if key.name in table.values:
                arguments[key.attribute] = table.values[key.name].value
        elif key.many:
            arguments[key.attribute] = tuple(build(key.table, each) for each in table.arrays.get(key.name, []))
        elif key.name in table.tables:
            arguments[key.attribute] = build(key.table, table.tables[key.name])
    return cls(**arguments)


def build_config(table: Table) -> Config:
    """Make the settings tree of a whole draft."""
    return build(Config, table)
