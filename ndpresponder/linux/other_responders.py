"""Other programs on this host that answer neighbor solicitations, as far as /proc shows them."""

import contextlib
import os
from pathlib import Path
from typing import Final

_NAMES: Final = frozenset({"ndppd", "npd6", "pndpd", "ndproxy", "ndprbrd", "ndp-proxy-go", "ndp-proxy", "ndpresponder"})


def responders(proc: str = "/proc") -> list[tuple[int, str]]:
    """Return number and name of each such process in the network namespace of this one.

    A process is left out whose namespace may not be seen: another user's, unless this process is root.
    """
    found: list[tuple[int, str]] = []
    try:
        ours = os.stat(f"{proc}/self/ns/net").st_ino
        numbers = sorted(int(name) for name in os.listdir(proc) if name.isdigit())
    except OSError:
        return []
    for number in numbers:
        with contextlib.suppress(OSError, UnicodeDecodeError):  # it has ended, or may not be seen
            place = Path(proc, str(number))
            name = (place / "comm").read_text().strip()
            if name not in _NAMES or number == os.getpid() or _is_python(place):
                continue
            if (place / "ns/net").stat().st_ino == ours:
                found.append((number, name))
    return found


def _is_python(place: Path) -> bool:
    """Tell whether a process is a script: another daemon of ours, of which the mark on the uplink tells (`claim`)."""
    return b"python" in os.path.basename((place / "cmdline").read_bytes().partition(b"\0")[0])
