"""The documents, the help, the reference configuration and the log are written in short sentences."""

from pathlib import Path

import prose
import pytest

import ndpresponder
from ndpresponder.cli.commands import COMMANDS, parser_of

PACKAGE = Path(ndpresponder.__file__).parent
ROOT = PACKAGE.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    PACKAGE / "targets/sources/README.md",
]
MOST_WORDS = 16
LONG_SENTENCES = 0.04  # of more than 30 words
README_LINES = 150


def assert_plain(sentences: list[str]) -> None:
    average, long = prose.figures(sentences)
    longest = max(sentences, key=prose.words)
    assert average <= MOST_WORDS, longest
    assert long <= LONG_SENTENCES, longest


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_is_plain(document: Path) -> None:
    assert_plain(list(prose.of_markdown(document.read_text())))


def test_the_log_is_plain() -> None:
    assert_plain(list(prose.of_log(PACKAGE.rglob("*.py"))))


def test_the_reference_configuration_is_plain() -> None:
    assert_plain(list(prose.of_toml((ROOT / "systemd/ndpresponder.toml").read_text())))


@pytest.mark.parametrize("word", COMMANDS)
def test_the_help_of_a_command_is_plain(word: str) -> None:
    assert_plain(list(prose.of_help(parser_of(word).format_help())))


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_the_changelog_has_this_version() -> None:
    assert f"\n## [{ndpresponder.__version__}] - " in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_document_links_is_there(document: Path) -> None:
    links = [link.partition("#")[0] for link in prose.links(document.read_text()) if "://" not in link]
    assert [link for link in links if link and not (document.parent / link).exists()] == []


def test_a_long_sentence_counts_whatever_it_stands_in() -> None:
    long = " ".join(["word"] * 31)
    for sentences in (
        prose.of_markdown(f"# Title\n\nShort.\n- {long}.\n"),
        prose.of_markdown(f"| a | {long} |\n|---|---|\n"),
        prose.of_toml(f"# {long}.\nkey = 1\n"),
        prose.of_help(f"  --flag  {long}\n"),
    ):
        assert max(map(prose.words, sentences)) == 31
