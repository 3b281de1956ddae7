"""What /proc says of processes that may end at any moment: of one that has ended nothing."""

import contextlib
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the children of a process with one thread."""
    return [int(child) for child in _read(Path(f"/proc/{pid}/task/{pid}/children")).split()]


def command(pid: int) -> str:
    """Return the name of a process."""
    return _read(Path(f"/proc/{pid}/comm")).strip()


def _read(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # before, or after, it was opened
        return path.read_text()
    return ""
