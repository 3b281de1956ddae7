#!/usr/bin/env python3
"""Measure how cost grows with live targets, prefixes, uplinks and requesters, beside the kernel's proxy_ndp.

Needs root. One of the four grows at a time; the others stay at 256 live targets, no prefix, one uplink, one requester.
README.md says what each figure is.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, IPv6Network
from statistics import median
from typing import Final

import report
from asking import Asker, Changer
from ending import exit_code
from link import UPLINK, BenchError, Link
from plot import Panel, svg
from programs import ROOT, can_flood
from responders import OURS, FastResponder, KernelResponder, ProcessResponder, Responder, Sample, proxy_entry
from turn import WINDOW, Effort, Turn, per_second

_BASE: Final = int(IPv6Address("2001:db8::"))
_FIRST: Final = IPv6Address(_BASE + 0x800)
# Targets have at most as many solicited-node groups as the daemon joins: the kernel walks through those that are joined
# for each frame it receives, whoever answers, and takes minutes to join 100,000 for its own proxy
_LOW_BITS: Final = 12
_LENGTHS: Final = range(96, 128)
_UPDATES: Final = 5  # at most, and fewer than that where one takes long
_UPDATES_WITHIN_S: Final = 3.0
_CHANGE_EVERY_S: Final = 0.8  # by then 100,000 lines are read and in force
_SVG: Final = ROOT / "bench" / "scale.svg"
_FIGURES: Final = (
    ("answered", "answered/s", 0),
    ("p50_us", "latency p50, us", 1),
    ("p99_us", "latency p99, us", 0),
    ("rss_mb", "RSS, MB", 1),
    ("update_ms", "update, ms", 1),
    ("stopped_ms", "longest wait, ms", 1),
    ("end_ms", "end, ms", 0),
)


@dataclass(frozen=True)
class Setting:
    """How many of each there are; prefixes are instead of live targets, with one target asked for in each."""

    targets: int = 256
    prefixes: int = 0
    uplinks: int = 1
    requesters: int = 1

    @property
    def count(self) -> int:
        """How many different targets are asked for."""
        return self.prefixes or self.targets

    @property
    def low_bits(self) -> int:
        """In how many of the last bits targets count; a prefix has all of those."""
        return 0 if self.prefixes else _LOW_BITS

    def target(self, number: int) -> IPv6Address:
        """Return one of the targets, as the generators count them (frame.h)."""
        low, high = number % (1 << self.low_bits), number >> self.low_bits
        return _FIRST + (high << 32) + low

    def line(self, number: int) -> str:
        """Return a line of the address file."""
        if self.prefixes:
            length = _LENGTHS[number % len(_LENGTHS)]
            return f"{IPv6Network((int(self.target(number)), length), strict=False)}\n"
        return f"{self.target(number)}\n"

    def listed(self, count: int) -> str:
        """Return the address file with so many lines."""
        return "".join(map(self.line, range(count)))

    def asked(self) -> dict[str, float | str]:
        """Return what the generators are told."""
        return {"target": str(_FIRST), "targets": self.count, "sources": self.requesters, "low_bits": self.low_bits}


@dataclass(frozen=True)
class Axis:
    key: str  # of `Setting`
    title: str
    values: tuple[int, ...]
    short: tuple[int, ...]


AXES: Final = (
    Axis("targets", "live targets", (1, 10, 100, 1_000, 10_000, 100_000), (1, 100_000)),
    Axis("prefixes", "prefixes", (1, 10, 100, 1_000, 10_000), (1, 10_000)),
    Axis("uplinks", "uplinks", (1, 2, 8, 32), (32,)),
    Axis("requesters", "requesters", (1, 100, 10_000), (10_000,)),
)

Results = dict[tuple[str, int], dict[str, list[Sample]]]  # by axis and value, by contestant, one sample per round


def contestants(setting: Setting, way: str) -> dict[str, Responder]:
    """Return who can be measured in a setting, by the names of the curves."""
    uplinks = (UPLINK, *(f"{UPLINK}{number}" for number in range(2, setting.uplinks + 1)))
    argv = (*OURS, "--address-file", "{config}", "--announce", "never", "--metrics", "[::1]:9846")
    argv += tuple(word for uplink in uplinks for word in ("--iface", uplink))
    listed = setting.listed(setting.count)
    everyone: dict[str, Responder] = {
        "user space": ProcessResponder("ndpresponder", *argv, config=listed),
        "fast path": FastResponder(way, *argv, config=listed),
    }
    if not setting.prefixes:  # it knows addresses only
        everyone["proxy_ndp"] = KernelResponder(map(setting.target, range(setting.count)))
    return everyone


def measure(link: Link, responder: Responder, setting: Setting, effort: Effort) -> Sample:
    """Return every figure of one responder in one setting, for which `link` was made."""
    with Asker(link) as asker:
        if responder.before_skb:
            link.accept_before_skb(True)
        try:
            responder.start(link)
            for number in range(setting.uplinks):
                with Asker(link, number) as other:
                    other.await_answer(int(setting.target(setting.count - 1)))
            return figures(link, asker, responder, setting, effort) | responder.end_ms()
        except BenchError as error:
            raise BenchError(f"{responder.name}, {setting}: {error}\n{responder.complaint()}") from error
        finally:
            responder.stop()


def figures(link: Link, asker: Asker, responder: Responder, setting: Setting, effort: Effort) -> Sample:
    """Return every figure of a responder that is answering."""
    turn = Turn(link, responder, effort)
    latency = turn.measure("latency", effort.seconds, rate=1000, **setting.asked())
    saturated = [turn.measure("window", effort.seconds, window=WINDOW, **setting.asked()).report]
    if effort.flood:
        saturated.append(turn.flood(effort.seconds, **setting.asked()))
    sample: Sample = {
        "answered": max(map(per_second, saturated)),
        "p50_us": latency.report["p50_us"],
        "p99_us": latency.report["p99_us"],
        "update_ms": median(update_times_ms(link, asker, responder, setting)),
        "stopped_ms": longest_wait_ms(Turn(link, responder, replace(effort, attempts=1)), responder, setting),
        "wrong": sum(report["invalid"] for report in (latency.report, *saturated)),
        "disturbed": latency.disturbed,
    }
    return sample | responder.memory_mb()


def update_times_ms(link: Link, asker: Asker, responder: Responder, setting: Setting) -> Iterator[float]:
    """Yield how long each of a few changes takes to become an answer: one more target or prefix."""
    end = time.monotonic() + _UPDATES_WITHIN_S
    with Changer(link) as changer:
        for number in range(setting.count, setting.count + _UPDATES):
            if isinstance(responder, ProcessResponder):
                following = responder.config.with_name("following")
                following.write_text(setting.listed(number + 1))
                began = time.monotonic()
                following.rename(responder.config)
            else:
                began = time.monotonic()
                changer.change(proxy_entry("add", setting.target(number), UPLINK))
            asker.await_answer(int(setting.target(number)))
            yield (time.monotonic() - began) * 1e3
            if time.monotonic() > end:
                return
            time.sleep(0.15 + number % 7 * 0.01)  # at any moment of the daemon's pace


def longest_wait_ms(turn: Turn, responder: Responder, setting: Setting) -> float:
    """Return the longest an answer took at 1,000/s while one target or prefix came, went, and all was read again."""

    def change() -> None:
        assert isinstance(responder, ProcessResponder)
        for more in (1, 0):
            time.sleep(_CHANGE_EVERY_S)
            following = responder.config.with_name("following")
            following.write_text(setting.listed(setting.count + more))
            following.rename(responder.config)
        time.sleep(_CHANGE_EVERY_S)
        responder.reload()

    with ThreadPoolExecutor(1) as beside:
        done = beside.submit(change) if isinstance(responder, ProcessResponder) else None
        report = turn.measure("latency", 4 * _CHANGE_EVERY_S, rate=1000, **setting.asked()).report
        if done is not None:
            done.result()
    return float(report["max_us"]) / 1e3


def values(results: Results, axis: Axis) -> list[int]:
    """Return the values of an axis that were measured."""
    return [value for key, value in results if key == axis.key]


def middle(results: Results, axis: Axis, value: int, name: str, key: str) -> float | None:
    """Return the median over the rounds, None for what does not exist there."""
    found = [sample[key] for sample in results[axis.key, value].get(name, []) if key in sample]
    return median(found) if found else None


def table(results: Results) -> Iterator[list[str]]:
    """Yield the rows of the comparison, the head first."""
    yield ["", "", *(title for _, title, _ in _FIGURES)]
    for axis in AXES:
        for value in values(results, axis):
            for name in results[axis.key, value]:
                row = ((middle(results, axis, value, name, key), digits) for key, _, digits in _FIGURES)
                cells = ("-" if figure is None else report.number(figure, digits) for figure, digits in row)
                yield [f"{axis.title}: {value:,}", name, *cells]


def picture(results: Results) -> str:
    """Return the plot: a column for each axis, a row for each figure."""
    rows = []
    for key, title, _ in _FIGURES:
        row = []
        for axis in AXES:
            curves = {}
            for name in dict.fromkeys(name for samples in results.values() for name in samples):
                points = ((value, middle(results, axis, value, name, key)) for value in values(results, axis))
                curves[name] = [(value, figure) for value, figure in points if figure is not None]
            row.append(Panel(axis.title, title, curves))
        rows.append(row)
    return svg("How cost grows", rows)


def write(results: Results) -> None:
    """Put the picture, the table and how they came about where the documents show them."""
    _SVG.write_text(picture(results))
    taken = median(s["disturbed"] for found in results.values() for samples in found.values() for s in samples)
    how = f"{report.circumstances()} Others took {taken:.1f} % of a core (median of all points)."
    lines = [how, "", "![How cost grows](scale.svg)", "", *report.markdown(list(table(results)))]
    report.fill(report.BENCH_README, "scale", lines)


def settings(short: bool) -> Iterator[tuple[Axis, int, Setting]]:
    """Yield what is to be measured."""
    for axis in AXES:
        for value in axis.short if short else axis.values:
            yield axis, value, replace(Setting(), **{axis.key: value})


def run(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise BenchError("network namespaces are root's to make: run it with sudo")
    effort = Effort(options.seconds, 1 if options.short else 3, options.patience, can_flood())
    results: Results = {}
    left_out: set[str] = set()
    for number in range(1, options.rounds + 1):
        for axis, value, setting in settings(options.short):
            for name, responder in contestants(setting, options.fastpath).items():
                if why := responder.why_not():
                    if name not in left_out:
                        print(f"the {name} is left out: {why}", file=sys.stderr)
                    left_out.add(name)
                    continue
                with Link(setting.uplinks, setting.requesters) as link:
                    sample = measure(link, responder, setting, effort)
                results.setdefault((axis.key, value), {}).setdefault(name, []).append(sample)
                where = f"round {number}/{options.rounds} {axis.title} {value:,} {name}"
                said = f"{sample['answered']:,.0f} answered/s; others took {sample['disturbed']:.1f} % of a core"
                print(f"{where}: {said}", file=sys.stderr, flush=True)
                if sample["wrong"]:
                    print(f"{where}: {sample['wrong']:.0f} answers were wrong", file=sys.stderr)
    if options.json:
        print(
            json.dumps([{"axis": axis, "value": value, **found} for (axis, value), found in results.items()], indent=1)
        )
    else:
        print("\n".join(report.aligned(list(table(results)))))
    if options.write:
        write(results)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, help="length of each measurement (default 2; 0.3 if short)")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (default 3; 1 if short)")
    parser.add_argument("--short", action="store_true", help="only the ends of each axis, once: two minutes")
    parser.add_argument("--fastpath", choices=("tcx", "xdp"), default="tcx", help="which one (default tcx)")
    parser.add_argument(
        "--patience", type=float, default=5, metavar="S", help="wait so long for an idle machine (default 5)"
    )
    parser.add_argument("--json", action="store_true", help="every sample of every round, for machines")
    parser.add_argument("--write", action="store_true", help="put the table into bench/README.md, the plot beside it")
    options = parser.parse_args()
    options.seconds = options.seconds or (0.3 if options.short else 2)
    options.rounds = options.rounds or (1 if options.short else 3)
    return run(options)


if __name__ == "__main__":
    sys.exit(exit_code(main))
