"""Write the settings tree as TOML or JSON, with the origin of each value beside it.

The TOML reads back to the same tree. No setting is left out: what is printed is what is in effect.
"""

import json
from collections.abc import Iterator
from typing import Any

from ndpresponder.config.declaration import Key, keys
from ndpresponder.config.draft import VERSION, Given, Table
from ndpresponder.config.problem import printable
from ndpresponder.config.settings import Config

COLUMN = 40  # where the comments begin
_DEFAULT = Given(None, "default")


def as_toml(config: Config, draft: Table) -> str:
    """Return the whole tree as a TOML document."""
    return "\n".join([f"version = {VERSION}", *_table(Config, config, draft, "")]) + "\n"


def as_data(config: Config, draft: Table) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the tree as it would stand in JSON, and the origin of each path in it."""
    origins: dict[str, str] = {}
    return {"version": VERSION} | _data(Config, config, draft, "", origins), origins


def _in_effect(cls: type[Any], value: Any, draft: Table) -> Iterator[tuple[Key, Any, Any]]:
    """Yield each key of a table, what it holds, and what was given for that."""
    for key in keys(cls).values():
        inner = getattr(value, key.attribute)
        if key.table is None:
            yield key, inner, draft.values.get(key.name, _DEFAULT)
        elif key.many:
            yield key, inner, draft.arrays.get(key.name) or [Table()] * len(inner)
        elif inner is not None:  # else a table that would switch something on
            yield key, inner, draft.tables.get(key.name) or Table()


def _table(cls: type[Any], value: Any, draft: Table, name: str) -> list[str]:
    """Return the lines of a table: its own values first, then the tables in it."""
    rows, tables, arrays = [], [], []
    for key, inner, given in _in_effect(cls, value, draft):
        path = f"{name}.{key.name}" if name else key.name
        if key.table is None:
            rows += _assignment(key, inner, given)
        elif key.many:
            for each, its_draft in zip(inner, given, strict=True):
                arrays += ["", f"[[{path}]]", *_table(key.table, each, its_draft, path)]
        else:
            lines = _table(key.table, inner, given, path)
            has_values = lines and lines[0]  # else the tables in it name it themselves
            tables += ["", f"[{path}]", *lines] if has_values else lines
    return rows + tables + arrays


def _assignment(key: Key, value: Any, given: Given) -> list[str]:
    """Return `key = value  # origin`, on several lines where elements have origins of their own."""
    if not key.many:
        return [_line(f"{key.name} = {_quoted(value)}", given.where)]
    if len(given.items) < 2:
        where = given.items[0].where if given.items else given.where
        return [_line(f"{key.name} = [{', '.join(map(_quoted, value))}]", where)]
    rows = [_line(f"    {_quoted(each.value)},", each.where) for each in given.items]
    return [f"{key.name} = [", *rows, "]"]


def _quoted(value: object) -> str:
    """Write one value; what `json` writes is TOML too, for text that can be printed."""
    if isinstance(value, bool | int):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)


def _line(assignment: str, origin: str) -> str:
    return f"{assignment:<{COLUMN - 1}} # {printable(origin)}"


def _data(cls: type[Any], value: Any, draft: Table, path: str, origins: dict[str, str]) -> dict[str, Any]:
    """Return a table as a dictionary and note the origins of its values."""
    data: dict[str, Any] = {}
    for key, inner, given in _in_effect(cls, value, draft):
        here = f"{path}.{key.name}" if path else key.name
        if key.table is None:
            origins[here] = given.where
            data[key.name] = [str(each) for each in inner] if key.many else inner
            continue
        if key.many:
            drafts = enumerate(zip(inner, given, strict=True))
            tables: Any = [_data(key.table, each, its, f"{here}[{number}]", origins) for number, (each, its) in drafts]
        else:
            tables = _data(key.table, inner, given, here, origins)
        if tables:
            data[key.name] = tables
    return data
