#!/usr/bin/env python3
"""Measure how soon the daemon answers as the kernel says, what asking the kernel costs its answers, and its memory.

Needs root. Follows a bridge whose neighbors come and go; the daemon is the shipped one, with metrics on. README.md says
what each figure is.
"""

import argparse
import contextlib
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path
from statistics import quantiles
from typing import Any, Final, Self, TypeVar

from asking import Asker, Changer
from ending import exit_code
from link import PREFIX, UPLINK, BenchError, Link

from ndpresponder.lab.topology import wait_until

Result = TypeVar("Result")

_FIRST = int(IPv6Address("2001:db8:77::"))
_EXTRA = int(IPv6Address("2001:db8:78::"))
_BEHIND: Final = ("2001:db8:77::/64", "2001:db8:78::/64")  # the kernel forwards these to the bridge
_CHANGE_EVERY_S: Final = 0.3
_ATTEMPTS: Final = 5
_QUIET: Final = 1.0  # percent of the time that the daemon or the generator waited for its core in an undisturbed run
_RATE: Final = 1000  # solicitations per second while latency is measured


@dataclass(frozen=True)
class Figure:
    what: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def met(self) -> bool:
        return self.limit is None or self.value <= self.limit


class Bridge(Changer):
    """A bridge in the responder's namespace, its neighbors, and a process that changes them without delay."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._count = 0

    def __enter__(self) -> Self:
        routes = (f"route add {prefix} dev br0" for prefix in _BEHIND)
        self._link.responder.ip("link add br0 address 02:00:00:00:0b:00 type bridge", "link set br0 up", *routes)
        return super().__enter__()

    def fill(self, count: int) -> None:
        """Have so many neighbors."""
        self._link.responder.ip(*(neighbour("add", _FIRST + number) for number in range(self._count, count)))
        self._count = count


def neighbour(verb: str, value: int) -> str:
    """Return the `ip` line that adds or deletes a neighbor of the bridge."""
    return f"neigh {verb} {IPv6Address(value)} lladdr 02:00:00:00:0b:01 dev br0 nud permanent"


class Daemon:
    """The shipped command on the responder's core."""

    def __init__(self, link: Link, *flags: str) -> None:
        self._link = link
        self._flags = flags

    def __enter__(self) -> Self:
        self._files = tempfile.TemporaryDirectory(prefix="ndpbench-")
        self._metrics = f"{self._files.name}/metrics"
        command = str(Path(sys.executable).with_name("ndpresponder"))
        with Path(self._files.name, "log").open("w") as log:
            argv = (
                command,
                "-i",
                UPLINK,
                "-b",
                "br0",
                "--within",
                ",".join(_BEHIND),
                *self._flags,
                "-m",
                f"unix:{self._metrics}",
            )
            self._process = self._link.start_responder(*argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._files.cleanup()

    def await_targets(self, count: int) -> None:
        """Wait until it knows so many live targets."""
        wait_until(lambda: self._targets() == count, 60, f"the daemon to know {count} targets", every_s=0.01)

    def rss_mb(self) -> float:
        """Return its resident memory."""
        status = Path("/proc", str(self._process.pid), "status").read_text()
        return int(re.findall(r"VmRSS:\s*(\d+)", status)[0]) * 1024 / 1e6

    def waited_s(self) -> float:
        """Return how long it wanted its core and another process had it."""
        return int(Path("/proc", str(self._process.pid), "schedstat").read_text().split()[1]) / 1e9

    def _targets(self) -> int | None:
        if self._process.poll() is not None:
            raise BenchError(f"the daemon ended by itself:\n{Path(self._files.name, 'log').read_text()[-2000:]}")
        with socket.socket(socket.AF_UNIX) as served, contextlib.suppress(OSError):
            served.connect(self._metrics)
            served.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: served.recv(65536), b"")).decode()
            found = re.search(r'ndpresponder_addresses\{.*source="bridge".*\} (\S+)', text)
            return int(float(found[1])) if found else None
        return None


def follow_times(link: Link, bridge: Bridge, first: int, events: int) -> tuple[list[float], float]:
    """Return the milliseconds from each of some events to the first answer that it makes right; waits for no core."""
    times = []
    with Asker(link) as asker:
        for number in range(events):
            began = time.monotonic()
            bridge.change(neighbour("add", first + number))
            asker.await_answer(first + number)
            times.append((time.monotonic() - began) * 1e3)
            time.sleep(0.03 + number % 7 * 0.01)  # at any moment of the daemon's pace
    bridge.change(*(neighbour("del", first + number) for number in range(events)))
    return times, 0.0


