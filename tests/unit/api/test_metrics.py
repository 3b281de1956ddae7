"""What a scrape says is what the counters say, in a form that Prometheus' own tools accept."""

import errno
import gzip
import platform
import shutil
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from ndpresponder import __version__
from ndpresponder.api.metrics import Registry, prefers_openmetrics, scrape
from ndpresponder.api.server import Reply
from ndpresponder.api.snapshot import InForce, Reading
from ndpresponder.observe.tally import Tally
from ndpresponder.outcome import IGNORED, Kind, Outcome
from ndpresponder.policy.table import Prefix
from ndpresponder.targets.board import Entry
from ndpresponder.targets.source import TargetSet

OPENMETRICS = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}


def busy_tally() -> Tally:
    """Return a tally in which every counter has its own value."""
    tally = Tally(unsolicited=7, kernel_drops=8, up=True, last_answer_s=1700000000.5)
    tally.ended = [100 + outcome for outcome in Outcome]
    tally.received = [sum(tally.ended) - 30, 20, 10]
    tally.send_errors = {errno.ENOBUFS: 3, 9999: 1}
    for seconds in (15e-6, 15e-6, 3.0):
        tally.durations.observe(seconds)
    return tally


def uplink(name: str, tally: Tally) -> SimpleNamespace:
    return SimpleNamespace(name=name, tally=tally, collect=lambda: None)


def entry(kind: str, name: str, claimed: int, live: int, **state: Any) -> Entry:
    """Return the entry of a source with so many targets on the first uplink."""
    source: Any = SimpleNamespace(kind=kind, name=name, uplinks=frozenset({"uplink"}))
    made = Entry(source)
    made.targets = TargetSet(
        live=frozenset(bytes((number,)) for number in range(live)),
        claimed=frozenset(Prefix(number, 64) for number in range(claimed)),
    )
    for key, said in state.items():
        setattr(made, key, said)
    return made


def in_force(*uplinks: SimpleNamespace, sources: tuple[Entry, ...] = ()) -> Any:
    return SimpleNamespace(
        reading=Reading(0.0, 1700000000.0),
        uplinks={each.name: each for each in uplinks},
        board=SimpleNamespace(entries=sources, generation=5),
    )


BUSY = in_force(
    uplink("uplink", busy_tally()),
    uplink('evil"\n\\', Tally()),
    sources=(
        entry("static", "configuration", 2, 1, up=True, last_sync_s=1700000001.0),
        entry("docker", "ipv6exposed", 0, 9, resyncs={"reconnect": 4, "start": 1}),
    ),
)


def serve(source: InForce, **headers: str) -> Reply:
    return scrape(Registry(source), headers)


def body_of(reply: Reply) -> bytes:
    return b"".join(reply.pieces)


