"""A real Prometheus scrapes the real daemon while it answers and ignores: every scrape adds up to the frame."""

import contextlib
import http.client
import json
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from frames import solicitation

from ndpresponder.lab import Daemon, Lab, wait_until
from ndpresponder.lab.topology import CONTAINER, CONTAINER_PREFIX, VPS, VPS_LLADDR

PORT = 9090
ROUNDS = 400
SCRAPES = 8  # at least, while solicitations flow
FLAGS = ("--prefix", CONTAINER_PREFIX, "--iface", "uplink", "--dad", "defend")
GOOD = {
    ("multicast", "solicited"): solicitation(),
    ("unicast", "solicited"): solicitation(destination=CONTAINER),
    ("dad", "dad"): solicitation(source="::"),
}
BAD = {
    ("multicast", "bad_checksum"): solicitation(checksum=1),
    ("multicast", "bad_hop_limit"): solicitation(hop_limit=64),
    ("multicast", "bad_code"): solicitation(code=1),
    ("multicast", "bad_option"): solicitation(options=bytes(8)),
    ("multicast", "bad_target"): solicitation("ff02::1"),
    ("multicast", "not_ours"): solicitation("2001:db8::1:0:c1"),
    ("multicast", "excluded"): solicitation(VPS),
    ("unicast", "bad_destination"): solicitation(destination="2001:db8::c2"),
    ("unicast", "link_local_target"): solicitation("fe80::c1", destination="fe80::c1"),
    ("dad", "dad_with_slla"): solicitation(source="::", slla="02:00:00:00:00:01"),
    ("multicast", "source_is_target"): solicitation(source=CONTAINER),
}

pytestmark = pytest.mark.needs("prometheus", "promtool", "ip", "nft")

RECEIVED = "ndpresponder_solicitations_received_total"
SENT = 'ndpresponder_advertisements_sent_total{kind!="unsolicited"}'
IGNORED = "ndpresponder_solicitations_ignored_total"


class Prometheus:
    """A Prometheus in the VPS that scrapes the daemon ten times a second, asked over its HTTP API."""

    def __init__(self, lab: Lab, scrape: str, folder: Path) -> None:
        self._lab = lab
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 100ms, scrape_timeout: 100ms}\n"
            f"scrape_configs: [{{job_name: ndpresponder, static_configs: [{{targets: ['{scrape}']}}]}}]\n"
        )
        self._argv = (
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{PORT}",
            "--log.level=warn",
        )

    def __enter__(self) -> "Prometheus":
        self._process = self._lab.popen("vps", *self._argv, stdin=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        self._lab.reap(self._process)

    def query(self, promql: str) -> list[dict]:
        """Return the result of an instant query; nothing while Prometheus still starts."""
        assert self._process.poll() is None, "prometheus has ended"
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
        with contextlib.closing(connection):
            try:
                with self._lab["vps"].enter():
                    connection.connect()
            except ConnectionRefusedError:
                return []
            connection.request("GET", "/api/v1/query?" + urlencode({"query": promql}))
            answer = json.load(connection.getresponse())
        return answer["data"]["result"] if answer["status"] == "success" else []

    def number(self, promql: str) -> float | None:
        """Return the value of a query for one number, None when there is none."""
        result = self.query(promql)
        return float(result[0]["value"][1]) if result else None

    def by_scrape(self, selector: str) -> Counter[float]:
        """Return the sum over all series of `selector` at each scrape of the last minute."""
        sums: Counter[float] = Counter()
        for series in self.query(f"{selector}[1m]"):
            for moment, value in series["values"]:
                sums[moment] += int(value)
        return sums


@pytest.fixture
def daemon(lab: Lab) -> Iterator[Daemon]:
    lab.filter("strict")
    lab["rtr"].ip(f"neigh replace {VPS} lladdr {VPS_LLADDR} dev lan0 nud permanent")  # no solicitations but ours
    with Daemon(lab, *FLAGS) as running:
        yield running


@pytest.fixture
def prometheus(lab: Lab, daemon: Daemon, tmp_path: Path) -> Iterator[Prometheus]:
    with Prometheus(lab, "127.0.0.1:9846", tmp_path) as running:
        wait_until(lambda: running.number("up") == 1, 30, "the first scrape", every_s=0.1)
        yield running


@pytest.fixture
def send(lab: Lab) -> Iterator[Callable[[bytes], int]]:
    """Return a function that puts a frame on the provider's link, as the router would."""
    with lab["rtr"].enter():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with raw:
        raw.bind(("lan0", 0))
        yield raw.send


def test_received_is_answered_plus_ignored_in_every_scrape(daemon: Daemon, prometheus: Prometheus, send) -> None:
    before = prometheus.number(f"sum({RECEIVED})")
    began = time.monotonic()

    for _ in range(ROUNDS):
        for frame in (*GOOD.values(), *GOOD.values(), *BAD.values()):
            send(frame)
        time.sleep(0.005)  # lets scrapes fall in between
    flowed_s = time.monotonic() - began
    expected = ROUNDS * (2 * len(GOOD) + len(BAD))
    wait_until(lambda: prometheus.number(f"sum({RECEIVED})") == before + expected, 10, "the last scrape", every_s=0.1)

    # The whole, by PromQL
    assert before == 0
    assert prometheus.number(f"sum({RECEIVED}) - sum({SENT}) - sum({IGNORED})") == 0
    assert prometheus.number("ndpresponder_kernel_drops_total") == 0

    # The parts
    received, sent, ignored = Counter(), Counter(), Counter()
    for kind, answer in GOOD:
        received[kind] += 2 * ROUNDS
        sent[answer] += 2 * ROUNDS
    for kind, reason in BAD:
        received[kind] += ROUNDS
        ignored[reason] += ROUNDS
    for metric, label, counts in (
        (RECEIVED, "kind", received),
        (SENT, "kind", sent),
        (f"{IGNORED} > 0", "reason", ignored),
    ):
        assert {s["metric"][label]: float(s["value"][1]) for s in prometheus.query(metric)} == counts

    # Each scrape on its own
    got, answered, silent = (prometheus.by_scrape(selector) for selector in (RECEIVED, SENT, IGNORED))
    assert got == {moment: answered[moment] + silent[moment] for moment in got}
    assert len(set(got.values())) >= SCRAPES, f"{len(got)} scrapes, while solicitations flowed for {flowed_s:.1f} s"


def test_what_the_daemon_serves_passes_promtool(daemon: Daemon, send) -> None:
    send(GOOD["multicast", "solicited"])
    wait_until(
        lambda: daemon.samples()['ndpresponder_last_answer_timestamp_seconds{interface="uplink"}'] > 0, 5, "an answer"
    )

    checked = subprocess.run(
        ["promtool", "check", "metrics", "--extended"], input=daemon.get("/metrics")[1], capture_output=True, text=True
    )

    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_scan_of_the_prefix_adds_no_series(daemon: Daemon, send) -> None:
    names = daemon.samples().keys()
    for number in range(1000):
        lladdr = f"02:00:00:01:{number >> 8:02x}:{number & 255:02x}"
        send(solicitation(f"2001:db8::{number:x}", source=f"fe80::1:{number:x}", ethernet_source=lladdr))
    total = f'{RECEIVED}{{interface="uplink",kind="multicast"}}'
    wait_until(lambda: daemon.samples()[total] == 1000, 5, "the scan to be counted")

    assert daemon.samples().keys() == names
