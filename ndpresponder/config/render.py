"""Write the settings tree as TOML or JSON, with the origin of each value beside it.

The TOML reads back to the same tree. No setting is left out: what is printed is what is in effect.
"""

import json
from typing import Any

from ndpresponder.config.declaration import keys
from ndpresponder.config.draft import NOT_GIVEN, VERSION, Given, Table
from ndpresponder.config.problem import printable
from ndpresponder.config.settings import Config

COLUMN = 40  # where the comments begin


def as_toml(config: Config, draft: Table) -> str:
    given: dict[str, Given] = {}
    data = _data(Config, config, draft, "", given)
    return "\n".join([f"version = {VERSION}", *_table(data, given, "", "")]) + "\n"


def as_data(config: Config, draft: Table) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the tree as it would stand in JSON, and the origin of each path in it."""
    given: dict[str, Given] = {}
    data = _data(Config, config, draft, "", given)
    return {"version": VERSION} | data, {path: value.where for path, value in given.items()}


def _data(cls: type[Any], value: Any, draft: Table, path: str, given: dict[str, Given]) -> dict[str, Any]:
    """Return a table as a dictionary, without the tables that hold nothing, and note what was given for each path."""
    data: dict[str, Any] = {}
    for key in keys(cls).values():
        here, inner = f"{path}{key.name}", getattr(value, key.attribute)
        if key.table is None:
            given[here] = draft.values.get(key.name, NOT_GIVEN)
            data[key.name] = [each if isinstance(each, int) else str(each) for each in inner] if key.many else inner
        elif key.many and inner:
            drafts = draft.arrays.get(key.name) or [Table()] * len(inner)
            tables = enumerate(zip(inner, drafts, strict=True))
            data[key.name] = [_data(key.table, each, its, f"{here}[{n}].", given) for n, (each, its) in tables]
        elif inner and (table := _data(key.table, inner, draft.tables.get(key.name, Table()), f"{here}.", given)):
            data[key.name] = table
    return data


def _table(data: dict[str, Any], given: dict[str, Given], path: str, name: str) -> list[str]:
    """Return the lines of a table: its own values first, then the tables in it."""
    rows, tables, arrays = [], [], []
    for key, value in data.items():
        here, header = f"{path}{key}", f"{name}{key}"
        if here in given:
            rows += _assignment(key, value, given[here])
        elif isinstance(value, list):
            for number, each in enumerate(value):
                arrays += ["", f"[[{header}]]", *_table(each, given, f"{here}[{number}].", f"{header}.")]
        else:
            lines = _table(value, given, f"{here}.", f"{header}.")
            tables += ["", f"[{header}]", *lines] if lines[0] else lines  # the tables in it name it themselves
    return rows + tables + arrays


def _assignment(key: str, value: Any, given: Given) -> list[str]:
    """Return `key = value  # origin`, on several lines where elements have origins of their own."""
    if len(given.items) < 2:
        where = given.items[0].where if given.items else given.where
        return [_line(f"{key} = {_quoted(value)}", where)]
    rows = [_line(f"    {_quoted(each)},", item.where) for each, item in zip(value, given.items, strict=True)]
    return [f"{key} = [", *rows, "]"]


def _quoted(value: object) -> str:
    """Write a value: what `json` writes is TOML too, for text that can be printed."""
    return json.dumps(value, ensure_ascii=False)


def _line(assignment: str, origin: str) -> str:
    return f"{assignment:<{COLUMN - 1}} # {printable(origin)}"
