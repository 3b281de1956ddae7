"""The native protocol of systemd's journal: one datagram per event, one field per key.

It lets `journalctl NDP_REASON=not_ours` find what happened.
"""

import os
import re
from collections.abc import Mapping
from typing import Final

SOCKET_PATH: Final = "/run/systemd/journal/socket"
IDENTIFIER: Final = "ndpresponder"
PRIORITIES: Final[Mapping[str, int]] = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # syslog's
_NOT_IN_A_FIELD_NAME: Final = re.compile(r"[^A-Z0-9_]")
_FIELD_NAME_MAX: Final = 64


def is_journal(fd: int, environ: Mapping[str, str]) -> bool:
    """Return whether `fd` is the stream that systemd connected to the journal; raise OSError if it is not open."""
    status = os.fstat(fd)
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def field_name(key: str) -> str:
    """Return the journal field for an event's key: `interface` becomes `NDP_INTERFACE`."""
    return ("NDP_" + _NOT_IN_A_FIELD_NAME.sub("_", key.upper()))[:_FIELD_NAME_MAX]


def encode(fields: Mapping[str, object]) -> bytes:
    r"""Return the datagram: `NAME=value\n`, or NAME, a 64-bit little-endian length and the raw value."""
    parts = []
    for name, value in fields.items():
        raw = str(value).encode("utf-8", "backslashreplace")
        if b"\n" in raw:
            parts.append(b"%b\n%b%b\n" % (name.encode(), len(raw).to_bytes(8, "little"), raw))
        else:
            parts.append(b"%b=%b\n" % (name.encode(), raw))
    return b"".join(parts)


def datagram(level: str, message: str, event: Mapping[str, object]) -> bytes:
    """Return what tells the journal of one event."""
    head = {"MESSAGE": message, "PRIORITY": PRIORITIES.get(level, 6), "SYSLOG_IDENTIFIER": IDENTIFIER}
    return encode(head | {field_name(key): value for key, value in event.items()})
