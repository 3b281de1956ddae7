"""Network namespaces and veth pairs, driven with iproute2 so that a person can repeat every step by hand.

Holds no topology. It must never touch a device of the namespace it was started in, nor end a process
that does not live in the namespace it was asked about.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_RUN_DIR = Path("/run/netns")  # where `ip netns` mounts the names
_CLONE_NEWNET = 0x40000000
_END_DEADLINE_S = 5.0


class Namespace:
    """One named network namespace; creating the object does nothing yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = _RUN_DIR / name

    def argv(self, *argv: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside, to its end, with both outputs captured; `check`, `timeout` and `input` as for `run`."""
        return _run(self.argv(*argv), **options)

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command inside; `pid` is the command's own. The caller waits for it."""
        return subprocess.Popen(self.argv(*argv), text=True, **options)

    def ip(self, *lines: str) -> None:
        """Run lines of iproute2's `ip` inside, in one process; the first that fails ends it."""
        _run(["ip", "-n", self.name, "-batch", "-"], input="\n".join(lines) + "\n")

    def sysctl(self, settings: dict[str, int]) -> None:
        """Write settings below /proc/sys/net, named with slashes: `ipv6/conf/all/forwarding`."""
        with self.enter():  # /proc/sys/net shows the namespace of the thread that opens it
            for name, value in settings.items():
                Path("/proc/sys/net", name).write_text(f"{value}\n")

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Move the calling thread inside for the time of the block.

        Sockets made in the block stay inside for good. The block must not await, nor start threads.
        """
        with open("/proc/thread-self/ns/net", "rb") as home, open(self.path, "rb") as inside:
            _set_namespace(inside.fileno())
            try:
                yield
            finally:
                _set_namespace(home.fileno())


def create_all(namespaces: Iterable[Namespace]) -> None:
    """Create several namespaces with one command, each with its loopback up."""
    namespaces = list(namespaces)
    _run(["ip", "-batch", "-"], input="".join(f"netns add {namespace.name}\n" for namespace in namespaces))
    for namespace in namespaces:
        namespace.ip("link set lo up")


def delete_all(namespaces: Iterable[Namespace]) -> None:
    """End all processes in these namespaces, and delete the namespaces that exist."""
    existing = [namespace for namespace in namespaces if namespace.path.exists()]
    if existing:
        end_processes(existing)
        _run(["ip", "-batch", "-"], input="".join(f"netns del {namespace.name}\n" for namespace in existing))


def processes(namespaces: Iterable[Namespace]) -> list[int]:
    """Return the processes that live in any of these namespaces, except our own."""
    inodes = {_identity(namespace.path) for namespace in namespaces} - {None}
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [pid for pid in pids if _identity(Path(f"/proc/{pid}/ns/net")) in inodes and pid != os.getpid()]


def end_processes(namespaces: Iterable[Namespace]) -> None:
    """Kill what lives in these namespaces; raise TimeoutError if something survives that for five seconds."""
    namespaces = list(namespaces)
    deadline = time.monotonic() + _END_DEADLINE_S
    while pids := processes(namespaces):  # again, since a process may fork while it is being killed
        if time.monotonic() > deadline:
            names = [namespace.name for namespace in namespaces]
            raise TimeoutError(f"processes {pids} in {names} survived SIGKILL")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def veth(number: int, near: tuple[Namespace, str, str], far: tuple[Namespace, str, str]) -> str:
    """Return the `ip` line that creates a veth pair directly inside two namespaces.

    An end is (namespace, interface name, link-layer address); `number` (below 100) is unique among the
    pairs of both namespaces.
    """
    # Ends of different index: the kernel would delay the news that a link is up by a second if they were equal
    ends = (
        f"{end[1]} netns {end[0].name} index {index} address {end[2]}"
        for end, index in ((near, 100 + number), (far, 200 + number))
    )
    return f"link add {next(ends)} type veth peer name {next(ends)}"


def _run(argv: list[str], check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"timeout": 30, "input": "", **options}  # with an input, so that it is never our own terminal
    try:
        return subprocess.run(argv, check=check, text=True, capture_output=True, **options)
    except subprocess.CalledProcessError as error:
        error.add_note(f"{error.stdout}{error.stderr}".strip())
        raise


def _set_namespace(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is new in Python 3.12
    if libc.setns(fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:  # no such namespace, or a process that has ended: a zombie has no namespace any more
        return None
    return status.st_dev, status.st_ino
