#!/usr/bin/env python3
"""Measure what a flood of solicitations for others costs the daemon, whether ours get through it, and the counts.

Needs root. 1 % of the solicitations are for targets of ours: two of every 200. README.md says what each figure is.
"""

import argparse
import http.client
import json
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Final

from ending import exit_code
from link import UPLINK, Link
from responders import ProcessResponder

_FIRST = int(IPv6Address("2001:db8:7::"))
_OTHERS = int(IPv6Address("2001:db9::"))
_OURS_ALONE: Final = "2001:db8:8::"
_ONE_IN: Final = 100
_TARGETS: Final = 256
_RATE: Final = 300_000
_ENDLESS: Final = 10_000_000
_PIECES: Final = 10
_LIMIT_US: Final = 0.2
_QUIET: Final = 3.0  # percent of the time that the daemon or the generator waited for its core in an undisturbed run
_MIXED: Final[dict[str, float | str]] = {"target": str(IPv6Address(_FIRST)), "targets": _ONE_IN * _TARGETS}
_ALONE: Final[dict[str, float | str]] = {"target": _OURS_ALONE, "targets": _TARGETS}
_OTHERS_ALONE: Final[dict[str, float | str]] = {"target": "2001:db8:9::", "targets": _TARGETS}


@dataclass(frozen=True)
class Figures:
    """What one kind of run showed; times are of one foreign solicitation, in microseconds."""

    offered: float  # solicitations per second that were sent
    ours_answered: float  # percent
    daemon_us: float  # process time, without what ours cost alone
    kernel_us: float  # in the receive softirq, more than without a daemon
    miscounted: int  # foreign solicitations counted less those sent
    dropped: int
    disturbed: float  # percent


class Counting:
    """The daemon, and what it counts."""

    def __init__(self, link: Link, directory: str, prefixes: int) -> None:
        """Have it answer for so many `prefixes` beside those that are asked for."""
        targets = [f"{IPv6Address(_FIRST + number)}/127" for number in range(0, _ONE_IN * _TARGETS, 2 * _ONE_IN)]
        others = [f"{IPv6Address(_OTHERS + (number << 66))}/64" for number in range(prefixes)]
        file = Path(directory, "targets")
        file.write_text("\n".join((*targets, f"{_OURS_ALONE}/120", *others)))
        self._path = Path(directory, "metrics")
        argv = (sys.executable, "-m", "ndpresponder", "-i", UPLINK, "-f", str(file), "--metrics", f"unix:{self._path}")
        self.process = ProcessResponder("ndpresponder", *argv)
        self._link = link

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have it run, and answer, for the length of the context."""
        try:
            self._link.time_to_first_answer(lambda: self.process.start(self._link), **_ALONE)
            self._link.busy(1)  # the start is over
            yield
        finally:
            self.process.stop()

    def counter(self, name: str) -> int:
        """Return the sum of a counter over its labels, of which `name` may hold some."""
        with socket.socket(socket.AF_UNIX) as served:
            served.connect(str(self._path))
            served.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            response = http.client.HTTPResponse(served)
            response.begin()
            text = response.read().decode()
        return sum(int(float(value)) for value in re.findall(rf"^ndpresponder_{name}.* (\S+)$", text, re.MULTILINE))


def measure(link: Link, seconds: float, prefixes: int) -> Figures:
    """Return the figures of a daemon that answers for so many prefixes beside those asked for.

    Raises:
        BenchError: it does not answer, or ended by itself.
    """
    with tempfile.TemporaryDirectory(prefix="ndpbench-") as directory:
        daemon = Counting(link, directory, prefixes)
        process = daemon.process
        without_us = _delivered_us(link, seconds)
        with daemon.running():
            alone, _ = _run(link, process, seconds, rate=_RATE / _ONE_IN, **_ALONE)
            names = ('solicitations_ignored_total{interface="uplink",reason="not_ours"}', "kernel_drops_total")
            before = [daemon.counter(name) for name in names]
            mixed, report = _run(link, process, seconds, rate=_RATE, **_MIXED)
            counted, dropped = (daemon.counter(name) - was for name, was in zip(names, before, strict=True))
            disturbed = 100 * max(process.waited_s(), report["waited_s"]) / seconds
            with_us = _delivered_us(link, seconds)
    whole, rest = divmod(report["sent"], 2 * _ONE_IN)
    ours = 2 * whole + min(rest, 2)
    foreign = report["sent"] - ours
    return Figures(
        offered=report["sent"] / report["seconds"],
        ours_answered=100 * report["answered"] / ours,
        daemon_us=(mixed - alone) * 1e6 / foreign,
        kernel_us=with_us - without_us,
        miscounted=counted - foreign,
        dropped=dropped,
        disturbed=disturbed,
    )


def _run(link: Link, process: ProcessResponder, seconds: float, **options: Any) -> tuple[float, dict[str, Any]]:
    """Return the process time that a run took, and the generator's report."""
    before = process.ran_s()
    report = link.ask("rate", seconds=seconds, warmup=0, **options)
    return process.ran_s() - before, report


