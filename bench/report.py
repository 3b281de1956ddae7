"""What a run leaves in the documents: tables between marks, and on which machine, when and how they were measured.

A mark is a comment, `<!-- NAME: ... -->` to `<!-- end of NAME -->`. What stands between two marks is a program's alone.
"""

import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from programs import ROOT, BenchError

BENCH_README: Final = ROOT / "bench" / "README.md"
COMPARISON: Final = ROOT / "docs" / "comparison.md"


def fill(path: Path, name: str, lines: Iterable[str]) -> None:
    """Put lines between the marks of a document.

    Raises:
        BenchError: the document has no such marks.
    """
    text = path.read_text()
    marks = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->\n)", re.DOTALL)
    body = "".join(f"{line}\n" for line in lines)
    filled, count = marks.subn(lambda found: f"{found[1]}{body}{found[2]}", text)
    if count != 1:
        raise BenchError(f"{path}: marks of {name!r}: {count} instead of 1")
    path.write_text(filled)


def markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table whose first row is its head."""
    yield f"| {' | '.join(rows[0])} |"
    yield "|" + "---|" * len(rows[0])
    for row in rows[1:]:
        yield f"| {' | '.join(row)} |"


def number(value: float, digits: int) -> str:
    """Return a figure with so many decimals, and with no more than three digits that are not zero if it is large."""
    return f"{float(f'{value:.3g}') if value >= 1000 else value:,.{digits}f}"


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table for a terminal: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join([row[0].ljust(len(first)), *others])


def circumstances() -> str:
    """Return when, on what and by which command this run measures."""
    words = [str(Path(sys.argv[0]).resolve().relative_to(ROOT)), *sys.argv[1:]]
    command = shlex.join(["sudo", ".venv/bin/python", *words])
    return f"Measured on {datetime.now(UTC):%Y-%m-%d}: {_machine()}, by `{command}`."


def _machine() -> str:
    release = platform.freedesktop_os_release()["PRETTY_NAME"]
    kernel = ".".join(platform.release().split(".")[:2])
    parts = [f"2 cores of {_processor()}", release, f"Linux {kernel}", f"CPython {platform.python_version()}"]
    return ", ".join([*parts, *(f"{name} {version}" for name in ("ndppd", "npd6") if (version := _version(name)))])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    command = ["dpkg-query", "--show", "--showformat=${Version}", package]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.partition("-")[0]
    except (OSError, subprocess.CalledProcessError):
        return ""
