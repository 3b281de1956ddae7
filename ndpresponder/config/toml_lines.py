"""Find the line on which each key and each array element of a TOML document stands.

`tomllib` keeps no line numbers. So each value is replaced by the number of its line, and `tomllib` reads the document
again: it knows what belongs where. It must have accepted the document before.
"""

import re
import tomllib
from collections.abc import Iterable
from typing import Any

from ndpresponder.config.draft import Path

_OWN = "\ud800"  # the key of a table's own line: no document can hold it
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?""""{0,2}'
    r"|'''.*?''''{0,2}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|\{\s*\}"  # an empty table: nothing in it has a line of its own
    r"|(?:\d{4}-\d\d-\d\d )?[^\s,=\[\]{}#\"']+"  # a number, a word, or a date and time with a space between them
    r"|.",
    re.DOTALL,
)


def locate(source: str) -> dict[Path, int]:
    """Return the line, counted from 1, of a valid TOML document and of every key and array element in it.

    Raises: RecursionError, where it is nested too deeply.
    """
    lines: dict[Path, int] = {}
    _note(tomllib.loads(_numbered(source)), (), lines)
    return lines


def _numbered(source: str) -> str:
    """Return the document with the number of its line for each value, and first in each array and table."""
    written = [f'"{_OWN}" = 1\n']
    opened = ""  # the brackets and braces of values around here
    line, header, is_value = 1, 0, False
    for word in _TOKEN.findall(source + "\n"):
        if word == "\n" and not opened:  # a statement ends
            written.append(f'\n"{_OWN}" = {header}\n' if header else word)
            header, is_value = 0, False
        elif word.isspace() or word[0] in ",#":
            written.append(word)
        elif word in ("]", "}"):
            written.append(word)
            opened = opened[:-1]
        elif not is_value and not opened.endswith("["):  # of a key, or of a table's header
            written.append(word)
            is_value = word == "="
            header = line if word == "[" else header
        elif word in ("[", "{"):
            written.append(f"[{line}," if word == "[" else f'{{"{_OWN}" = {line},')
            opened += word
            is_value = False
        else:
            written.append(str(line))
            is_value = False
        line += word.count("\n")
    return "".join(written)


def _note(node: Any, path: Path, lines: dict[Path, int]) -> int:
    """Note the lines of a node and of all within it, and return the first of them."""
    if isinstance(node, int):
        lines[path] = node
        return node
    children: Iterable[tuple[str | int, Any]] = enumerate(node)
    own = 0  # as in a table that only a longer name implies, or an array of tables
    if isinstance(node, dict):
        own, children = node.pop(_OWN, 0), node.items()
    elif isinstance(node[0], int):
        own = node.pop(0)
    inner = [_note(child, (*path, step), lines) for step, child in children]
    first = min(filter(None, (own, *inner)))
    lines[path] = own or first
    return first
