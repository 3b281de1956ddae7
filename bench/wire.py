#!/usr/bin/env python3
"""Measure the daemon on a wire, beside the kernel's proxy_ndp, ndppd, npd6 and C, and say whether the bars are met.

Needs root. The responders take turns, round after round, so that a busy moment of the machine falls on all of them;
each figure is the median of its rounds, with the lowest and the highest beside it. README.md says what each means.
"""

import argparse
import json
import os
import sys

import report
import setups
from ending import exit_code
from link import BenchError, Link
from programs import can_flood
from responders import Responder, all_responders
from rows import MEASURES, OURS, Results, bars, short_table, table, without_quiet_round
from turn import Effort, Sample, take_turn


def write(results: Results) -> None:
    """Put both tables, and how they came about, where the documents show them."""
    how = report.circumstances()
    if busy := without_quiet_round(results):
        how += f" The machine was busy: no quiet round of {', '.join(busy)}."
    head = f"{how} Median (lowest-highest) of the quiet rounds."
    report.fill(report.BENCH_README, "wire", [head, "", *report.markdown(list(table(results)))])
    report.fill(report.COMPARISON, "wire", [*report.markdown(list(short_table(results))), "", f"{how} Medians."])


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


def figures(link: Link, responder: Responder, effort: Effort) -> Sample:
    """Return the wanted figures of one responder, of ours in each set-up too."""
    sample: Sample = {"disturbed": 0.0, "quiet": True}
    if effort.wants(*(measure.key for measure in MEASURES if measure.key not in setups.KEYS)):
        sample = take_turn(link, responder, effort)
    if responder.name == OURS:
        sample |= setups.take(link, effort)
    shown = {measure.key for measure in MEASURES if effort.wants(measure.key)}
    return {key: value for key, value in sample.items() if key in {*shown, "ceiling_best", "disturbed", "quiet"}}


def run(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise BenchError("network namespaces are root's to make: run it with sudo")
    responders = choose(options.only)
    rows = tuple(options.rows) or ("*",)
    effort = Effort(options.seconds, 1 if options.short else 4, options.patience, can_flood(), rows)
    if not any(effort.wants(measure.key) for measure in MEASURES):
        raise BenchError(f"no such row; known: {', '.join(measure.key for measure in MEASURES)}")
    results: Results = {responder.name: [] for responder in responders}
    with Link() as link:
        print(f"generator on core {link.asker_core}, responders on core {link.responder_core}", file=sys.stderr)
        for number in range(1, options.rounds + 1):
            for responder in responders:
                sample = figures(link, responder, effort)
                results[responder.name].append(sample)
                turn = f"round {number}/{options.rounds} {responder.name}"
                answered = f"{sample['saturation']:,.0f} answered/s; " if "saturation" in sample else ""
                others = f"others took {sample['disturbed']:.1f} % of a core"
                print(f"{turn}: {answered}{others}", file=sys.stderr, flush=True)
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
    parser.add_argument("--short", action="store_true", help="0.4 seconds, 2 rounds, nothing taken again: four minutes")
    parser.add_argument(
        "--patience",
        type=float,
        default=5,
        metavar="S",
        help="wait so long for an idle machine before a disturbed measurement is repeated (default 5)",
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="measure only this one; repeatable")
    parser.add_argument(
        "--rows",
        action="append",
        default=[],
        metavar="GLOB",
        help="measure only these rows, such as 'cpu_at_*'; an unknown one lists them all; repeatable",
    )
    parser.add_argument("--json", action="store_true", help="every sample of every round, for machines")
    parser.add_argument("--bars", action="store_true", help="exit with 1 if a bar is not met")
    parser.add_argument("--write", action="store_true", help="put the tables into both documents")
    options = parser.parse_args()
    options.seconds = options.seconds or (0.4 if options.short else 2)
    options.rounds = options.rounds or (2 if options.short else 5)
    return run(options)


if __name__ == "__main__":
    sys.exit(exit_code(main))
