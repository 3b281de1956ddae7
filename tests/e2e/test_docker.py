"""A real dockerd in the VPS: its containers are reachable from the internet, through the provider's filter, exactly
while they run, whatever happens to them, to their network and to the daemon of Docker itself.
"""

import signal
from collections.abc import Iterator

import pytest
from container_checks import (
    DB,
    FOLLOW_S,
    SUBNETS,
    WEB,
    assert_ignored,
    await_live,
    await_reachable,
    bridge_of,
    follow,
    is_up,
    live,
    reachable,
)
from container_engines import NEEDS_DOCKER, Docker, network
from daemon_process import Installed
from requirements import OURS, require
from shared_lab import SharedLab

from ndpresponder.lab import Lab, wait_until

pytestmark = pytest.mark.needs("ip", "nft", "ping", *NEEDS_DOCKER)


@pytest.fixture(scope="module")
def docker_lab() -> Iterator[Lab]:
    require("ip", "nft", "ping", *NEEDS_DOCKER)
    with SharedLab(f"{OURS}dk", containers=0) as lab:
        lab["vps"].ip("link del br-ct")  # Docker makes a bridge of its own
        lab.filter("strict")
        yield lab


@pytest.fixture(scope="module")
def docker(docker_lab: Lab) -> Iterator[Docker]:
    with Docker(docker_lab["vps"]) as docker:
        yield docker


@pytest.fixture
def exposed(docker: Docker) -> Iterator[Docker]:
    with network(docker, "exposed", *SUBNETS):
        yield docker


def test_a_container_is_reachable_from_its_start_to_its_end(docker_lab: Lab, exposed: Docker) -> None:
    with follow(docker_lab, exposed) as installed:
        assert_ignored(installed, docker_lab, WEB)

        assert exposed.run_container("web", "exposed", WEB) == WEB
        await_live(installed, 1)
        await_reachable(docker_lab, WEB)
        assert_ignored(installed, docker_lab, DB)  # the rest of the subnet is nobody's

        exposed.cli("rm", "-f", "web")
        await_live(installed, 0)
        assert_ignored(installed, docker_lab, WEB)


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (("stop", "web"), ("start", "web")),
        (("kill", "web"), ("start", "web")),
        (("network", "disconnect", "exposed", "web"), ("network", "connect", "--ip6", WEB, "exposed", "web")),
    ],
    ids=["stop", "kill", "disconnect"],
)
def test_a_container_is_gone_while_it_is_down(
    down: tuple[str, ...], up: tuple[str, ...], docker_lab: Lab, exposed: Docker
) -> None:
    exposed.run_container("web", "exposed", WEB)
    exposed.run_container("db", "exposed", DB)
    with follow(docker_lab, exposed) as installed:
        await_live(installed, 2)
        await_reachable(docker_lab, WEB, DB)
        for _ in range(2):
            exposed.cli(*down)
            await_live(installed, 1)
            assert_ignored(installed, docker_lab, WEB)
            assert reachable(docker_lab, DB)
            exposed.cli(*up)
            await_live(installed, 2)
            await_reachable(docker_lab, WEB)


def test_a_container_that_restarts_is_back(docker_lab: Lab, exposed: Docker) -> None:
    exposed.run_container("web", "exposed", WEB)
    with follow(docker_lab, exposed) as installed:
        await_live(installed, 1)
        exposed.cli("restart", "web")
        await_live(installed, 1)
        await_reachable(docker_lab, WEB)


def test_a_network_may_come_later_go_and_return(docker_lab: Lab, docker: Docker) -> None:
    with follow(docker_lab, docker, "later") as installed:
        installed.await_line("there is no such network yet")
        for _ in range(2):
            with network(docker, "later", *SUBNETS):
                docker.run_container("web", "later", WEB)
                await_live(installed, 1)
                await_reachable(docker_lab, WEB)
            await_live(installed, 0)
            assert_ignored(installed, docker_lab, WEB)
        wait_until(lambda: len(installed.lines("no such network yet")) == 3, FOLLOW_S, "the third time to be said")
        assert len(installed.lines("the network is there")) == 2


def test_all_networks_are_followed_and_those_without_ipv6_ignored(docker_lab: Lab, exposed: Docker) -> None:
    exposed.cli("network", "create", "--subnet", "172.27.0.0/16", "plain")
    try:
        with follow(docker_lab, exposed, "*") as installed:
            exposed.run_container("web", "exposed", WEB)
            assert exposed.run_container("four", "plain") == ""
            await_live(installed, 1)
            await_reachable(docker_lab, WEB)
    finally:
        exposed.cli("rm", "-f", "four", check=False)
        exposed.cli("network", "rm", "plain")


def test_many_containers_at_once_are_all_reachable(docker_lab: Lab, exposed: Docker) -> None:
    with follow(docker_lab, exposed) as installed:
        addresses = [exposed.run_container(f"c{number}", "exposed") for number in range(6)]
        assert len(set(addresses)) == 6
        exposed.cli("restart", *(f"c{number}" for number in range(6)))
        await_live(installed, 6)
        await_reachable(docker_lab, *addresses)


def test_the_bridge_that_docker_made_tells_as_much_as_its_api(docker_lab: Lab, exposed: Docker) -> None:
    with Installed(docker_lab["vps"], "-i", "uplink", "-b", bridge_of(docker_lab)) as installed:
        exposed.run_container("web", "exposed", WEB)
        await_reachable(docker_lab, WEB)
        await_live(installed, 1, "bridge")
        exposed.cli("rm", "-f", "web")
        await_live(installed, 0, "bridge")


def test_containers_that_outlive_dockerd_stay_reachable(docker_lab: Lab, docker: Docker) -> None:
    docker.kill(signal.SIGTERM)
    docker.start("--live-restore")
    with network(docker, "exposed", *SUBNETS), follow(docker_lab, docker) as installed:
        docker.run_container("web", "exposed", WEB)
        await_live(installed, 1)
        await_reachable(docker_lab, WEB)
        for number in (signal.SIGKILL, signal.SIGTERM):
            docker.kill(number)
            wait_until(lambda: not is_up(installed), FOLLOW_S, "the source to be down")
            assert reachable(docker_lab, WEB)
            docker.start("--live-restore")
            wait_until(lambda: is_up(installed), FOLLOW_S, "the source to be up")
            assert live(installed) == 1
            assert reachable(docker_lab, WEB)
        docker.run_container("db", "exposed", DB)
        await_live(installed, 2)
        docker.cli("rm", "-f", "web")
        await_live(installed, 1)


def test_containers_that_end_with_dockerd_are_not_answered_for(docker_lab: Lab, docker: Docker) -> None:
    with network(docker, "exposed", *SUBNETS):
        docker.kill(signal.SIGTERM)
        docker.start()
        docker.run_container("web", "exposed", WEB)
        with follow(docker_lab, docker) as installed:
            await_live(installed, 1)
            docker.kill(signal.SIGTERM)
            wait_until(lambda: not is_up(installed), FOLLOW_S, "the source to be down")
            docker.start()
            wait_until(lambda: is_up(installed), FOLLOW_S, "the source to be up")
            await_live(installed, 0)
            docker.cli("start", "web")
            await_live(installed, 1)
            await_reachable(docker_lab, WEB)
