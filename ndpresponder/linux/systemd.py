"""Tell systemd how the daemon is: ready, reloading, stopping, status, heartbeat; and take the descriptors it passes.

Without NOTIFY_SOCKET and LISTEN_FDS everything in here does nothing. It must never raise for a manager that went away,
nor hold up the loop for long for one that does not read.
"""

import os
import time
from collections.abc import Mapping
from typing import Final

from ndpresponder.linux.unix_socket import DatagramSender

_FIRST_PASSED: Final = 3  # SD_LISTEN_FDS_START

METRICS: Final = "metrics"  # FileDescriptorName= in ndpresponder-metrics.socket


class Notifier:
    """Sends state to the manager that started us (sd_notify(3))."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # "@name" is an abstract socket: its first octet is NUL. Other forms (vsock:) are not for a process on a host.
        address = {"@": "\0" + path[1:], "/": path}.get(path[:1], "")
        self._sender = DatagramSender(address) if address else None
        # systemd alone sets these, INVOCATION_ID since 232, FDSTORE since 254; others that read sd_notify keep nothing
        self.keeps = bool(address and (environ.get("INVOCATION_ID") or environ.get("FDSTORE", "0") != "0"))
        # Messages that the manager has not taken: it would wait for the one, and lose the descriptors at our end
        self._ready: tuple[str, ...] = ()
        self._to_store: dict[str, int] = {}

    def ready(self, status: str) -> None:
        """Say that start-up, or a reload, is complete."""
        self._ready = "READY=1", f"STATUS={_one_line(status)}"
        self._repeat()

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        said = f"STATUS={_one_line(text)}"
        if self._ready:
            self._ready = "READY=1", said
        self._send(said)

    def reloading(self) -> None:
        """Say that a reload has begun; `ready` ends it."""
        self._ready = ()
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that shutdown has begun."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Say that the loop still runs, and again what the manager has not taken."""
        self._repeat()
        self._send("WATCHDOG=1")

    def store(self, name: str, descriptor: int) -> None:
        """Have a descriptor kept for the next process; one that is kept already stays as it is."""
        self._to_store[name] = descriptor
        self._repeat()

    def drop(self, name: str) -> None:
        """Have the descriptors of a name kept no longer."""
        self._to_store.pop(name, None)
        self._send("FDSTOREREMOVE=1", f"FDNAME={name}")

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()

    def _repeat(self) -> None:
        if self._ready and self._send(*self._ready):
            self._ready = ()
        for name, descriptor in list(self._to_store.items()):
            # FDPOLL=0: a link that goes down makes a packet socket readable with an error, no reason to drop it
            if self._send("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", descriptor=descriptor):
                del self._to_store[name]

    def _send(self, *lines: str, descriptor: int | None = None) -> bool:
        """Return whether the manager took the message."""
        data = "\n".join(lines).encode("utf-8", "backslashreplace")
        return self._sender is not None and self._sender.send(data, descriptor)


def watchdog_interval_s(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """Return how often to call `watchdog`, half of what the unit allows, or None if the unit sets no watchdog."""
    usec, watched = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or watched not in ("", str(os.getpid() if pid is None else pid)):
        return None
    return int(usec) / 2e6


def passed_descriptors(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> dict[str, list[int]]:
    """Return by name the descriptors that were passed to this process (sd_listen_fds_with_names(3)).

    They stay open for as long as the process lives, so that a successor can be passed them again: use a duplicate.
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid() if pid is None else pid) or not count.isdecimal():
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    passed: dict[str, list[int]] = {}
    for number in range(int(count)):
        descriptor = _FIRST_PASSED + number
        try:
            os.set_inheritable(descriptor, False)
        except OSError:  # fewer than promised
            break
        name = names[number] if number < len(names) else ""
        passed.setdefault(name or "unknown", []).append(descriptor)
    return passed


def _one_line(text: str) -> str:
    """Keep text from becoming another assignment."""
    return " ".join(text.splitlines())
