"""One responder's turn: start it, take every figure once, stop it.

The machine is shared with whatever else runs on it. A measurement during which the generator or the responder had to
wait for its core is taken again once the machine is idle, and the least disturbed one is kept.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from link import WHOLE_PREFIX, BenchError, Link
from responders import Responder

RATES: Final = (10_000, 50_000, 100_000, 200_000)
WINDOW: Final = 256

Sample = dict[str, float]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure, and how hard to try to do it undisturbed."""

    seconds: float
    attempts: int
    patience_s: float
    flood: bool  # whether the generator inside the kernel is there


@dataclass(frozen=True, slots=True)
class Measurement:
    report: dict[str, Any]  # what the generator saw
    cpu_us: float  # for each answer
    disturbed: float  # percent of the time


class Turn:
    """The measurements of one responder that is answering."""

    def __init__(self, link: Link, responder: Responder, effort: Effort) -> None:
        self._link = link
        self._responder = responder
        self._effort = effort
        self.kept: list[Measurement] = []

    def measure(self, mode: str, seconds: float, **options: float | str) -> Measurement:
        """Run the generator, several times if need be, and keep the least disturbed run."""
        best = self._measure_once(mode, seconds, options)
        for _ in range(self._effort.attempts - 1):
            if best.disturbed <= self._responder.quiet:
                break
            self._link.await_idle(self._effort.patience_s)
            best = min(best, self._measure_once(mode, seconds, options), key=lambda run: run.disturbed)
        self.kept.append(best)
        return best

    def flood(self, seconds: float, **options: float | str) -> dict[str, Any]:
        """Run the generator inside the kernel; its softirqs take turns with each process, so no run is undisturbed."""
        self._link.receive_by_napi(True)
        try:
            return self._link.flood("xdp" if self._responder.before_skb else "skb", seconds=seconds, **options)
        finally:
            self._link.receive_by_napi(False)
            if self._responder.before_skb:
                self._link.accept_before_skb(True)  # again: the judge took its place

    def _measure_once(self, mode: str, seconds: float, options: dict[str, float | str]) -> Measurement:
        cpu_s, waited_s = self._responder.cpu_s(), self._responder.waited_s()
        report = self._link.ask(mode, seconds=seconds, **options)
        cpu_s, waited_s = self._responder.cpu_s() - cpu_s, self._responder.waited_s() - waited_s
        answered = report["answered"] + report["answered_in_warmup"]
        # On one core the kernel's part of the work takes turns with each process: nobody else's doing
        disturbed = 0.0 if self._link.own_core else 100 * max(waited_s, report["waited_s"]) / report["seconds"]
        return Measurement(report, cpu_s * 1e6 / max(answered, 1), disturbed)

    def total(self, key: str) -> float:
        """Return the sum of one of the generator's counters over all measurements kept."""
        return float(sum(measurement.report[key] for measurement in self.kept))


def take_turn(link: Link, responder: Responder, effort: Effort) -> Sample:
    """Return every figure of one responder, by the keys of `wire.MEASURES`.

    Raises:
        BenchError: it does not answer, or ended by itself.
    """
    with _answering(link, responder) as first_s:
        sample = _figures(link, responder, effort)
        if responder.has_process:
            sample["first_ms"] = first_s * 1e3
    if effort.flood:
        cores = f"{link.asker_core},{link.responder_core}"
        with link.queues(2), _answering(link, responder):
            sample["ceiling_both"] = per_second(Turn(link, responder, effort).flood(effort.seconds, cpu=cores))
        sample["ceiling_best"] = max(sample["ceiling"], sample["ceiling_both"])
    return sample


@contextmanager
def _answering(link: Link, responder: Responder) -> Iterator[float]:
    """Have a responder answer meanwhile; the value is how many seconds the first answer took."""
    try:
        if responder.before_skb:
            link.accept_before_skb(True)
        try:
            first_s = link.time_to_first_answer(lambda: responder.start(link))
        except TimeoutError as error:
            raise BenchError(f"{responder.name}: {error}\n{responder.complaint()}") from error
        time.sleep(0.3)  # what was asked during the start is answered, and the start itself is over
        yield first_s
    finally:
        responder.stop()
        if responder.before_skb:
            link.accept_before_skb(False)


def _figures(link: Link, responder: Responder, effort: Effort) -> Sample:
    turn, seconds = Turn(link, responder, effort), effort.seconds
    link.receive_on_own_core(True)
    try:
        own_core = turn.measure("window", seconds, window=WINDOW)
    finally:
        link.receive_on_own_core(False)
    saturation = turn.measure("window", seconds, window=WINDOW)
    sample = {
        "own_core": per_second(own_core.report),
        "saturation": per_second(saturation.report),
        "cpu_us": (saturation if responder.has_process else own_core).cpu_us,
    }
    if effort.flood:
        sample["ceiling"] = per_second(turn.flood(seconds))
    if responder.answers_prefix:
        sample["scan"] = per_second(turn.measure("window", seconds, window=WINDOW, **WHOLE_PREFIX).report)
    for rate in RATES:
        offered = turn.measure("rate", seconds, rate=rate)
        sample[f"at_{rate}"] = 100 * offered.report["answered"] / int(rate * seconds)
        if responder.has_process:  # of a core: at the last and highest rate
            sample["busy"] = offered.cpu_us * offered.report["answered"] / offered.report["seconds"] / 1e4
    latency = turn.measure("latency", 2 * seconds, rate=1000)
    for key in ("p50_us", "p99_us", "p999_us"):
        sample[key] = latency.report[key]
    sample["from_target"] = 100 * turn.total("from_target") / max(turn.total("answered"), 1)
    sample["faults"] = turn.total("invalid") + turn.total("duplicate")
    sample["disturbed"] = max(measurement.disturbed for measurement in turn.kept)
    sample["quiet"] = sample["disturbed"] <= responder.quiet
    if (rss_mb := responder.rss_mb()) is not None:
        sample["rss_mb"] = rss_mb
    if missed := turn.total("missed_by_generator"):
        print(f"{responder.name}: the generator missed {missed:.0f} answers: figures are too low", file=sys.stderr)
    return sample


def per_second(report: dict[str, Any]) -> float:
    """Return how many answers a generator got in a second."""
    return float(report["answered"] / report["seconds"])
