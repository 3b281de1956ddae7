"""One responder's turn: start it, take every figure once, stop it.

The machine is shared with whatever else runs on it. A measurement during which the generator or the responder had to
wait for its core is taken again once the machine is idle, and the least disturbed one is kept.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from link import WHOLE_PREFIX, BenchError, Link
from responders import Responder, Sample

RATES: Final = (10_000, 50_000, 100_000, 200_000)
CPU_RATES: Final = (1_000, 10_000, 50_000)
WINDOW: Final = 256
OVERLOADED: Final = ("ndpresponder", "npd6")  # by one requester; the generator cannot offer C more than it answers
BASELINES: Final = ("C recvmmsg", "C ring")  # no daemons: idle, they wait in one system call
OVERLOADS: Final = (1.1, 1.5, 3)  # times what is answered at saturation
ALONE, HALF_CORE = "", "_half"
_CALM_S: Final = 1.0  # between the last solicitation and an idle process, whose work of the last second is done by then
_IDLE_S: Final = 3.0


def overload_key(factor: float, suffix: str) -> str:
    return f"overload_{factor:g}{suffix}"


OVERLOAD_KEYS: Final = tuple(overload_key(factor, suffix) for suffix in (ALONE, HALF_CORE) for factor in OVERLOADS)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure, and how hard to try to do it undisturbed."""

    seconds: float
    attempts: int
    patience_s: float
    flood: bool  # whether the generator inside the kernel is there
    rows: tuple[str, ...] = ("*",)  # which rows to measure: patterns as of a shell

    def wants(self, *keys: str) -> bool:
        """Tell whether one of these rows is to be measured."""
        return any(fnmatchcase(key, pattern) for key in keys for pattern in self.rows)


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
        if self._link.half_core:
            waited_s = 0.0  # for the busy loop, as it is meant to
        disturbed = 0.0 if self._link.own_core else 100 * max(waited_s, report["waited_s"]) / report["seconds"]
        return Measurement(report, cpu_s * 1e6 / max(answered, 1), disturbed)

    def total(self, key: str) -> float:
        """Return the sum of one of the generator's counters over all measurements kept."""
        return float(sum(measurement.report[key] for measurement in self.kept))


def take_turn(link: Link, responder: Responder, effort: Effort) -> Sample:
    """Return the wanted figures of one responder, by the keys of `rows.MEASURES`.

    Raises:
        BenchError: it does not answer, or ended by itself.
    """
    with answering(link, responder) as first_s:
        sample = _figures(link, responder, effort)
        if responder.has_process:
            sample["first_ms"] = first_s * 1e3
    if effort.flood and effort.wants("ceiling_both", "ceiling_best"):
        cores = f"{link.asker_core},{link.responder_core}"
        with link.queues(2), answering(link, responder):
            sample["ceiling_both"] = per_second(Turn(link, responder, effort).flood(effort.seconds, cpu=cores))
        sample["ceiling_best"] = max(sample.get("ceiling", 0.0), sample["ceiling_both"])
    return sample


