"""The addresses of an engine's containers are followed: each change, all at once, through every absence."""

import asyncio
import json
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Following, StandIn, following, network, socket_path, until
from sample_responder import addresses
from structlog.testing import capture_logs

from ndpresponder.targets.sources import docker

DROP_IN = "systemd/ndpresponder-docker.conf"
A, B, C = "2001:db8::a/112", "2001:db8::b/112", "2001:db8:1::c/64"


def plain(*texts: str) -> frozenset[bytes]:
    return addresses(*(text.partition("/")[0] for text in texts))


def scenario(
    play: Callable[[StandIn, Following], Awaitable[None]], *networks: dict[str, Any], names: tuple[str, ...] = ("web",)
) -> list[dict[str, Any]]:
    """Play with an engine and a source that follows it, and return what was logged."""

    async def run() -> None:
        with socket_path() as path:
            async with StandIn(path, *networks) as engine, following(*names, engine=engine) as source:
                await play(engine, source)

    with capture_logs() as logs:
        asyncio.run(run())
    return logs


def follows(
    expected: frozenset[bytes], *networks: dict[str, Any], names: tuple[str, ...] = ("web",)
) -> list[dict[str, Any]]:
    async def play(engine: StandIn, source: Following) -> None:
        await until(lambda: source.sets, "the first set")
        assert expected == source.sets[-1].live

    return scenario(play, *networks, names=names)


def test_the_containers_with_ipv6_in_the_named_networks_are_live() -> None:
    networks = network("web", A, "", B), network("db", C), network("other", "2001:db8::1/64")
    assert follows(plain(A, B, C), *networks, names=("web", "db")) == []


def test_a_star_is_every_network_with_ipv6_that_leads_out() -> None:
    closed = network("internal", C, Internal=True), network("four", C, EnableIPv6=False)
    assert follows(plain(A, B), network("web", A), network("db", B), *closed, names=("*",)) == []


@pytest.mark.parametrize(("driver", "options", "ours"), [
    ("macvlan", {}, False),
    ("ipvlan", {}, False),
    ("ipvlan", {"ipvlan_mode": "l3"}, True),
    ("bridge", None, True),
])  # fmt: skip
def test_containers_on_the_link_answer_for_themselves(driver: str, options: Any, ours: bool) -> None:
    logs = follows(plain(A) if ours else plain(), network("web", A, Driver=driver, Options=options))
    assert [log["log_level"] for log in logs] == ([] if ours else ["warning"])
    assert follows(plain(A) if ours else plain(), network("x", A, Driver=driver, Options=options), names=("*",)) == []


def test_a_change_is_followed_at_once() -> None:
    async def play(engine: StandIn, source: Following) -> None:
        await until(lambda: source.sets and engine._subscribers, "the first set")
        for containers in ((A, B), (B,), (), (A,)):
            engine.change(network("web", *containers))
            await until(lambda containers=containers: source.sets[-1].live == plain(*containers), "the change", 2)

    scenario(play, network("web", A))


def test_two_thousand_containers_at_once_are_all_found_with_few_questions() -> None:
    every = [f"2001:db8::{number:x}/64" for number in range(1, 2001)]

    async def play(engine: StandIn, source: Following) -> None:
        await until(lambda: source.sets and engine._subscribers, "the first set")
        for number in range(1, 2001):
            engine.change(network("web", *every[:number]))
            if number % 50 == 0:
                await asyncio.sleep(0.01)
        await until(lambda: source.sets[-1].live == plain(*every), "all of them")
        assert engine.asked.count("/networks") < 40
        engine.change(network("web"))
        await until(lambda: source.sets[-1].live == plain(), "none of them")

    scenario(play, network("web"))


@pytest.mark.parametrize(("matters", "event"), [
    (False, {"Type": "container", "Action": "exec_create: sh"}),
    (False, {"Type": "container", "Action": "exec_die"}),
    (False, {"Type": "container", "Action": "health_status: healthy"}),
    (True, {"Type": "container", "Action": "die"}),
    (True, {"Type": "container", "Action": "start"}),
    (True, {"Type": "network", "Action": "disconnect"}),
    (True, {"Type": "network", "Action": "exec_"}),
    (True, {}),
])  # fmt: skip
def test_a_health_check_is_no_reason_to_ask(matters: bool, event: dict[str, str]) -> None:
    assert docker._may_matter(json.dumps(event).encode()) == matters


def test_what_no_event_says_is_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "POLL_S", 0.1)

    async def play(engine: StandIn, source: Following) -> None:
        await until(lambda: source.sets, "the first set")
        engine.networks = [network("web", B)]
        await until(lambda: source.sets[-1].live == plain(B), "the silent change", 1)

    scenario(play, network("web", A))


def test_a_network_that_comes_goes_and_returns_is_followed_and_each_is_said_once() -> None:
    async def play(engine: StandIn, source: Following) -> None:
        await until(lambda: source.sets and engine._subscribers, "the first set")
        for networks, expected in (((), plain()), ((network("web", A),), plain(A)), ((), plain())):
            for _ in range(2):
                engine.change(*networks)
                before = len(source.sets)
                await until(lambda before=before: len(source.sets) > before, "the answer")
                assert source.sets[-1].live == expected
        engine.change(network("web", B, Scope="another"))
        await until(lambda: source.sets[-1].live == plain(B), "the network made anew")

    logs = scenario(play)
    assert [log["event"] for log in logs] == [docker.MISSING, "the network is there"] * 2
    assert {log["network"] for log in logs} == {"web"}


