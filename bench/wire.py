#!/usr/bin/env python3
"""Measure the daemon on a wire, beside the kernel's proxy_ndp, ndppd, npd6 and C, and say whether the bars are met.

Needs root. The responders take turns, round after round, so that a busy moment of the machine falls on all of them;
each figure is the median of its rounds, with the lowest and the highest beside it. README.md says what each means.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

import report
from ending import exit_code
from link import BenchError, Link
from programs import can_flood
from responders import Responder, all_responders
from turn import RATES, Effort, Sample, take_turn

OURS: Final = "ndpresponder"
TCX, XDP = f"{OURS} tcx", f"{OURS} xdp"

_IN_SHORT: Final = (
    "saturation",
    "ceiling",
    "ceiling_both",
    "scan",
    "at_100000",
    "at_200000",
    "p50_us",
    "cpu_us",
    "rss_mb",
    "first_ms",
)

Results = dict[str, list[Sample]]  # of each responder, one sample per round


@dataclass(frozen=True)
class Measure:
    key: str
    title: str
    digits: int = 0


@dataclass(frozen=True)
class Bar:
    """What must hold: `value` (a ratio or a figure of ours) on the right side of `limit`."""

    text: str
    value: float
    limit: float
    at_least: bool

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


MEASURES: Final = (
    Measure("saturation", "answered/s at saturation"),
    Measure("own_core", "answered/s, all on one core"),
    Measure("ceiling", "answered/s, in-kernel generator"),
    Measure("ceiling_both", "answered/s, the same on both cores"),
    Measure("scan", "answered/s, 65,536 targets"),
    *(Measure(f"at_{rate}", f"answered %, {rate:,}/s offered", 2) for rate in RATES),
    Measure("p50_us", "latency p50, us", 1),
    Measure("p99_us", "latency p99, us", 1),
    Measure("p999_us", "latency p999, us", 1),
    Measure("cpu_us", "CPU per answer, us", 2),
    Measure("busy", f"CPU at {RATES[-1]:,}/s offered, %", 1),
    Measure("rss_mb", "RSS, MB", 1),
    Measure("first_ms", "start to first answer, ms"),
    Measure("from_target", "sourced from the target, %"),
    Measure("faults", "invalid or duplicate answers"),
    Measure("disturbed", "cores taken by others, %", 1),
)


def values_of(samples: list[Sample], key: str) -> list[float]:
    """Return one figure of the rounds that were quiet all through, or of every round if none was."""
    quiet = [sample for sample in samples if sample["quiet"]]
    return [sample[key] for sample in quiet or samples if key in sample]


def without_quiet_round(results: Results) -> list[str]:
    """Return whose figures are those of a busy machine."""
    return [name for name, samples in results.items() if not any(sample["quiet"] for sample in samples)]


def middle(results: Results, name: str, key: str) -> float | None:
    """Return the median over the rounds, None for what does not exist there."""
    values = values_of(results.get(name, []), key)
    return median(values) if values else None


def ratio(results: Results, key: str, name: str, other: str) -> float | None:
    """Return how many times the other's figure this one's is."""
    a, b = middle(results, name, key), middle(results, other, key)
    return a / b if a is not None and b else None


def spread(results: Results, name: str, measure: Measure) -> str:
    """Return the median with the lowest and the highest."""
    values = values_of(results[name], measure.key)
    low, mid, high = (report.number(f(values), measure.digits) if values else "-" for f in (min, median, max))
    return mid if low == high else f"{mid} ({low}-{high})"


def table(results: Results) -> Iterator[list[str]]:
    """Yield the rows of the comparison, the head first."""
    names = list(results)
    yield ["", *names]
    for measure in MEASURES:
        yield [measure.title, *(spread(results, name, measure) for name in names)]
    yield ["rounds counted", *(f"{len(values_of(s, 'disturbed'))} of {len(s)}" for s in results.values())]
    for key, title, others in (
        ("saturation", "answered/s", ("npd6", "proxy_ndp", "C recvmmsg")),
        ("own_core", "answered/s, one core", ("npd6", "proxy_ndp", "C recvmmsg")),
        ("ceiling", "answered/s, in-kernel generator", ("C ring",)),
        ("ceiling_best", "answered/s, the same at best", ("C ring",)),
        ("p50_us", "p50", ("npd6", "proxy_ndp")),
    ):
        for other in others:
            ratios = [ratio(results, key, name, other) for name in names]
            if any(ratios):
                yield [f"{title}, to {other}", *(f"{value:.2f} x" if value else "-" for value in ratios)]


def short_table(results: Results) -> Iterator[list[str]]:
    """Yield the rows that matter most, medians only."""
    yield ["", *results]
    for measure in MEASURES:
        if measure.key in _IN_SHORT:
            yield [measure.title, *(spread(results, name, measure).split(" ")[0] for name in results)]


def write(results: Results) -> None:
    """Put both tables, and how they came about, where the documents show them."""
    how = report.circumstances()
    if busy := without_quiet_round(results):
        how += f" The machine was busy: no quiet round of {', '.join(busy)}."
    head = f"{how} Median (lowest-highest) of the quiet rounds."
    report.fill(report.BENCH_README, "wire", [head, "", *report.markdown(list(table(results)))])
    report.fill(report.COMPARISON, "wire", [*report.markdown(list(short_table(results))), "", f"{how} Medians."])


def bars(results: Results) -> list[Bar]:
    """Return the bars that this run can judge."""
    wanted = (
        ("answered/s at saturation, to npd6", ratio(results, "saturation", OURS, "npd6"), 2.1, True),
        ("answered/s at saturation, to proxy_ndp", ratio(results, "saturation", OURS, "proxy_ndp"), 1.45, True),
        ("answered/s at saturation, to C recvmmsg", ratio(results, "saturation", OURS, "C recvmmsg"), 0.56, True),
        ("latency p50, to npd6", ratio(results, "p50_us", OURS, "npd6"), 1.0, False),
        ("answered % at 100,000/s", middle(results, OURS, "at_100000"), 100.0, True),
        ("RSS, MB", middle(results, OURS, "rss_mb"), 45.0, False),
        ("start to first answer, ms", middle(results, OURS, "first_ms"), 400.0, False),
        ("sourced from the target, %", middle(results, OURS, "from_target"), 100.0, True),
        ("invalid or duplicate answers", middle(results, OURS, "faults"), 0.0, False),
        ("tcx: answered/s at saturation, to proxy_ndp", ratio(results, "saturation", TCX, "proxy_ndp"), 2.3, True),
        ("tcx: answered/s at best, to C ring", ratio(results, "ceiling_best", TCX, "C ring"), 1.5, True),
        ("xdp: answered/s at best, to C ring", ratio(results, "ceiling_best", XDP, "C ring"), 5.0, True),
        ("tcx: latency p50, to user space", ratio(results, "p50_us", TCX, OURS), 0.2, False),
        (f"tcx: CPU of the daemon at {RATES[-1]:,}/s, %", middle(results, TCX, "busy"), 2.0, False),
    )
    return [Bar(text, value, limit, at_least) for text, value, limit, at_least in wanted if value is not None]


def choose(only: list[str]) -> list[Responder]:
    """Return the responders to measure; say which cannot run here.

    Raises:
        BenchError: none is left, or a name is unknown.
    """
    everyone = all_responders()
    if unknown := set(only) - {responder.name for responder in everyone}:
        raise BenchError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(r.name for r in everyone)}")
    chosen = []
    for responder in everyone:
        if only and responder.name not in only:
            continue
        if why := responder.why_not():
            print(f"{responder.name} is left out: {why}", file=sys.stderr)
        else:
            chosen.append(responder)
    if not chosen:
        raise BenchError("nothing to measure")
    return chosen


def run(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise BenchError("network namespaces are root's to make: run it with sudo")
    responders = choose(options.only)
    effort = Effort(options.seconds, 1 if options.short else 4, options.patience, can_flood())
    results: Results = {responder.name: [] for responder in responders}
    with Link() as link:
        print(f"generator on core {link.asker_core}, responders on core {link.responder_core}", file=sys.stderr)
        for number in range(1, options.rounds + 1):
            for responder in responders:
                sample = take_turn(link, responder, effort)
                results[responder.name].append(sample)
                turn = f"round {number}/{options.rounds} {responder.name}"
                figures = f"{sample['saturation']:,.0f} answered/s; others took {sample['disturbed']:.1f} % of a core"
                print(f"{turn}: {figures}", file=sys.stderr, flush=True)
    for name in without_quiet_round(results):
        print(f"{name} had no quiet round: its figures are those of a busy machine", file=sys.stderr)
    verdict = bars(results)
    if options.json:
        judged = [{**vars(bar), "met": bar.met} for bar in verdict]
        print(json.dumps({"seconds": options.seconds, "results": results, "bars": judged}, indent=1))
    else:
        print("\n".join(report.aligned(list(table(results)))))
        print()
        for bar in verdict:
            side = "at least" if bar.at_least else "at most"
            print(f"{'met' if bar.met else 'NOT MET':8}{bar.text}: {bar.value:,.2f} ({side} {bar.limit:g})")
    if options.write:
        write(results)
    return int(options.bars and not all(bar.met for bar in verdict))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=float, help="length of each measurement (default 2; latency takes twice that)"
    )
    parser.add_argument("--rounds", type=int, help="how often everyone takes a turn (default 5)")
    parser.add_argument("--short", action="store_true", help="0.4 seconds, 2 rounds, nothing taken again: two minutes")
    parser.add_argument(
        "--patience",
        type=float,
        default=5,
        metavar="S",
        help="wait so long for an idle machine before a disturbed measurement is repeated (default 5)",
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="measure only this one; repeatable")
    parser.add_argument("--json", action="store_true", help="every sample of every round, for machines")
    parser.add_argument("--bars", action="store_true", help="exit with 1 if a bar is not met")
    parser.add_argument("--write", action="store_true", help="put the tables into both documents")
    options = parser.parse_args()
    options.seconds = options.seconds or (0.4 if options.short else 2)
    options.rounds = options.rounds or (2 if options.short else 5)
    return run(options)


if __name__ == "__main__":
    sys.exit(exit_code(main))