@contextmanager
def answering(link: Link, responder: Responder) -> Iterator[float]:
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
    turn, seconds, wants = Turn(link, responder, effort), effort.seconds, effort.wants
    process = responder.has_process
    sample: Sample = {}
    if wants("own_core") or (wants("cpu_us") and not process):
        link.receive_on_own_core(True)
        try:
            own_core = turn.measure("window", seconds, window=WINDOW)
        finally:
            link.receive_on_own_core(False)
        sample |= {"own_core": per_second(own_core.report), "cpu_us": own_core.cpu_us}
    if wants("saturation", "cpu_us", "from_target", "faults"):
        saturation = turn.measure("window", seconds, window=WINDOW)
        sample["saturation"] = per_second(saturation.report)
        if process:
            sample["cpu_us"] = saturation.cpu_us
    if effort.flood and wants("ceiling", "ceiling_best"):
        sample["ceiling"] = per_second(turn.flood(seconds))
    if responder.answers_prefix and wants("scan"):
        sample["scan"] = per_second(turn.measure("window", seconds, window=WINDOW, **WHOLE_PREFIX).report)
    for rate in RATES:
        keys = [
            f"at_{rate}",
            *([f"cpu_at_{rate}"] if rate in CPU_RATES else ()),
            *(["busy"] if rate == RATES[-1] else ()),
        ]
        if wants(*keys):
            offered = turn.measure("rate", seconds, rate=rate)
            sample[f"at_{rate}"] = 100 * offered.report["answered"] / int(rate * seconds)
            if process:
                sample[f"cpu_at_{rate}"] = offered.cpu_us
                # of a core: at the last and highest rate
                sample["busy"] = offered.cpu_us * offered.report["answered"] / offered.report["seconds"] / 1e4
    if wants("p50_us", "p99_us", "p999_us", f"cpu_at_{CPU_RATES[0]}"):
        latency = turn.measure("latency", 2 * seconds, rate=CPU_RATES[0])
        sample |= {key: latency.report[key] for key in ("p50_us", "p99_us", "p999_us")}
        if process:
            sample[f"cpu_at_{CPU_RATES[0]}"] = latency.cpu_us
    sample |= responder.memory_mb()
    if not responder.by_stack and wants("requesters"):
        sample["requesters"] = per_second(turn.measure("window", seconds, window=WINDOW, sources=10_000).report)
    if responder.name in OVERLOADED and wants("scan_half", *OVERLOAD_KEYS):
        sample |= _overload(link, turn, seconds)
    if process and responder.name not in BASELINES and wants("idle_wakeups"):
        time.sleep(_CALM_S)
        sample["idle_wakeups"] = idle_wakeups(responder, _IDLE_S)
    if turn.kept:
        sample["from_target"] = 100 * turn.total("from_target") / max(turn.total("answered"), 1)
    sample["faults"] = turn.total("invalid") + turn.total("duplicate")
    sample["disturbed"] = max((measurement.disturbed for measurement in turn.kept), default=0.0)
    sample["quiet"] = sample["disturbed"] <= responder.quiet
    if missed := turn.total("missed_by_generator"):
        print(f"{responder.name}: the generator missed {missed:.0f} answers: figures are too low", file=sys.stderr)
    return sample


def _overload(link: Link, turn: Turn, seconds: float) -> Sample:
    """Return what part of its capacity a responder keeps while one requester offers more than that."""
    sample: Sample = {}
    for suffix, condition in ((ALONE, nullcontext()), (HALF_CORE, link.sharing_core())):
        with condition:
            capacity = per_second(turn.measure("window", seconds, window=WINDOW, **WHOLE_PREFIX).report)
            if suffix == HALF_CORE:
                sample["scan_half"] = capacity
            for factor in OVERLOADS:
                # No warm-up: what the responder loses until it has found its pace counts
                options = {"rate": factor * capacity, "warmup": 0, **WHOLE_PREFIX}
                report = turn.measure("rate", seconds, **options).report
                sample[overload_key(factor, suffix)] = 100 * report["answered_in_time"] / report["seconds"] / capacity
                if report["sent"] < 0.95 * factor * capacity * seconds:
                    offered = report["sent"] / report["seconds"] / capacity
                    print(f"the generator managed {offered:.2f} x of saturation, not {factor}", file=sys.stderr)
    return sample


def idle_wakeups(responder: Responder, seconds: float) -> float:
    """Return how often a second a responder wakes up while nothing happens."""
    before, began = responder.wakeups(), time.monotonic()
    time.sleep(seconds)
    return (responder.wakeups() - before) / (time.monotonic() - began)


def per_second(report: dict[str, Any]) -> float:
    """Return how many answers a generator got in a second."""
    return float(report["answered"] / report["seconds"])
