"""Serve the metrics and health of the daemon: plain counters, read when a scraper asks and at no other time.

One scrape is one turn of the loop, so received = answered + ignored holds in it. No label may carry an address: a
requester that scans a /64 would create a series per target. Import this module only when metrics are wanted, and after
the first answers.
"""

import asyncio
import contextlib
import errno
import gzip
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Final

from ndpresponder import __version__
from ndpresponder.api import snapshot
from ndpresponder.api.server import Handler, Reply, Request, Service, serving, text_reply
from ndpresponder.api.snapshot import InForce
from ndpresponder.linux.imports import without
from ndpresponder.observe.logs import get_logger
from ndpresponder.outcome import IGNORED, Kind, Outcome
from ndpresponder.uplink.uplink import Uplink

with without("ssl", "http.server", "socketserver", "urllib.error", "urllib.request", "wsgiref.simple_server"):
    from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest, metrics_core
    from prometheus_client.openmetrics import exposition as openmetrics

PREFIX: Final = "ndpresponder_"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_GZIP_FROM: Final = 1400  # octets: less fits one packet anyway
_RELOADED: Final = "Whether the last reading of the configuration succeeded"
_VERSIONS: Final = "Version of the responder and of the Python it runs on"
_LAST_RELOAD: Final = "Unix time when the configuration was last read successfully"


async def serve(listen: str, passed: Sequence[int], in_force: InForce, on_listening: Callable[[], None]) -> None:
    """Serve /metrics, /healthz and /readyz at `listen`, or on the `passed` sockets instead, until cancelled.

    Raises:
        SystemRefused: the system refuses `listen`, or what was passed.
    """
    registry = Registry(in_force)

    async def metrics(request: Request) -> Reply:
        return scrape(registry, request.headers)

    async def health(_: Request) -> Reply:
        """Tell whether the daemon works: this loop turns, and what waits in each ring is taken out of it."""
        stalled = [f"{each.name} for {each.tally.stalled_s:.1f} s" for each in snapshot.take(in_force) if each.stalled]
        if stalled:
            return text_reply(503, f"frames wait and none is taken: {', '.join(stalled)}")
        return text_reply(200, "ok")

    async def readiness(_: Request) -> Reply:
        ready = all(uplink.ready for uplink in in_force.uplinks.values())
        return text_reply(200 if ready else 503, snapshot.status_line(in_force))

    service = metrics_service({"/metrics": metrics, "/healthz": health, "/readyz": readiness})
    async with serving(listen, service, passed) as (where, _):
        other = {"instead_of": listen} if passed and listen not in ("", where) else {}
        get_logger().info(f"serving metrics{' on the socket that was passed' if other else ''}", listen=where, **other)
        on_listening()
        await asyncio.Event().wait()


def metrics_service(routes: Mapping[str, Handler]) -> Service:
    """Return a service that only reads: each route takes GET and HEAD."""
    return Service({path: {"GET": route, "HEAD": route} for path, route in routes.items()}, text_reply, keep_alive=True)


class Registry(CollectorRegistry):
    """Our metrics and `process_*`, read in one turn of the loop, and none of the global registry of the library."""

    def __init__(self, in_force: InForce) -> None:
        super().__init__()
        self._in_force = in_force
        ProcessCollector(registry=self)

    def collect(self) -> Iterator[Metric]:
        reading = self._in_force.reading
        yield from _uplink_metrics(snapshot.take(self._in_force))
        yield from _target_metrics(self._in_force)
        yield _gauge("config_last_reload_successful", _RELOADED, value=not reading.problem)
        yield _gauge("config_last_reload_success_timestamp_seconds", _LAST_RELOAD, value=reading.loaded_s)
        build = {"version": __version__, "python": platform.python_version()}
        yield metrics_core.InfoMetricFamily(PREFIX + "build", _VERSIONS, build)
        yield from super().collect()


