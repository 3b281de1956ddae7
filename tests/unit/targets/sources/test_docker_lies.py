"""Whatever an engine sends, or does not send, ends in an answer or in SourceUnavailable; nothing waits or grows."""

import asyncio
import contextlib
import gc
import json
import tracemalloc
from typing import Any

import pytest
from fake_engine import DEADLINE_S, Handler, StandIn, answer, following, network, socket_path, until
from hypothesis import given, settings
from hypothesis import strategies as st
from open_descriptors import open_descriptors

from ndpresponder.errors import SourceUnavailable
from ndpresponder.targets.sources import docker
from ndpresponder.targets.sources.docker import DockerSource

WEB = network("web", "2001:db8::a/112")
TARGETS = {"version": "/version", "list": "/networks", "network": f"/networks/{WEB['Id']}"}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MEMORY_MAX = 24 << 20


def says(octets: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(octets)
        await writer.drain()

    return handle


def says_for_ever(first: bytes, then: bytes, pause_s: float = 0) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(then)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return handle


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


LIES: dict[str, Handler] = {
    "nothing": says(b""),
    "silence": silence,
    "not http": says(b"\x16\x03\x01\x02 SSH-2.0\r\n\r\n"),
    "half a head": says(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half a body": says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n["),
    "half a chunk": says(CHUNKED + b"ff\r\n["),
    "bad chunk": says(CHUNKED + b"zz\r\n[]\r\n"),
    "negative length": says(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
    "error": says(answer({"message": "no"}, "500 Internal Server Error")),
    "redirect": says(b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"),
    "switch": says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    "not json": says(answer(b"<html>")),
    "not utf-8": says(answer(b'["\xff"]')),
    "deep json": says(answer(b"[" * 1_000_000)),
    "long number": says(answer(b"[" + b"9" * 10_000 + b"]")),
    "drip": says_for_ever(CHUNKED, b"1\r\n[\r\n", pause_s=0.02),
    "drip of heads": says_for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.02),
    "flood of heads": says_for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "endless head": says_for_ever(b"HTTP/1.1 200 OK\r\n", b"X-Y: " + b"z" * 9000 + b"\r\n"),
    "endless line": says_for_ever(b"HTTP/1.1 200 ", b"z" * 9000),
    "endless body": says_for_ever(b"HTTP/1.0 200 OK\r\n\r\n", b" " * 60_000),
    "announced huge": says_for_ever(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b" " * 60_000),
    "endless small chunks": says_for_ever(CHUNKED, b"1\r\n \r\n" * 2000),
}


async def fails_and_heals(lies: dict[str, Handler]) -> None:
    with socket_path() as path:
        async with StandIn(path, WEB) as engine, following("web", engine=engine) as source:
            engine.lies = lies
            await until(lambda: source.failures, "the failure")
            before = len(source.sets)
            engine.lies = {}
            await until(lambda: len(source.sets) > before, "the recovery")
            assert source.sets[-1].live


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "ANSWER_S", 0.5)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_is_a_failure_that_heals(target: str, lie: Handler) -> None:
    if target == TARGETS["version"] or lie is not LIES["silence"]:
        asyncio.run(fails_and_heals({target: lie}))


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_events_stops_nothing(lie: str) -> None:
    async def run() -> None:
        with socket_path() as path:
            engine = StandIn(path, WEB)
            engine.lies = {"/events": LIES[lie]}
            async with engine, following("web", engine=engine) as source:
                await until(lambda: source.sets and source.sets[-1].live, "the set")

    asyncio.run(run())


@pytest.mark.parametrize("target", [*TARGETS.values(), "/events"], ids=[*TARGETS, "events"])
@pytest.mark.parametrize("lie", [name for name in LIES if name.startswith(("endless", "flood", "announced"))])
def test_no_memory_is_lost_to_an_endless_answer(target: str, lie: str) -> None:
    async def run() -> None:
        with socket_path() as path:
            engine = StandIn(path, WEB)
            engine.lies = {target: LIES[lie]}
            async with engine, following("web", engine=engine) as source:
                with contextlib.suppress(AssertionError):
                    await until(lambda: source.failures, "a failure", 0.7)

    tracemalloc.start()
    try:
        asyncio.run(run())
        assert tracemalloc.get_traced_memory()[1] < MEMORY_MAX
    finally:
        tracemalloc.stop()


NETWORKS: tuple[Any, ...] = (
    {},
    None,
    7,
    "web",
    {"Name": "web"},
    [],
    [{"Name": "web"}],
    [{"Name": "web", "Id": "../../version"}],
)


@pytest.mark.parametrize("networks", NETWORKS, ids=repr)
def test_a_list_that_is_none_is_a_failure_and_forgets_nothing(networks: Any) -> None:
    asyncio.run(fails_and_heals({"/networks": says(answer(networks))}))


@pytest.mark.parametrize(
    "inspected",
    [
        [],
        {},
        None,
        {"Containers": []},
        {"Containers": {"a": {"IPv6Address": "nonsense"}}},
        {"Containers": {"a": {"IPv6Address": "192.0.2.1/24"}}},
        {"Containers": {"a": {"IPv6Address": "2001:db8::1\0/64"}}},
        {"Containers": {"a": {"IPv6Address": "\ud800"}}},
    ],
    ids=repr,
)
def test_a_network_that_cannot_be_read_is_a_failure_and_forgets_nothing(inspected: Any) -> None:
    asyncio.run(fails_and_heals({TARGETS["network"]: says(answer(inspected))}))


def test_more_addresses_than_any_host_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "ADDRESSES_MAX", 10)
    many = network("web", *(f"2001:db8::{number:x}/64" for number in range(11)))
    asyncio.run(fails_and_heals({TARGETS["network"]: says(answer(many))}))


