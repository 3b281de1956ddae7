"""The Prometheus metrics: plain counters of the daemon, read when somebody scrapes and at no other time.

`Exporter.collect` takes everything in one synchronous pass, so received = answered + ignored holds in every
scrape. No label may carry an address: whoever scans a /64 would create a series per target. Import this module
only when metrics are wanted: prometheus_client brings an HTTP client and server along (4.4 MB, 20 ms).
"""

import errno
import gzip
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics

from ndpresponder.api.server import Response, Route
from ndpresponder.observe.tally import Tally
from ndpresponder.outcome import IGNORED, Kind, Outcome

PREFIX: Final = "ndpresponder_"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_GZIP_FROM: Final = 1400  # octets: less fits one packet anyway


@dataclass(frozen=True, slots=True)
class UplinkView:
    """One uplink and its counters."""

    interface: str
    tally: Tally


@dataclass(frozen=True, slots=True)
class TargetsView:
    """How much one kind of source makes ours on one uplink."""

    interface: str
    source: str
    prefixes: int  # shorter than /128
    addresses: int


@dataclass(frozen=True, slots=True)
class SourceView:
    """One source of targets and how it fares."""

    source: str  # its kind: static, docker, bridge
    name: str  # which one: a network, a bridge, a file
    up: bool
    last_sync_s: float = 0.0  # Unix time; 0: never
    resyncs: Mapping[str, int] = field(default_factory=dict)  # cause -> count


@dataclass(frozen=True, slots=True)
class BoardView:
    """What the sources say now, and how often that changed."""

    generation: int = 0
    targets: Sequence[TargetsView] = ()
    sources: Sequence[SourceView] = ()


@dataclass(frozen=True, slots=True)
class ReloadView:
    """How the last reading of the configuration went."""

    successful: bool
    last_success_s: float  # Unix time


class Exporter:
    """A prometheus_client collector over readers that return the state of this moment."""

    def __init__(
        self,
        uplinks: Callable[[], Iterable[UplinkView]],
        board: Callable[[], BoardView],
        reload: Callable[[], ReloadView],
        version: str,
    ) -> None:
        self._uplinks = uplinks
        self._board = board
        self._reload = reload
        self._build = {"version": version, "python": platform.python_version()}

    def collect(self) -> list[Metric]:
        """Return every metric family as of now."""
        return [*_uplink_metrics(self._uplinks()), *_board_metrics(self._board()), *self._daemon_metrics()]

    def _daemon_metrics(self) -> list[Metric]:
        reload = self._reload()
        successful = _gauge("config_last_reload_successful", "Whether the last reading of the configuration succeeded")
        successful.add_metric((), reload.successful)
        moment = _gauge(
            "config_last_reload_success_timestamp_seconds",
            "Unix time when the configuration was last read successfully",
        )
        moment.add_metric((), reload.last_success_s)
        build = InfoMetricFamily(PREFIX + "build", "Version of the responder and of the Python it runs on")
        build.add_metric((), self._build)
        return [successful, moment, build]


def _uplink_metrics(uplinks: Iterable[UplinkView]) -> list[Metric]:
    received = _counter("solicitations_received", "Frames received as neighbor solicitations", "interface", "kind")
    sent = _counter("advertisements_sent", "Neighbor advertisements sent", "interface", "kind")
    ignored = _counter("solicitations_ignored", "Received frames that were not answered", "interface", "reason")
    conflicts = _counter("dad_conflicts", "Other hosts that were told that an address is taken", "interface")
    errors = _counter("send_errors", "Advertisements the kernel refused to send", "interface", "errno")
    drops = _counter("kernel_drops", "Frames the kernel dropped because the receive buffer was full", "interface")
    up = _gauge("interface_up", "Whether solicitations are being received on the interface", "interface")
    stalled = _gauge(
        "ring_stalled_seconds", "For how long frames have waited while none was taken, 0 while they are", "interface"
    )
    last = _gauge("last_answer_timestamp_seconds", "Unix time of the last answer, 0 before the first", "interface")
    durations = HistogramMetricFamily(
        PREFIX + "response_duration_seconds",
        "Time from the kernel receiving a solicitation to the answer being sent, sampled",
        labels=("interface",),
    )
    for uplink in uplinks:
        name, tally = uplink.interface, uplink.tally
        for kind in Kind:
            received.add_metric((name, kind.label), tally.received[kind])
        solicited = tally.ended[Outcome.ANSWERED_MULTICAST] + tally.ended[Outcome.ANSWERED_UNICAST]
        sent.add_metric((name, "solicited"), solicited)
        sent.add_metric((name, "dad"), tally.ended[Outcome.ANSWERED_DAD])
        sent.add_metric((name, "unsolicited"), tally.unsolicited)
        conflicts.add_metric((name,), tally.ended[Outcome.ANSWERED_DAD])
        for reason in IGNORED:
            ignored.add_metric((name, reason.label), tally.ended[reason])
        for number, count in sorted(tally.send_errors.items()):
            errors.add_metric((name, errno.errorcode.get(number, str(number))), count)
        drops.add_metric((name,), tally.kernel_drops)
        up.add_metric((name,), tally.up)
        stalled.add_metric((name,), tally.stalled_s)
        last.add_metric((name,), tally.last_answer_s)
        buckets = [("+Inf" if bound == inf else str(bound), count) for bound, count in tally.durations.cumulative()]
        durations.add_metric((name,), buckets, tally.durations.sum_s)
    return [received, sent, ignored, conflicts, errors, drops, up, stalled, last, durations]


