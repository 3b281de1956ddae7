#!/usr/bin/env python3
"""Measure the daemon on a wire, beside the kernel's proxy_ndp, ndppd and npd6, and say whether the bars are met.

Needs root. The responders take turns, round after round, so that a busy moment of the machine falls on all of them;
each figure is the median of its rounds, with the lowest and the highest beside it. A round in which other processes
took more than 3 % of a core does not count if there is a quiet one. README.md says what each figure means.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from link import BenchError, Link, build_generator
from responders import Responder, all_responders

RATES: Final = (10_000, 50_000, 100_000, 200_000)
WINDOW: Final = 256
QUIET: Final = 3.0  # a turn in which others took more than this many percent of a core is repeated, then left out
IDLE: Final = 0.1  # a turn begins when neither core is busier than this
OURS: Final = "ndpresponder"

Sample = dict[str, float]
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
    *(Measure(f"at_{rate}", f"answered %, {rate:,}/s offered", 2) for rate in RATES),
    Measure("p50_us", "latency p50, us", 1),
    Measure("p99_us", "latency p99, us", 1),
    Measure("p999_us", "latency p999, us", 1),
    Measure("cpu_us", "CPU per answer, us", 2),
    Measure("rss_mb", "RSS, MB", 1),
    Measure("first_ms", "start to first answer, ms"),
    Measure("from_target", "sourced from the target, %"),
    Measure("faults", "invalid or duplicate answers"),
    Measure("disturbed", "cores taken by others, %", 1),
)


def measure(link: Link, responder: Responder, seconds: float) -> Sample:
    """Start a responder, take every figure once, and stop it."""
    sample: Sample = {}
    try:
        try:
            first_s = link.time_to_first_answer(lambda: responder.start(link))
        except TimeoutError as error:
            raise BenchError(f"{responder.name}: {error}\n{responder.complaint()}") from error
        if responder.has_process:
            sample["first_ms"] = first_s * 1e3
        time.sleep(0.3)  # what was asked during the start is answered, and the start itself is over
        link.receive_on_own_core(True)
        try:
            own_core, own_core_cpu_us = saturate(link, responder, seconds)
        finally:
            link.receive_on_own_core(False)
        waited_s = responder.waited_s()
        report, cpu_us = saturate(link, responder, seconds)
        sample["saturation"] = report["answered"] / report["seconds"]
        sample["own_core"] = own_core["answered"] / own_core["seconds"]
        sample["cpu_us"] = cpu_us if responder.has_process else own_core_cpu_us
        reports = [own_core, report]
        for rate in RATES:
            report = link.ask("rate", rate=rate, seconds=seconds)
            reports.append(report)
            sample[f"at_{rate}"] = 100 * report["answered"] / (rate * seconds)
        report = link.ask("latency", rate=1000, seconds=2 * seconds)
        reports.append(report)
        for key in ("p50_us", "p99_us", "p999_us"):
            sample[key] = report[key]

        def total(key: str) -> float:
            return float(sum(report[key] for report in reports))

        sample["from_target"] = 100 * total("from_target") / max(total("answered"), 1)
        sample["faults"] = total("invalid") + total("duplicate")
        sample["disturbed"] = 100 * max(total("waited_s"), responder.waited_s() - waited_s) / total("seconds")
        if missed := total("missed_by_generator"):
            print(f"{responder.name}: the generator missed {missed:.0f} answers: figures are too low", file=sys.stderr)
        rss_mb = responder.rss_mb()
        if rss_mb is not None:
            sample["rss_mb"] = rss_mb
    finally:
        responder.stop()
    return sample


def saturate(link: Link, responder: Responder, seconds: float) -> tuple[dict[str, Any], float]:
    """Return the generator's report and the microseconds of CPU for each answer."""
    before = responder.cpu_s()
    report = link.ask("window", window=WINDOW, seconds=seconds)
    used = responder.cpu_s() - before
    return report, used * 1e6 / max(report["answered"] + report["answered_in_warmup"], 1)


def attempts(link: Link, responder: Responder, options: argparse.Namespace) -> Iterator[Sample]:
    """Yield measurements, each begun when the machine was idle or the patience for that ran out."""
    for _ in range(options.attempts):
        end = time.monotonic() + options.patience
        while link.busy() > IDLE and time.monotonic() < end:
            pass
        yield measure(link, responder, options.seconds)


def quietest(samples: Iterator[Sample]) -> Sample:
    """Return the first attempt that was quiet, or else the least disturbed of all."""
    best = next(samples)
    while best["disturbed"] > QUIET and (another := next(samples, None)):
        best = min(best, another, key=lambda sample: sample["disturbed"])
    return best