def test_odd_networks_in_a_list_are_passed_over() -> None:
    odd = [7, None, {}, {"Name": "web"}, {"Name": 1, "Id": "a"}, {"Name": "web", "Id": "../../version"}]
    odd += [{"Name": "web", "Id": "\ud800"}, network("web", Options=7), network("web\ud800\n", EnableIPv6=False)]

    async def run() -> None:
        with socket_path() as path:
            async with StandIn(path, WEB) as engine, following("*", "web", engine=engine) as source:
                engine.lies = {"/networks": says(answer([*odd, WEB]))}
                await until(lambda: source.sets and source.sets[-1].live, "the set")
                assert source.failures == []

    asyncio.run(run())


EVENTS = {
    "not json": b"x\n",
    "not an event": b"[]\n7\nnull\n{}\n",
    "odd words": b'{"Type": 1, "Action": "die"}\n{"Type": "container", "Action": null}\n',
    "deep": b"[" * 100_000 + b"\n",
    "a very long line": b'{"' + b"x" * 3_000_000 + b'"}\n',
    "without an end": b"x" * 3_000_000,
}


@pytest.mark.parametrize("events", EVENTS.values(), ids=EVENTS)
def test_an_event_that_cannot_be_read_is_a_reason_to_ask(events: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "_LATE_S", 60.0)

    async def run() -> None:
        with socket_path() as path:
            async with StandIn(path, WEB) as engine, following("web", engine=engine) as source:
                await until(lambda: source.sets and engine._subscribers, "the first set")
                engine.change(network("web"))
                await until(lambda: not source.sets[-1].live, "an event before it")
                engine.networks = [WEB]
                (writer,) = engine._subscribers
                writer.write(b"%x\r\n%s\r\n" % (len(events), events))
                await until(lambda: source.sets[-1].live, "what it says to be found")
                engine.change(network("web"))
                await until(lambda: not source.sets[-1].live, "an event after it")
                assert source.failures == []

    asyncio.run(run())


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=300) | st.binary(max_size=100).map(answer),
    st.sampled_from([*TARGETS.values()]),
)
def test_any_octets_end_in_a_set_or_in_a_failure(octets: bytes, target: str) -> None:
    asyncio.run(once({target: says(octets)}))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["web", "2001:db8::1/64"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*WEB, "IPv6Address", "Version", "Components", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(values | st.lists(values), st.sampled_from([*TARGETS.values()]))
def test_any_json_ends_in_a_set_or_in_a_failure(value: Any, target: str) -> None:
    asyncio.run(once({target: says(answer(json.dumps(value).encode()))}))


async def once(lies: dict[str, Handler]) -> None:
    with socket_path() as path:
        async with StandIn(path, WEB) as engine:
            engine.lies = lies
            published = asyncio.Event()
            source = asyncio.create_task(DockerSource(("web", "*"), f"unix://{path}").run(lambda _: published.set()))
            waiting = asyncio.create_task(published.wait())
            await asyncio.wait((source, waiting), timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
            for task in (source, waiting):
                task.cancel()
            ended, _ = await asyncio.gather(source, waiting, return_exceptions=True)
            assert isinstance(ended, asyncio.CancelledError | SourceUnavailable), ended


def test_nothing_is_left_behind() -> None:
    gc.collect()
    before = open_descriptors()
    for lie in ("nothing", "half a body", "endless body", "silence"):
        asyncio.run(once({"/networks": LIES[lie]}))
    gc.collect()
    assert open_descriptors() == before
