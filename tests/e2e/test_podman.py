"""A real Podman service in the VPS, whose events tell less than Docker's: its containers are followed all the same."""

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
from container_engines import NEEDS_PODMAN, Podman, network
from daemon_process import Installed
from requirements import OURS, require
from shared_lab import SharedLab

from ndpresponder.lab import Lab, wait_until
from ndpresponder.lab.topology import GATEWAY, VPS

pytestmark = pytest.mark.needs("ip", "nft", "ping", *NEEDS_PODMAN)


@pytest.fixture(scope="module")
def podman_lab() -> Iterator[Lab]:
    require("ip", "nft", "ping", *NEEDS_PODMAN)
    with SharedLab(f"{OURS}dkp", containers=0) as lab:
        lab["vps"].ip(  # Podman refuses a subnet that overlaps one of the host's
            "link del br-ct",
            f"address del {VPS}/64 dev uplink",
            f"address add {VPS}/128 dev uplink nodad",
            f"route add {GATEWAY} dev uplink",
            f"route replace ::/0 via {GATEWAY} dev uplink",
        )
        lab.filter("strict")
        yield lab


@pytest.fixture(scope="module")
def podman(podman_lab: Lab) -> Iterator[Podman]:
    with Podman(podman_lab["vps"]) as podman:
        yield podman


def settle(lab: Lab) -> None:
    """Wait until the bridge carries, and keep its address for good.

    It would take that of another port whenever one goes, and a container that has just asked for it would be sure of
    the old one for up to 45 s and ask anew another 9 s later; as the host would be of one that was started anew.
    """
    name = bridge_of(lab)
    wait_until(
        lambda: "tentative" not in lab.run("vps", "ip", "-6", "address", "show", "dev", name).stdout, 5, "the bridge"
    )
    lab["vps"].sysctl({f"ipv6/conf/{name}/ndisc_notify": 1})  # the containers are told
    lab["vps"].ip(f"link set {name} address 02:00:00:00:03:00", f"neigh flush dev {name}")


@pytest.mark.parametrize("name", ["exposed", "*"])
def test_containers_are_reachable_exactly_while_they_run(podman_lab: Lab, podman: Podman, name: str) -> None:
    flags = ("-i", "uplink", "-N", name, "--docker-url", podman.url)
    with network(podman, "exposed", *SUBNETS), Installed(podman_lab["vps"], *flags) as installed:
        podman.run_container("web", "exposed", WEB)
        podman.run_container("db", "exposed", DB)
        await_live(installed, 2)
        settle(podman_lab)
        await_reachable(podman_lab, WEB, DB)

        podman.cli("stop", "web")
        await_live(installed, 1)
        assert_ignored(installed, podman_lab, WEB)
        podman.cli("start", "web")
        await_live(installed, 2)
        settle(podman_lab)
        await_reachable(podman_lab, WEB)

        podman.cli("rm", "-f", "web")
        await_live(installed, 1)
        assert_ignored(installed, podman_lab, WEB)
        assert reachable(podman_lab, DB)


@pytest.fixture
def exposed(podman_lab: Lab, podman: Podman) -> Iterator[Podman]:
    """Return the engine with a network in which `web` and `db` run and are reachable."""
    with network(podman, "exposed", *SUBNETS):
        podman.run_container("web", "exposed", WEB)
        podman.run_container("db", "exposed", DB)
        settle(podman_lab)
        yield podman


def test_a_container_is_gone_while_it_is_disconnected(podman_lab: Lab, exposed: Podman) -> None:
    with follow(podman_lab, exposed) as installed:
        await_live(installed, 2)
        await_reachable(podman_lab, WEB, DB)
        for _ in range(2):
            exposed.cli("network", "disconnect", "exposed", "web")
            await_live(installed, 1)
            assert_ignored(installed, podman_lab, WEB)
            assert reachable(podman_lab, DB)
            exposed.cli("network", "connect", "--ip6", WEB, "exposed", "web")
            await_live(installed, 2)
            settle(podman_lab)
            await_reachable(podman_lab, WEB)


def test_containers_that_outlive_the_service_stay_reachable(podman_lab: Lab, exposed: Podman) -> None:
    with follow(podman_lab, exposed) as installed:
        await_live(installed, 2)
        await_reachable(podman_lab, WEB, DB)
        for number in (signal.SIGKILL, signal.SIGTERM):
            exposed.kill(number)
            wait_until(lambda: not is_up(installed), FOLLOW_S, "the source to be down")
            assert reachable(podman_lab, WEB)
            exposed.start()
            wait_until(lambda: is_up(installed), FOLLOW_S, "the source to be up")
            assert live(installed) == 2
            assert reachable(podman_lab, WEB)
        exposed.cli("rm", "-f", "web")
        await_live(installed, 1)
        assert_ignored(installed, podman_lab, WEB)


def test_the_bridge_that_podman_made_tells_as_much_as_its_api(podman_lab: Lab, exposed: Podman) -> None:
    with Installed(podman_lab["vps"], "-i", "uplink", "-b", bridge_of(podman_lab)) as installed:
        await_reachable(podman_lab, WEB, DB)
        await_live(installed, 2, "bridge")
        exposed.cli("rm", "-f", "web")
        await_live(installed, 1, "bridge")
        exposed.cli("rm", "-f", "db")  # and with it the bridge
        await_live(installed, 0, "bridge")
        assert_ignored(installed, podman_lab, WEB)
