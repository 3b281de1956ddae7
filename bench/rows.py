"""The rows of the comparison on the wire: their figures, their ratios, and the bars that this project sets itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

import report
import setups
from responders import Sample
from turn import ALONE, CPU_RATES, HALF_CORE, OVERLOADS, RATES, overload_key

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
    "cpu_at_1000",
    "cpu_at_10000",
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


_SETUPS: Final = setups.setups()
_CONDITIONS: Final = ((ALONE, ""), (HALF_CORE, ", half a core"))
MEASURES: Final = (
    Measure("saturation", "answered/s at saturation"),
    Measure("own_core", "answered/s, all on one core"),
    Measure("ceiling", "answered/s, in-kernel generator"),
    Measure("ceiling_both", "answered/s, the same on both cores"),
    Measure("scan", "answered/s, 65,536 targets"),
    Measure("scan_half", "answered/s, the same with half a core"),
    *(
        Measure(overload_key(factor, suffix), f"{factor:g} x of that offered{condition}, answered % of it")
        for suffix, condition in _CONDITIONS
        for factor in OVERLOADS
    ),
    Measure("requesters", "answered/s, 10,000 requesters"),
    *(Measure(f"at_{rate}", f"answered %, {rate:,}/s offered", 2) for rate in RATES),
    Measure("p50_us", "latency p50, us", 1),
    Measure("p99_us", "latency p99, us", 1),
    Measure("p999_us", "latency p999, us", 1),
    Measure("cpu_us", "CPU per answer, us", 2),
    *(Measure(f"cpu_at_{rate}", f"CPU per answer at {rate:,}/s, us", 1) for rate in CPU_RATES),
    Measure("busy", f"CPU at {RATES[-1]:,}/s offered, %", 1),
    Measure("idle_wakeups", "wake-ups a second, idle", 1),
    *(Measure(f"{kind}_mb", f"{kind.upper()}, MB", 1) for kind in setups.KINDS),
    *(
        Measure(f"{kind}_{key}_mb", f"{kind.upper()}, {_SETUPS[key].title}, MB", 1)
        for key in setups.MEMORY
        for kind in setups.KINDS
    ),
    Measure("first_ms", "start to first answer, ms"),
    *(Measure(f"start_{key}_ms", f"start, {_SETUPS[key].title}, ms") for key in setups.STARTS),
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
        if not any(measure.key in sample for samples in results.values() for sample in samples):
            continue
        yield [measure.title, *(spread(results, name, measure) for name in names)]
    yield ["rounds counted", *(f"{len(values_of(s, 'disturbed'))} of {len(s)}" for s in results.values())]
    for key, title, others in (
        ("saturation", "answered/s", ("npd6", "proxy_ndp", "C recvmmsg")),
        ("own_core", "answered/s, one core", ("npd6", "proxy_ndp", "C recvmmsg")),
        ("ceiling", "answered/s, in-kernel generator", ("C ring",)),
        ("ceiling_best", "answered/s, the same at best", ("C ring",)),
        ("scan", "answered/s, 65,536 targets", ("npd6", "C recvmmsg")),
        *((f"cpu_at_{rate}", f"CPU per answer at {rate:,}/s", ("C recvmmsg",)) for rate in CPU_RATES),
        ("p50_us", "p50", ("npd6", "proxy_ndp")),
        ("p99_us", "p99", ("npd6",)),
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


def bars(results: Results) -> list[Bar]:
    """Return the bars that this run can judge."""
    least = "C recvmmsg"
    wanted = (
        ("answered/s at saturation, to npd6", ratio(results, "saturation", OURS, "npd6"), 2.1, True),
        ("answered/s at saturation, to proxy_ndp", ratio(results, "saturation", OURS, "proxy_ndp"), 1.45, True),
        ("answered/s at saturation, to C recvmmsg", ratio(results, "saturation", OURS, least), 0.56, True),
        ("answered/s, 65,536 targets, to npd6", ratio(results, "scan", OURS, "npd6"), 2.0, True),
        ("answered/s, 65,536 targets, to C recvmmsg", ratio(results, "scan", OURS, least), 0.75, True),
        ("answered/s, 10,000 requesters", middle(results, OURS, "requesters"), 200_000.0, True),
        *(
            (f"{factor:g} x offered{condition}, % of saturation", middle(results, OURS, key), 90.0, True)
            for suffix, condition in _CONDITIONS
            for factor in OVERLOADS
            for key in (overload_key(factor, suffix),)
        ),
        ("latency p50, to npd6", ratio(results, "p50_us", OURS, "npd6"), 1.0, False),
        ("latency p99, to npd6", ratio(results, "p99_us", OURS, "npd6"), 2.0, False),
        *(
            (
                f"CPU per answer at {rate:,}/s, to C recvmmsg",
                ratio(results, f"cpu_at_{rate}", OURS, least),
                limit,
                False,
            )
            for rate, limit in zip(CPU_RATES, (1.4, 1.8, 1.8), strict=True)
        ),
        ("wake-ups a second, idle", middle(results, OURS, "idle_wakeups"), 1.0, False),
        ("answered % at 100,000/s", middle(results, OURS, "at_100000"), 100.0, True),
        *(
            (f"RSS, {_SETUPS[key].title}, MB", middle(results, OURS, f"rss_{key}_mb"), limit, False)
            for key, limit in zip(setups.MEMORY, (24.0, 28.0, 32.0), strict=True)
        ),
        *(
            (f"start, {_SETUPS[key].title}, ms", middle(results, OURS, f"start_{key}_ms"), limit, False)
            for key, limit in zip(setups.STARTS, (120.0, 150.0), strict=True)
        ),
        ("sourced from the target, %", middle(results, OURS, "from_target"), 100.0, True),
        ("invalid or duplicate answers", middle(results, OURS, "faults"), 0.0, False),
        ("tcx: answered/s at saturation, to proxy_ndp", ratio(results, "saturation", TCX, "proxy_ndp"), 2.3, True),
        ("tcx: answered/s at best, to C ring", ratio(results, "ceiling_best", TCX, "C ring"), 1.5, True),
        ("xdp: answered/s at best, to C ring", ratio(results, "ceiling_best", XDP, "C ring"), 5.0, True),
        ("tcx: latency p50, to user space", ratio(results, "p50_us", TCX, OURS), 0.2, False),
        (f"tcx: CPU of the daemon at {RATES[-1]:,}/s, %", middle(results, TCX, "busy"), 2.0, False),
    )
    return [Bar(text, value, limit, at_least) for text, value, limit, at_least in wanted if value is not None]