def least_disturbed(daemon: Daemon, attempt: Callable[[], tuple[Result, float]]) -> tuple[Result, float]:
    """Return the result of the least disturbed of a few attempts, and how much that one was disturbed, in percent.

    An attempt returns its result and how many seconds it waited for a core itself.
    """
    runs: list[tuple[Result, float]] = []
    while len(runs) < _ATTEMPTS and not (runs and runs[-1][1] <= _QUIET):
        began_s, daemon_waited_s = time.monotonic(), daemon.waited_s()
        result, waited_s = attempt()
        waited_s = max(daemon.waited_s() - daemon_waited_s, waited_s)
        runs.append((result, 100 * waited_s / (time.monotonic() - began_s)))
    return min(runs, key=lambda run: run[1])


def latency(link: Link, bridge: Bridge, seconds: float, changes: bool) -> tuple[dict[str, Any], float]:
    """Return what the generator sees, while neighbors change or nothing happens, and its wait for a core."""
    generator = link.start_generator("latency", rate=_RATE, seconds=seconds, warmup=0.3)
    number = 0
    while generator.poll() is None:
        time.sleep(_CHANGE_EVERY_S)
        if changes:
            number += 1
            bridge.change(neighbour("add" if number % 2 else "del", _EXTRA + 0xFFFF))
    if changes and number % 2:
        bridge.change(neighbour("del", _EXTRA + 0xFFFF))
    report: dict[str, Any] = json.loads(generator.communicate()[0])
    return report, report["waited_s"]


def percentiles(what: str, times: list[float], limit: float) -> Iterator[Figure]:
    yield Figure(f"{what}, p50", quantiles(times, n=100)[49], "ms")
    yield Figure(f"{what}, p99", quantiles(times, n=100)[98], "ms", limit)


def measure(link: Link, bridge: Bridge, events: int, seconds: float, many: int) -> Iterable[Figure]:
    with Daemon(link, "-n", PREFIX) as daemon:
        for count, others in ((0, "no other neighbors"), (10_000, "among 10,000 neighbors")):
            bridge.fill(count)
            daemon.await_targets(count)

            def follow(count: int = count) -> tuple[list[float], float]:
                result = follow_times(link, bridge, _EXTRA, events)
                daemon.await_targets(count)
                return result

            times, _ = least_disturbed(daemon, follow)
            yield from percentiles(f"event to answer, {others}", times, 100)
    with Daemon(link, "-n", PREFIX, "--announce", "never") as daemon:
        daemon.await_targets(10_000)
        for what, changes, limit in (
            ("10,000 neighbors at rest", False, None),
            ("10,000 asked for again and again", True, 5),
        ):
            report, disturbed = least_disturbed(daemon, partial(latency, link, bridge, seconds, changes))
            yield Figure(f"answer latency, {what}, p50", report["p50_us"] / 1e3, "ms")
            yield Figure(f"answer latency, {what}, p99", report["p99_us"] / 1e3, "ms", limit)
            yield Figure(f"answer latency, {what}, max", report["max_us"] / 1e3, "ms")
            yield Figure(f"answers lost, {what}", report["lost"], "", 0)
            yield Figure(f"cores taken by others, {what}", disturbed, "%")
        yield Figure("RSS with 10,000 live targets", daemon.rss_mb(), "MB")
        bridge.fill(many)
        daemon.await_targets(many)
        limit = 70 if many == 100_000 else None
        yield Figure(f"RSS with {many:,} live targets", daemon.rss_mb(), "MB", limit)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100, help="of which the time is taken (default 100)")
    parser.add_argument("--seconds", type=float, default=5, help="of each latency measurement (default 5)")
    parser.add_argument("--many", type=int, default=100_000, help="live targets at the end (default 100,000)")
    parser.add_argument("--json", action="store_true", help="the figures for machines")
    options = parser.parse_args()
    figures = []
    with Link() as link, Bridge(link) as bridge:
        for figure in measure(link, bridge, options.events, options.seconds, options.many):
            figures.append(figure)
            if not options.json:
                bar = "" if figure.limit is None else f"   {'met' if figure.met else 'MISSED'}: {figure.limit:g}"
                print(f"{figure.what:52}{figure.value:10.2f} {figure.unit:3}{bar}", flush=True)
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures], indent=1))
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(exit_code(main))