def samples(text: str) -> dict[tuple[str, frozenset], float]:
    """Map (name, labels) to value."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(source: InForce) -> dict[tuple[str, frozenset], float]:
    return samples(body_of(serve(source)).decode())


def value(got, metric: str, /, **labels: str) -> float:
    return got["ndpresponder_" + metric, frozenset(labels.items())]


def test_every_metric_has_its_value() -> None:
    tally, got = busy_tally(), scraped(BUSY)

    for kind in Kind:
        expected = tally.received[kind]
        assert value(got, "solicitations_received_total", interface="uplink", kind=kind.label) == expected
    assert value(got, "advertisements_sent_total", interface="uplink", kind="solicited") == 100 + 101
    assert value(got, "advertisements_sent_total", interface="uplink", kind="dad") == 102
    assert value(got, "advertisements_sent_total", interface="uplink", kind="unsolicited") == 7
    for reason in IGNORED:
        expected = 100 + reason
        assert value(got, "solicitations_ignored_total", interface="uplink", reason=reason.label) == expected
    assert value(got, "send_errors_total", interface="uplink", errno="ENOBUFS") == 3
    assert value(got, "send_errors_total", interface="uplink", errno="9999") == 1
    assert value(got, "kernel_drops_total", interface="uplink") == 8
    assert value(got, "interface_up", interface="uplink") == 1
    assert value(got, "last_answer_timestamp_seconds", interface="uplink") == 1700000000.5
    assert value(got, "response_duration_seconds_bucket", interface="uplink", le="1e-05") == 0
    assert value(got, "response_duration_seconds_bucket", interface="uplink", le="2e-05") == 2
    assert value(got, "response_duration_seconds_bucket", interface="uplink", le="+Inf") == 3
    assert value(got, "response_duration_seconds_count", interface="uplink") == 3
    assert value(got, "response_duration_seconds_sum", interface="uplink") == pytest.approx(3.00003)
    assert value(got, "prefixes", interface="uplink", source="static") == 2
    assert value(got, "addresses", interface="uplink", source="docker") == 9
    assert value(got, "source_up", source="docker", name="ipv6exposed") == 0
    assert value(got, "source_up", source="static", name="configuration") == 1
    assert value(got, "source_last_sync_timestamp_seconds", source="static", name="configuration") == 1700000001.0
    assert value(got, "source_resyncs_total", source="docker", name="ipv6exposed", cause="reconnect") == 4
    assert value(got, "table_generation") == 5
    assert value(got, "config_last_reload_successful") == 1
    assert value(got, "config_last_reload_success_timestamp_seconds") == 1700000000.0
    assert value(got, "build_info", version=__version__, python=platform.python_version()) == 1


def test_every_reason_is_there_from_the_start() -> None:
    got = scraped(in_force(uplink("uplink", Tally())))

    assert [value(got, "solicitations_ignored_total", interface="uplink", reason=r.label) for r in IGNORED] == [
        0
    ] * len(IGNORED)
    assert value(got, "interface_up", interface="uplink") == 0


def test_process_metrics_are_there_once_and_no_others_of_the_library() -> None:
    got = scraped(BUSY)

    assert {name for name, _ in got if not name.startswith("ndpresponder_")} == {
        "process_virtual_memory_bytes",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
    }
    assert not [name for name, _ in got if name.endswith("_created")]


def test_promtool_accepts_the_metrics_and_finds_nothing_to_improve() -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian package prometheus)")

    done = subprocess.run(
        ["promtool", "check", "metrics", "--extended"], input=body_of(serve(BUSY)), capture_output=True
    )

    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_openmetrics_says_the_same_as_text() -> None:
    response = serve(BUSY, **OPENMETRICS)

    assert response.content_type.startswith("application/openmetrics-text; version=")
    assert body_of(response).endswith(b"# EOF\n")
    families = openmetrics_parser.text_string_to_metric_families(body_of(response).decode())
    said = {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
    text = scraped(BUSY)
    assert said.keys() == text.keys()
    assert {k: v for k, v in said.items() if k[0].startswith("ndp")} == {
        k: v for k, v in text.items() if k[0].startswith("ndp")
    }


def test_gzip_is_used_when_the_client_takes_it() -> None:
    response = serve(BUSY, **{"accept-encoding": "deflate, gzip;q=0.5"})

    assert ("Content-Encoding", "gzip") in response.headers
    assert samples(gzip.decompress(body_of(response)).decode()).keys() == scraped(BUSY).keys()
    assert ("Content-Encoding", "gzip") not in serve(BUSY, **{"accept-encoding": "gzip;q=0"}).headers


@pytest.mark.parametrize(
    ("expected", "accept"),
    [
        (False, ""),
        (False, "*/*"),
        (False, "text/plain"),
        (False, "text/plain, application/openmetrics-text;q=0.5"),
        (False, "application/openmetrics-text;q=0"),
        (False, "application/openmetrics-text;q=x"),
        (True, "application/openmetrics-text"),
        (True, "Application/OpenMetrics-Text ; Version=1.0.0 ; Q=0.5, text/plain;q=0.3,*/*;q=0.1"),
        (True, "text/plain,application/openmetrics-text"),
    ],
)
def test_openmetrics_is_served_to_who_prefers_it(expected: bool, accept: str) -> None:
    assert prefers_openmetrics(accept) == expected


counts = st.integers(min_value=0, max_value=2**53)


@settings(deadline=None)
@given(st.lists(counts, min_size=len(Outcome), max_size=len(Outcome)), st.data())
def test_received_is_answered_plus_ignored_in_each_scrape(ended: list[int], data) -> None:
    total = sum(ended)
    unicast = data.draw(st.integers(min_value=0, max_value=total))
    dad = data.draw(st.integers(min_value=0, max_value=total - unicast))
    tally = Tally(ended=ended, received=[total - unicast - dad, unicast, dad])

    registry = Registry(in_force(uplink("uplink", tally)))
    families = {family.name: family.samples for family in registry.collect()}

    received = sum(s.value for s in families["ndpresponder_solicitations_received"])
    sent = sum(s.value for s in families["ndpresponder_advertisements_sent"] if s.labels["kind"] != "unsolicited")
    ignored = sum(s.value for s in families["ndpresponder_solicitations_ignored"])
    assert received == sent + ignored
