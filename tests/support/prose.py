"""Sentences of the documents, of the help, of the reference configuration and of the log, and how long they are."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

LEVELS = ("debug", "info", "warning", "error", "limited")  # methods whose first argument a person reads in the log
_LABEL = 4  # words that a table cell has at least if it says something
_FENCE = re.compile(r"(?ms)^```.*?^```$")
_COMMENT = re.compile(r"(?s)<!--.*?-->")
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_END = re.compile(r"(?<=[.!?])[)*\"]*\s+(?=\S)")
_ABBREVIATED = re.compile(r"\b(e\.g|i\.e|cf|vs)\.")


def sentences(text: str) -> list[str]:
    """Return the sentences of one paragraph, cell or list item; code in backquotes counts as one word."""
    text = _LINK.sub(r"\1", _CODE.sub("code", " ".join(text.split())))
    text = _ABBREVIATED.sub(lambda match: match[1].replace(".", ""), text)
    return [sentence for sentence in _END.split(text) if words(sentence)]


def words(sentence: str) -> int:
    """Return how many words a sentence has; a number or a sign alone is none."""
    return sum(any(sign.isalpha() for sign in word) for word in sentence.split())


def of_markdown(text: str) -> Iterator[str]:
    """Yield the sentences of a Markdown document without code, headings and the labels of tables.

    Those are paragraphs, list items, and table cells of four words or more.
    """
    text = _COMMENT.sub("", _FENCE.sub("", text))
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        starts = re.match(r"([-*+]|\d+\.)\s", stripped)
        if not stripped or stripped.startswith(("#", "|")) or starts:
            yield from sentences(" ".join(block))
            block = []
        if stripped.startswith("|") and set(stripped) - set("|-: "):
            for cell in stripped.strip("|").split(" | "):
                yield from (sentence for sentence in sentences(cell) if words(sentence) >= _LABEL)
        elif stripped and not stripped.startswith("#"):
            block.append(stripped[starts.end() :] if starts else stripped)


def of_toml(text: str) -> Iterator[str]:
    """Yield the sentences of the comments of a TOML file; a commented-out setting is none."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        before, sign, comment = line.partition("#")
        said = comment.strip() if sign and not re.match(r"\s*[\w.\"\[]+\s*(=|\]|$)", comment) else ""
        if before.strip() or not said:
            yield from sentences(" ".join(block))
            block = []
        if said:
            block.append(said)
        if before.strip() and said:
            yield from sentences(said)
            block = []


def of_help(text: str) -> Iterator[str]:
    """Yield the sentences of what `--help` prints: the paragraphs, and each flag's words; not its examples."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        flag = re.match(r"  (-\S.*?|\S+)(\s{2,}|$)", line)
        if not line.strip() or flag or not line.startswith(" "):
            yield from sentences(" ".join(block))
            block = []
        if flag:
            block.append(line[flag.end() :].strip())
        elif line.strip() and not re.match(r"\s+ndpresponder ", line):
            block.append(line.strip())


def of_log(sources: Iterable[Path]) -> Iterator[str]:
    """Yield every event that some modules write to the log; what is filled in counts as one word."""
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in LEVELS and node.args:
                event = node.args[0]
                if isinstance(event, ast.JoinedStr):
                    parts = [str(part.value) if isinstance(part, ast.Constant) else "code" for part in event.values]
                    yield from sentences("".join(parts))
                elif isinstance(event, ast.Constant) and isinstance(event.value, str):
                    yield from sentences(event.value)


def figures(found: Iterable[str]) -> tuple[float, float]:
    """Return the words of an average sentence, and the share of sentences of more than 30 words."""
    lengths = [words(sentence) for sentence in found]
    return sum(lengths) / len(lengths), sum(length > 30 for length in lengths) / len(lengths)


def links(text: str) -> list[str]:
    """Return what the links of a Markdown document lead to."""
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", _FENCE.sub("", text))
