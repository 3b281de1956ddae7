"""Find out what else on this host answers solicitations, the kernel or a program: two answers make an entry flap."""

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.interface import answers_by_proxy
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.netlink.neighbors import proxied_on
from ndpresponder.linux.slow_calls import SlowCalls

_NAMES: Final = frozenset({"ndppd", "npd6", "pndpd", "ndproxy", "ndprbrd", "ndp-proxy-go", "ndp-proxy", "ndpresponder"})


async def rivals(link: Link, is_ours: Callable[[bytes], bool]) -> list[str]:
    """Say what else answers on a link, for the targets of which `is_ours` is true; nothing if that cannot be known."""
    found: list[str] = []
    try:
        proxied = await proxied_on(link.index) if answers_by_proxy(link.device) else ()
        if shared := sorted(address for address in proxied if is_ours(address)):
            first, more = IPv6Address(shared[0]), f" and {len(shared) - 1} more" if len(shared) > 1 else ""
            mend = f"ip -6 neighbor del proxy {first} dev {link.device}"
            found.append(f"the kernel answers on {link.name} as well, by proxy entries for {first}{more}: {mend}")
        for number, name in await SlowCalls("/proc").call(responders):
            mend = "stop it, or exclude here what it answers for"
            found.append(f"{name}, process {number}, may answer as well: {mend}")
    except (SourceUnavailable, OSError):
        return []  # it is advice, no more
    return found


def responders(proc: str = "/proc") -> list[tuple[int, str]]:
    """Return number and name of each such process in the network namespace of this one.

    Only root sees the namespace of another user's process. Without that, such a process is left out.
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
            if name not in _NAMES or number == os.getpid():
                continue
            program = os.path.basename((place / "cmdline").read_bytes().partition(b"\0")[0])
            if b"python" in program:  # a script: another daemon of ours, which its mark shows
                continue
            if (place / "ns/net").stat().st_ino == ours:
                found.append((number, name))
    return found


def put_mark(index: int) -> tuple[socket.socket | None, bool]:
    """Mark the interface `index`, by which daemons of ours find each other, while the returned socket is open.

    Also tell whether another process has put the mark. It is an abstract Unix socket (unix(7)), which belongs to one
    network namespace and goes with its process. Any local process can take the name, so that is a reason to warn, never
    one to fall silent.
    """
    with contextlib.ExitStack() as unused:
        try:
            mark = unused.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC))
            mark.bind(f"\0ndpresponder/{index}")
        except OSError as error:  # a shortage says nothing about other daemons
            return None, error.errno == errno.EADDRINUSE
        unused.pop_all()
        return mark, False
