"""What the documents promise is shown by a test: every test that they name exists."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FAULTS = TESTS / "e2e/FAULTS.md"
SECURITY = TESTS.parent / "SECURITY.md"
README = TESTS.parent / "README.md"
PACKAGE = TESTS.parent / "ndpresponder"
NAMED = re.compile(r"`((?:unit|property|netns|e2e|fuzz)/[\w/]+\.py)::(test_\w+)(?:\[([^`]*)\])?`")


def rows(document: Path) -> list[list[str]]:
    """Return the cells of every row of the tables in a document, without headings."""
    lines = [line for line in document.read_text().splitlines() if line.startswith("|") and set(line) - set("|- ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[-1] not in ("", "test", "shown by")]


def missing(path: str, name: str, parameters: str | None) -> str:
    """Return what is not there of a test, "" if it is."""
    file = TESTS / path
    if not file.exists():
        return path
    text = file.read_text()
    if not re.search(rf"(?m)^(async )?def {name}\(", text):
        return f"{path}::{name}"
    absent = [
        word for word in re.split(r"(?<=\w)-", parameters or "") if word.replace("_", "") not in text.replace("_", "")
    ]
    return f"{path}::{name}[{parameters}]" if absent else ""


@pytest.mark.parametrize("document", [FAULTS, SECURITY], ids=lambda path: path.name)
def test_every_row_names_a_test_that_exists(document: Path) -> None:
    for row in rows(document):
        named = NAMED.findall(row[-1])
        assert named, f"no test is named: {row}"
        assert [problem for test in named if (problem := missing(*test))] == []


def test_at_least_forty_faults_are_put_in_and_none_is_listed_twice() -> None:
    listed = [row[-1] for row in rows(FAULTS)]
    assert len(listed) >= 40
    assert len(set(listed)) == len(listed)


def test_every_test_of_faults_is_listed() -> None:
    text = FAULTS.read_text()
    written = re.findall(r"(?m)^def (test_\w+)\(", (TESTS / "e2e/test_faults.py").read_text())
    unlisted = [name for name in written if name not in text]
    assert unlisted == []


def test_the_map_names_every_module_and_none_that_is_gone() -> None:
    _, _, section = README.read_text().partition("## Where everything lives\n")
    named = {name.removeprefix("ndpresponder/") for name in re.findall(r"`([\w/]+(?:\.py|/))`", section)}
    modules = {path.name for path in PACKAGE.glob("[!_]*.py")}
    packages = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    assert (modules | packages) - named == set()
    assert [name for name in named if not any((folder / name).exists() for folder in (PACKAGE, TESTS.parent))] == []


def test_a_test_that_does_not_exist_is_missed() -> None:
    assert missing("e2e/test_faults.py", "test_of_nothing", None)
    assert missing("e2e/test_nothing.py", "test_of_nothing", None)
    assert missing("e2e/test_faults.py", "test_a_clock_that_jumps_changes_no_answer", "12345")