def _uplink_metrics(uplinks: Iterable[Uplink]) -> list[Metric]:
    received = _counter("solicitations_received", "Frames received as neighbor solicitations", "interface", "kind")
    sent = _counter("advertisements_sent", "Neighbor advertisements sent", "interface", "kind")
    ignored = _counter("solicitations_ignored", "Received frames that were not answered", "interface", "reason")
    conflicts = _counter("dad_conflicts", "Other hosts that were told that an address is taken", "interface")
    errors = _counter("send_errors", "Advertisements the kernel refused to send", "interface", "errno")
    drops = _counter("kernel_drops", "Frames the kernel dropped because the receive buffer was full", "interface")
    up = _gauge("interface_up", "Whether solicitations are being received on the interface", "interface")
    waited = "For how long frames have waited while none was taken, 0 while they are"
    stalled = _gauge("ring_stalled_seconds", waited, "interface")
    last = _gauge("last_answer_timestamp_seconds", "Unix time of the last answer, 0 before the first", "interface")
    durations = metrics_core.HistogramMetricFamily(
        PREFIX + "response_duration_seconds",
        "Time from the kernel receiving a solicitation to the answer being sent, sampled",
        labels=("interface",),
    )
    for uplink in uplinks:
        name, tally = uplink.name, uplink.tally
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


def _target_metrics(in_force: InForce) -> list[Metric]:
    prefixes = _gauge("prefixes", "Prefixes whose addresses are answered", "interface", "source")
    addresses = _gauge("addresses", "Single addresses that are answered", "interface", "source")
    up = _gauge("source_up", "Whether the source of targets can be read", "source", "name")
    synced = "Unix time of the source's last complete set, 0 before it"
    last = _gauge("source_last_sync_timestamp_seconds", synced, "source", "name")
    resyncs = _counter("source_resyncs", "Complete sets read again from the source", "source", "name", "cause")
    claimed, live = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for uplink in in_force.uplinks:
        for entry in in_force.board.entries:
            if entry.serves(uplink):
                claimed[uplink, entry.source.kind] += len(entry.targets.claimed)
                live[uplink, entry.source.kind] += len(entry.targets.live)
    for labels in claimed:
        prefixes.add_metric(labels, claimed[labels])
        addresses.add_metric(labels, live[labels])
    for entry in in_force.board.entries:
        labels = entry.source.kind, entry.source.name
        up.add_metric(labels, entry.up)
        last.add_metric(labels, entry.last_sync_s)
        for cause, number in sorted(entry.resyncs.items()):
            resyncs.add_metric((*labels, cause), number)
    changes = "Number of changes to what is answered since the start"
    generation = _gauge("table_generation", changes, value=in_force.board.generation)
    return [prefixes, addresses, up, last, resyncs, generation]


def _counter(name: str, meaning: str, *labels: str) -> metrics_core.CounterMetricFamily:
    return metrics_core.CounterMetricFamily(PREFIX + name, meaning, labels=labels)


def _gauge(name: str, meaning: str, *labels: str, value: float | None = None) -> metrics_core.GaugeMetricFamily:
    return metrics_core.GaugeMetricFamily(PREFIX + name, meaning, value, labels or None)


def scrape(registry: CollectorRegistry, headers: Mapping[str, str]) -> Reply:
    """Return the metrics as text or OpenMetrics, whichever is preferred, compressed if that is wanted."""
    to_openmetrics: Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest  # the library leaves it untyped
    if prefers_openmetrics(headers.get("accept", "")):
        body, content_type = to_openmetrics(registry), openmetrics.CONTENT_TYPE_LATEST
    else:
        body, content_type = generate_latest(registry), TEXT
    extra = [("Vary", "Accept, Accept-Encoding")]
    if len(body) >= _GZIP_FROM and _quality(headers.get("accept-encoding", ""), "gzip") > 0:
        body = gzip.compress(body, compresslevel=1, mtime=0)
        extra.append(("Content-Encoding", "gzip"))
    return Reply(200, (body,), content_type, tuple(extra))


# Not prometheus_client's own `choose_encoder` and `gzip_accepted`: they ignore q, and so what a client refuses by q=0


def prefers_openmetrics(accept: str) -> bool:
    """Return whether an Accept header asks for OpenMetrics by name, and at least as much as for text."""
    wanted = _quality(accept, "application/openmetrics-text")
    return wanted > 0 and wanted >= _quality(accept, "text/plain")


def _quality(header: str, name: str) -> float:
    """Return the highest q of `name` in a list such as `a;version=1;q=0.5, b`; 0 when it is not there."""
    best = 0.0
    for item in header.lower().split(","):
        token, *parameters = (part.strip() for part in item.split(";"))
        if token == name:
            stated = [part[2:] for part in parameters if part.startswith("q=")]
            with contextlib.suppress(ValueError):  # not a number: as if it were not there
                best = max(best, float(stated[0]) if stated else 1.0)
    return best