def _delivered_us(link: Link, seconds: float) -> float:
    """Return what sending a foreign solicitation costs, its delivery included: a veth receives on the sender's core."""
    reports = [
        link.ask("rate", seconds=seconds / _PIECES, warmup=0, rate=_ENDLESS, **_OTHERS_ALONE) for _ in range(_PIECES)
    ]
    return min(1e6 * float(report["seconds"]) / float(report["sent"]) for report in reports)  # the least disturbed


_ROWS: Final = (
    ("offered/s", "offered", 0),
    ("ours answered, %", "ours_answered", 3),
    ("process time for each foreign one, us", "daemon_us", 3),
    ("the kernel's time for each, us", "kernel_us", 3),
    ("foreign ones counted, less those sent", "miscounted", 0),
    ("dropped by the kernel", "dropped", 0),
    ("core taken by others, %", "disturbed", 1),
)
# Prefixes beside those asked for: so many do not fit the kernel's program, and all is read
_WAYS: Final = (("counted by the kernel", 0), ("all read", 3000))


def best_of(link: Link, seconds: float, attempts: int, patience_s: float, prefixes: int) -> Figures:
    """Return the figures of the least disturbed of so many attempts, each begun when the machine is idle."""
    tried: list[Figures] = []
    while not tried or (tried[-1].disturbed > _QUIET and len(tried) < attempts):
        link.await_idle(patience_s)
        tried.append(measure(link, seconds, prefixes))
    return min(tried, key=lambda figures: figures.disturbed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3, metavar="S", help="length of each run (3)")
    parser.add_argument("--attempts", type=int, default=3, metavar="N", help="tries at an undisturbed run (3)")
    parser.add_argument("--patience", type=float, default=60, metavar="S", help="wait so long for an idle machine (60)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    with Link() as link:
        results = {
            name: best_of(link, arguments.seconds, arguments.attempts, arguments.patience, prefixes)
            for name, prefixes in _WAYS
        }
    counted = results[_WAYS[0][0]]
    met = counted.daemon_us <= _LIMIT_US and counted.ours_answered == 100 and not counted.miscounted
    if arguments.json:
        print(json.dumps({name: asdict(figures) for name, figures in results.items()}, indent=2))
    else:
        print(f"{'':40}" + "".join(f"{name:>26}" for name in results))
        for title, key, digits in _ROWS:
            cells = (f"{getattr(figures, key):,.{digits}f}" for figures in results.values())
            print(f"{title:40}" + "".join(f"{cell:>26}" for cell in cells))
        print(
            f"at most {_LIMIT_US} us of the process, all of ours answered, counts exact: {'met' if met else 'MISSED'}"
        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(exit_code(main))
