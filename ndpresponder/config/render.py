"""Write the settings tree as TOML that reads back to the same tree, with the origin of each value beside it.

It must never leave a setting out: what is printed is what is in effect.
"""

import json
from typing import Any

from ndpresponder.config.draft import Given, Table
from ndpresponder.config.problem import printable
from ndpresponder.config.settings import Config, Key, keys
from ndpresponder.config.toml_file import VERSION

COLUMN = 40  # where the comments begin


def as_toml(config: Config, draft: Table) -> str:
    """Return the whole tree as a TOML document."""
    return "\n".join([f"version = {VERSION}", *_table(Config, config, draft, "")]) + "\n"


def as_data(config: Config, draft: Table) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the tree as it would stand in JSON, and the origin of each path in it."""
    origins: dict[str, str] = {}
    return {"version": VERSION} | _data(Config, config, draft, "", origins), origins


def _quoted(value: object) -> str:
    """Write one value; what `json` writes is TOML too, for text that can be printed."""
    if isinstance(value, bool | int):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False)


def _line(key: str, value: str, origin: str) -> str:
    return f"{f'{key}{value}':<{COLUMN - 1}} # {printable(origin)}"


def _assignment(key: Key, value: Any, given: Given | None) -> list[str]:
    """Return `key = value  # origin`, on several lines where elements have origins of their own."""
    where = given.where if given else "default"
    if not key.many:
        return [_line(f"{key.name} = ", _quoted(value), where)]
    places = given.items if given else ()
    if len(value) < 2 or len(places) != len(value):
        return [_line(f"{key.name} = ", f"[{', '.join(map(_quoted, value))}]", places[0] if places else where)]
    rows = [_line("    ", f"{_quoted(each)},", place) for each, place in zip(value, places, strict=True)]
    return [f"{key.name} = [", *rows, "]"]


def _table(cls: type[Any], value: Any, draft: Table, name: str) -> list[str]:
    """Return the lines of a table: its own values first, then the tables in it."""
    rows, tables, arrays = [], [], []
    for key in keys(cls).values():
        inner = getattr(value, key.attribute)
        if inner is None:  # a table that switches something on
            continue
        path = f"{name}.{key.name}" if name else key.name
        if key.table is None:
            rows += _assignment(key, inner, draft.values.get(key.name))
        elif key.many:
            drafts = draft.arrays.get(key.name) or [Table()] * len(inner)
            for each, its_draft in zip(inner, drafts, strict=True):
                arrays += ["", f"[[{path}]]", *_table(key.table, each, its_draft, path)]
        else:
            its_draft = draft.tables.get(key.name) or Table()
            lines = _table(key.table, inner, its_draft, path)
            if lines and not lines[0]:  # tables only: they name this one themselves
                tables += lines
            elif lines:
                tables += ["", f"[{path}]", *lines]
    return rows + tables + arrays


def _data(cls: type[Any], value: Any, draft: Table, path: str, origins: dict[str, str]) -> dict[str, Any]:
    """Return a table as a dictionary and note the origins of its values."""
    data: dict[str, Any] = {}
    tables = {key.name for key in keys(cls).values() if key.table is not None}
    for key in keys(cls).values():
        inner = getattr(value, key.attribute)
        if inner is None:
            continue
        here = f"{path}.{key.name}" if path else key.name
        if key.table is None:
            given = draft.values.get(key.name)
            origins[here] = given.where if given else "default"
            data[key.name] = [str(each) for each in inner] if key.many else inner
        elif key.many:
            drafts = draft.arrays.get(key.name) or [Table()] * len(inner)
            data[key.name] = [
                _data(key.table, each, its_draft, f"{here}[{number}]", origins)
                for number, (each, its_draft) in enumerate(zip(inner, drafts, strict=True))
            ]
        else:
            data[key.name] = _data(key.table, inner, draft.tables.get(key.name) or Table(), here, origins)
    return {name: value for name, value in data.items() if name not in tables or value}