def test_the_set_is_kept_while_the_engine_is_away_and_asked_for_anew_when_it_returns() -> None:
    async def run() -> None:
        with socket_path() as path:
            engine = StandIn(path, network("web", A))
            async with following("web", engine=engine) as source:
                await until(lambda: source.failures, "its absence to be noticed")
                assert "no such socket" in source.failures[0]
                for containers in ((A,), (A, B), (B,)):
                    engine.networks = [network("web", *containers)]
                    async with engine:
                        await until(lambda: source.sets and source.sets[-1].live == plain(*containers), "the set")  # noqa: B023
                        await until(lambda: engine._subscribers, "the events")
                        source.failures.clear()
                    published = len(source.sets)
                    await until(lambda: len(source.failures) > 2, "the absence to be noticed")
                    assert len(source.sets) == published

    asyncio.run(run())


@pytest.mark.parametrize(("said", "version", "components", "options"), [
    (True, "28.0.1", "Engine", {}),
    (True, "29.1.0-rc.1", "Engine", {"com.docker.network.bridge.gateway_mode_ipv6": "nat"}),
    (True, "28.5.2", "Engine", {"com.docker.network.bridge.gateway_mode_ipv6": "isolated"}),
    (False, "28.0.1", "Engine", {"com.docker.network.bridge.gateway_mode_ipv6": "routed"}),
    (False, "28.0.1", "Engine", {"com.docker.network.bridge.gateway_mode_ipv6": "nat-unprotected"}),
    (False, "28.2.0", "Engine", {"com.docker.network.bridge.trusted_host_interfaces": "eth0"}),
    (False, "26.1.5", "Engine", {}),
    (False, "30.0.0", "Podman Engine", {}),
    (False, "dev", "Engine", {}),
])  # fmt: skip
def test_a_docker_that_lets_nothing_in_is_named_once_with_the_option(
    said: bool, version: str, components: str, options: dict[str, str]
) -> None:
    async def play(engine: StandIn, source: Following) -> None:
        engine.version = {"Version": version, "Components": [{"Name": components}]}
        await until(lambda: source.sets and engine._subscribers, "the first set")
        for containers in ((A, B), (A,)):
            engine.change(network("web", *containers, Options=options))
            await until(lambda containers=containers: source.sets[-1].live == plain(*containers), "the change")

    logs = scenario(play, network("web", A, Options=options))
    assert len(logs) == said
    assert all("gateway_mode_ipv6=routed" in log["hint"] and log["network"] == "web" for log in logs)


def test_a_docker_that_is_upgraded_keeps_the_set_and_is_then_named() -> None:
    async def run() -> None:
        with socket_path() as path:
            engine = StandIn(path, network("web", A))
            engine.version = {"Version": "26.1.5", "Components": [{"Name": "Engine"}]}
            async with following("web", engine=engine) as source:
                async with engine:
                    await until(lambda: source.sets and engine._subscribers, "the first set")
                    assert logs == []
                    source.failures.clear()
                await until(lambda: source.failures, "the absence to be noticed")
                published = len(source.sets)
                engine.version = {"Version": "28.0.1", "Components": [{"Name": "Engine"}]}
                async with engine:
                    await until(lambda: len(source.sets) > published, "the set anew")
                assert {each.live for each in source.sets} == {plain(A)}

    with capture_logs() as logs:
        asyncio.run(run())
    assert [(log["log_level"], log["network"]) for log in logs] == [("warning", "web")]
    assert "gateway_mode_ipv6=routed" in logs[0]["hint"]


def test_a_socket_that_may_not_be_used_is_explained_with_its_group_and_the_drop_in() -> None:
    user = os.geteuid()
    if user != 0:
        pytest.skip("needs root, to be somebody else")

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            async with StandIn(f"{folder}/s", network("web", A)) as engine:
                os.chown(engine.path, 0, 4)  # adm, in every Debian
                Path(engine.path).chmod(0o660)
                os.seteuid(65534)
                try:
                    async with following("web", engine=engine) as source:
                        await until(lambda: source.failures, "the refusal")
                finally:
                    os.seteuid(user)
                assert "permission denied; the socket is of group adm, " in source.failures[0]
                assert f" {DROP_IN} " in source.failures[0]
                assert (Path(__file__).parents[4] / DROP_IN).exists()

    asyncio.run(run())


@pytest.mark.parametrize(("names", "url", "expected"), [
    (("web",), docker.DEFAULT_URL, "web"),
    (("web", "db"), docker.DEFAULT_URL, "web,db"),
    (("*",), "unix:///run/podman/podman.sock", "*@/run/podman/podman.sock"),
])  # fmt: skip
def test_its_name_tells_it_from_others(names: tuple[str, ...], url: str, expected: str) -> None:
    assert docker.DockerSource(names, url).name == expected


def test_live_targets_are_behind_the_bridge_of_their_network() -> None:
    named = network("db", B, Options={"com.docker.network.bridge.name": "dbbr"})
    web = network("web", A)

    async def play(engine: StandIn, source: Following) -> None:
        await until(lambda: source.sets, "the first set")
        behind = {f"br-{web['Id'][:12]}": plain(A), "dbbr": plain(B)}
        assert source.sets[-1].downstream == behind

    scenario(play, web, named, names=("web", "db"))
