"""The programs of the benchmark compile, and what they report is right: answers are counted, anything else is not."""

import contextlib
import itertools
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import frames
import pytest
import responders
import scale
from link import UPLINK, Link
from requirements import OURS
from turn import Effort

from ndpresponder.wire.layout import ETH_P_IPV6

pytestmark = pytest.mark.needs("ip", "taskset", "gcc", "clang")

BRIEF = Effort(seconds=0.1, attempts=1, patience_s=0, flood=True)
JUDGED = (*range(15), *range(18, 22), *range(38, 59), *range(62, 86))  # octets of an advertisement
SOURCE = range(22, 38)


@contextlib.contextmanager
def link_of_ours(uplinks: int = 1, requesters: int = 1) -> Iterator[Link]:
    name = f"{OURS}b"
    try:
        with Link(uplinks, requesters, name) as link:
            yield link
    finally:
        Path("/run/lock", name).unlink(missing_ok=True)


@pytest.fixture
def link() -> Iterator[Link]:
    with link_of_ours() as link:
        yield link


@contextlib.contextmanager
def answering(link: Link, change: Callable[[bytes], bytes]) -> Iterator[None]:
    """Answer each solicitation with what `change` makes of the right advertisement."""
    with link.responder.enter():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    wire.bind((UPLINK, ETH_P_IPV6))
    ended = threading.Event()

    def answer() -> None:
        while not ended.is_set():
            if not select.select([wire], [], [], 0.05)[0]:
                continue
            asked, (_, _, kind, *_) = wire.recvfrom(2048)
            if kind != socket.PACKET_OUTGOING and asked[54:55] == b"\x87":
                own = wire.getsockname()[4]
                right = frames.advertisement(
                    asked[62:78], asked[22:38], ethernet_source=own, ethernet_destination=asked[6:12]
                )
                wire.send(change(right))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        wire.close()


def spoil(octets: range | tuple[int, ...]) -> Callable[[bytes], bytes]:
    """Return what spoils one of these octets after the other, in one frame each, and puts the checksum right."""
    turn = itertools.cycle(octets)

    def change(frame: bytes) -> bytes:
        octet = next(turn)
        spoilt = bytearray(frame)
        spoilt[octet] ^= 0x40
        return bytes(spoilt) if octet in (56, 57) else frames.with_right_checksum(bytes(spoilt))

    return change


@pytest.mark.parametrize("name", ["C recvmmsg", "C ring"])
def test_the_c_responders_answer_every_solicitation(link: Link, name: str) -> None:
    least = next(responder for responder in responders.all_responders() if responder.name == name)
    link.time_to_first_answer(lambda: least.start(link))
    try:
        report = link.ask("rate", rate=500, seconds=0.2, warmup=0)  # few enough to wait all for a busy core
        assert 0 < report["sent"] == report["answered"] == report["from_target"], report
        assert (report["invalid"], report["duplicate"]) == (0, 0)
        link.receive_by_napi(True)
        report = link.flood("skb", seconds=0.1, warmup=0)
        assert 0 < report["answered"] == report["from_target"] <= report["sent"]
        assert report["invalid"] == 0
    finally:
        least.stop()


def test_both_judges_count_no_answer_with_any_octet_wrong(link: Link) -> None:
    def judged_by(judge: Callable[[], dict[str, float]]) -> None:
        invalid, end = 0.0, time.monotonic() + 10
        while invalid <= len(JUDGED):  # each octet was wrong at least once
            assert time.monotonic() < end, invalid
            report = judge()
            assert report["answered"] == 0
            invalid += report["invalid"]

    with answering(link, spoil(JUDGED)):
        judged_by(lambda: link.ask("rate", rate=2000, seconds=0.1, warmup=0, targets=1))
        link.receive_by_napi(True)
        judged_by(lambda: link.flood("skb", seconds=0.1, warmup=0, targets=1))
        judged_by(lambda: link.flood("xdp", seconds=0.1, warmup=0, targets=1))


def test_both_judges_tell_answers_that_come_from_elsewhere_than_the_target(link: Link) -> None:
    with answering(link, spoil(SOURCE)):
        for report in (link.ask("rate", rate=1000, seconds=0.1, warmup=0), flooded(link)):
            assert report["answered"] > 0
            assert (report["from_target"], report["invalid"]) == (0, 0)


def flooded(link: Link) -> dict[str, float]:
    link.receive_by_napi(True)
    return link.flood("skb", seconds=0.1, warmup=0)


@pytest.mark.parametrize("name", ["fast path", "proxy_ndp"])
def test_cost_is_measured_for_many_targets_uplinks_and_requesters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "_UPDATES_WITHIN_S", 0)
    setting = (
        scale.Setting(targets=5000, uplinks=2, requesters=3) if name == "fast path" else scale.Setting(20, 0, 2, 3)
    )
    responder = scale.contestants(setting, "xdp")[name]
    with link_of_ours(setting.uplinks, setting.requesters) as link:
        sample = scale.measure(link, responder, setting, BRIEF)
    assert sample["wrong"] == 0
    assert sample["answered"] > 1000
    assert 0 < sample["p50_us"] <= sample["p99_us"] < 1e6
    assert 0 < sample["update_ms"] < 10_000
    assert 0 < sample["stopped_ms"] < 10_000
    assert ("end_ms" in sample) == responder.has_process