def _board_metrics(board: BoardView) -> list[Metric]:
    prefixes = _gauge("prefixes", "Prefixes whose addresses are answered", "interface", "source")
    addresses = _gauge("addresses", "Single addresses that are answered", "interface", "source")
    up = _gauge("source_up", "Whether the source of targets can be read", "source", "name")
    last = _gauge(
        "source_last_sync_timestamp_seconds",
        "Unix time of the source's last complete set, 0 before it",
        "source",
        "name",
    )
    resyncs = _counter("source_resyncs", "Complete sets read again from the source", "source", "name", "cause")
    generation = _gauge("table_generation", "Number of changes to what is answered since the start")
    for targets in board.targets:
        prefixes.add_metric((targets.interface, targets.source), targets.prefixes)
        addresses.add_metric((targets.interface, targets.source), targets.addresses)
    for source in board.sources:
        up.add_metric((source.source, source.name), source.up)
        last.add_metric((source.source, source.name), source.last_sync_s)
        for cause, count in sorted(source.resyncs.items()):
            resyncs.add_metric((source.source, source.name, cause), count)
    generation.add_metric((), board.generation)
    return [prefixes, addresses, up, last, resyncs, generation]


def _counter(name: str, meaning: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, meaning, labels=labels)


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, meaning, labels=labels)


def metrics_route(exporter: Exporter) -> Route:
    """Return the handler for /metrics: our metrics and `process_*`, as text or OpenMetrics, whichever is preferred."""
    registry = CollectorRegistry()  # not the global one: it has its own process, platform and gc collectors
    registry.register(exporter)
    ProcessCollector(registry=registry)
    to_openmetrics: Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest  # the library leaves it untyped

    def serve(headers: Mapping[str, str]) -> Response:
        if prefers_openmetrics(headers.get("accept", "")):
            body, content_type = to_openmetrics(registry), openmetrics.CONTENT_TYPE_LATEST
        else:
            body, content_type = generate_latest(registry), TEXT
        extra = [("Vary", "Accept, Accept-Encoding")]
        if len(body) >= _GZIP_FROM and _quality(headers.get("accept-encoding", ""), "gzip") > 0:
            body = gzip.compress(body, compresslevel=1, mtime=0)
            extra.append(("Content-Encoding", "gzip"))
        return Response(200, body, content_type, tuple(extra))

    return serve


def prefers_openmetrics(accept: str) -> bool:
    """Return whether an Accept header asks for OpenMetrics by name, and at least as much as for text."""
    wanted = _quality(accept, "application/openmetrics-text")
    return wanted > 0 and wanted >= _quality(accept, "text/plain")


def _quality(header: str, name: str) -> float:
    """Return the highest q of `name` in a list such as `a;version=1;q=0.5, b`; 0 when it is not there."""
    best = 0.0
    for item in header.split(","):
        token, *parameters = (part.strip().lower() for part in item.split(";"))
        if token == name:
            stated = [part[2:] for part in parameters if part.startswith("q=")]
            try:
                best = max(best, float(stated[0]) if stated else 1.0)
            except ValueError:  # not a number: as if it were not there
                continue
    return best