def values_of(samples: list[Sample], key: str) -> list[float]:
    """Return one figure of the rounds that were quiet, or of all of them if none was."""
    quiet = [sample for sample in samples if sample["disturbed"] <= QUIET]
    return [sample[key] for sample in quiet or samples if key in sample]


def middle(results: Results, name: str, key: str) -> float | None:
    """Return the median over the rounds, None for what does not exist there."""
    values = values_of(results.get(name, []), key)
    return median(values) if values else None


def ratio(results: Results, key: str, name: str, other: str) -> float | None:
    """Return how many times the other's figure this one's is."""
    a, b = middle(results, name, key), middle(results, other, key)
    return a / b if a is not None and b else None


def table(results: Results) -> Iterator[str]:
    """Yield the lines of the comparison."""
    names = list(results)
    yield f"{'':30}" + "".join(f"{name:>28}" for name in names)
    for row in MEASURES:
        cells = []
        for name in names:
            values = values_of(results[name], row.key)
            low, mid, high = (f"{f(values):,.{row.digits}f}" if values else "-" for f in (min, median, max))
            cells.append(mid if low == high else f"{mid} ({low}-{high})")
        yield f"{row.title:30}" + "".join(f"{cell:>28}" for cell in cells)
    counted = [f"{len(values_of(samples, 'disturbed'))} of {len(samples)}" for samples in results.values()]
    yield f"{'rounds counted':30}" + "".join(f"{cell:>28}" for cell in counted)
    for other in ("npd6", "proxy_ndp"):
        for key, title in (("saturation", "answered/s"), ("own_core", "answered/s, one core"), ("p50_us", "p50")):
            ratios = [ratio(results, key, name, other) for name in names]
            cells = [f"{value:.2f} x" if value else "-" for value in ratios]
            yield f"{f'{title} to {other}':30}" + "".join(f"{cell:>28}" for cell in cells)


def bars(results: Results) -> list[Bar]:
    """Return the bars that this run can judge."""
    wanted = (
        ("answered/s at saturation, to npd6", ratio(results, "saturation", OURS, "npd6"), 2.0, True),
        ("answered/s at saturation, to proxy_ndp", ratio(results, "saturation", OURS, "proxy_ndp"), 1.3, True),
        ("latency p50, to npd6", ratio(results, "p50_us", OURS, "npd6"), 1.0, False),
        ("answered % at 100,000/s", middle(results, OURS, "at_100000"), 100.0, True),
        ("RSS, MB", middle(results, OURS, "rss_mb"), 45.0, False),
        ("start to first answer, ms", middle(results, OURS, "first_ms"), 400.0, False),
        ("sourced from the target, %", middle(results, OURS, "from_target"), 100.0, True),
        ("invalid or duplicate answers", middle(results, OURS, "faults"), 0.0, False),
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
    build_generator()
    results: Results = {responder.name: [] for responder in responders}
    with Link() as link:
        print(f"generator on core {link.asker_core}, responders on core {link.responder_core}", file=sys.stderr)
        for number in range(1, options.rounds + 1):
            for responder in responders:
                sample = quietest(attempts(link, responder, options))
                results[responder.name].append(sample)
                turn = f"round {number}/{options.rounds} {responder.name}"
                figures = f"{sample['saturation']:,.0f} answered/s; others took {sample['disturbed']:.1f} % of a core"
                print(f"{turn}: {figures}", file=sys.stderr, flush=True)
    verdict = bars(results)
    if options.json:
        judged = [{**vars(bar), "met": bar.met} for bar in verdict]
        print(json.dumps({"seconds": options.seconds, "results": results, "bars": judged}, indent=1))
    else:
        print("\n".join(table(results)))
        print()
        for bar in verdict:
            side = "at least" if bar.at_least else "at most"
            print(f"{'met' if bar.met else 'NOT MET':8}{bar.text}: {bar.value:,.2f} ({side} {bar.limit:g})")
    return int(options.bars and not all(bar.met for bar in verdict))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=float, help="length of each measurement (default 2; latency takes twice that)"
    )
    parser.add_argument("--rounds", type=int, help="how often everyone takes a turn (default 5)")
    parser.add_argument("--short", action="store_true", help="1 second, 3 rounds: two to four minutes")
    parser.add_argument(
        "--patience",
        type=float,
        default=5,
        metavar="S",
        help="wait so long for an idle machine before each turn (default 5)",
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="measure only this one; repeatable")
    parser.add_argument("--json", action="store_true", help="every sample of every round, for machines")
    parser.add_argument("--bars", action="store_true", help="exit with 1 if a bar is not met")
    options = parser.parse_args()
    options.seconds = options.seconds or (1 if options.short else 2)
    options.attempts = 2 if options.short else 3
    options.rounds = options.rounds or (3 if options.short else 5)
    try:
        return run(options)
    except BenchError as error:
        print(f"wire: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
