"""On any document, the locator finds each key and element where it was written, and nothing else."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ndpresponder.config.toml_lines import locate


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """Return every path of a parsed document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path}.union(*(_paths(child, (*path, step)) for step, child in children))


class Writer:
    """Write a random document and remember where everything was put."""

    SCALARS = (
        "1",
        "-1.5e3",
        "inf",
        "true",
        "1979-05-27",
        "1979-05-27 07:32:00.5",
        "07:32:00",
        '"[x] # = \\" {"',
        "'\\'",
        '"""\n# [t]\n\\""" ,]}\n"""""',
        "'''\n[[a]]\nb = {\n'''",
    )
    KEYS = ("a", "b-c", "1", '"d.e"', "'f = ['", '"\\u00e9\\n"', '""')

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[tuple[str | int, ...], int] = {}

    def chance(self) -> bool:
        return bool(self.draw(st.booleans()))

    def note(self, path: tuple[str | int, ...]) -> None:
        self.lines[path] = self.text.count("\n") + 1

    def gap(self) -> None:
        self.text += self.draw(st.sampled_from(("", " ", "\n", ' # ] } = "\n', "\r\n\t")))

    def keys(self) -> list[str]:
        return list(self.draw(st.lists(st.sampled_from(self.KEYS), max_size=3, unique=True)))

    def value(self, path: tuple[str | int, ...], depth: int) -> None:
        kind = self.draw(st.sampled_from(("scalar", "array", "table") if depth else ("scalar",)))
        if kind == "array":
            self.text += "["
            size = self.draw(st.integers(0, 3))
            for number in range(size):
                self.gap()
                self.note((*path, number))
                self.value((*path, number), depth - 1)
                self.gap()
                self.text += "," if number < size - 1 or self.chance() else ""
            self.gap()
            self.text += "]"
        elif kind == "table":
            self.text += "{ "
            for number, key in enumerate(self.keys()):
                self.text += ", " if number else ""
                self.pair(path, key, depth - 1)
            self.text += " }"
        else:
            self.text += self.draw(st.sampled_from(self.SCALARS))

    def pair(self, path: tuple[str | int, ...], key: str, depth: int) -> None:
        here = (*path, name_of(key))
        self.note(here)
        self.text += key
        if self.chance():
            self.text += " . x"
            here = (*here, "x")
            self.note(here)
        self.text += " = " if self.chance() else "="
        self.value(here, depth)

    def pairs(self, path: tuple[str | int, ...]) -> None:
        for key in self.keys():
            self.pair(path, key, 2)
            self.text += " # = [\n" if self.chance() else "\r\n"

    def document(self) -> None:
        self.pairs(())
        for number in range(self.draw(st.integers(0, 3))):
            array, table = f"array{number}", f"table{number}"
            for element in range(self.draw(st.integers(0, 3))):
                if element == 0:
                    self.note((array,))
                self.note((array, element))
                self.text += f"[[ {array} ]] # x\n"
                self.pairs((array, element))
                if self.chance():
                    self.note((array, element, "sub"))
                    self.text += f"[{array}.sub]\n"
                    self.pairs((array, element, "sub"))
            self.gap()
            self.text += "\n"
            self.note((table,))
            self.note((table, "in"))
            self.text += f'[{table} . "in"]\n'
            self.pairs((table, "in"))


def name_of(key: str) -> str:
    return str(next(iter(tomllib.loads(f"{key} = 1"))))


@st.composite
def documents(draw: Any) -> Writer:
    writer = Writer(draw)
    writer.document()
    return writer


@given(documents())
def test_all_paths_of_any_document_are_found_on_their_lines(writer: Writer) -> None:
    found = locate(writer.text)
    assert {path: found[path] for path in writer.lines} == writer.lines
    assert set(found) == _paths(tomllib.loads(writer.text))
    assert found[()] == 1


@given(st.text() | st.text(alphabet="[]{}=.,\"'#\n\\ a1-:"))
def test_scanning_any_text_ends(text: str) -> None:
    try:
        tomllib.loads(text)
    except ValueError:
        return
    locate(text)
