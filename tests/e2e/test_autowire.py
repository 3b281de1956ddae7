"""Live targets whose packets the host would send back out of its uplink get a route, and nobody else's is touched."""

import json
import subprocess
from collections.abc import Iterator

import pytest
from daemon_process import COMMAND, Installed, clean_environment
from requirements import OURS, require
from shared_lab import SharedLab

from ndpresponder.lab import Lab, wait_until
from ndpresponder.lab.topology import GATEWAY, VPS

ROUTE_DEADLINE_S = 5.0
TARGET = "2001:db8::5:c1"  # in the provider's prefix, and in no prefix of the bridge
PROTOCOL = "110"


@pytest.fixture(scope="module")
def wiring_lab() -> Iterator[Lab]:
    require("ip", "nft", "ping")
    with SharedLab(f"{OURS}aw", containers=2) as lab:
        yield lab


@pytest.fixture
def lab(wiring_lab: Lab) -> Iterator[Lab]:
    """Return a lab behind a strict filter whose first container also has an address that the host has no route to."""
    wiring_lab.reset()
    wiring_lab.filter("strict")
    wiring_lab.resolve_gateway()
    wiring_lab["c1"].ip(f"address add {TARGET}/128 dev eth0 nodad")
    yield wiring_lab
    wiring_lab["c1"].ip(f"address del {TARGET}/128 dev eth0")


def routes(lab: Lab, *words: str) -> dict[str, str]:
    """Return the VPS's routes of ours: destination -> interface."""
    shown = lab.run("vps", "ip", "-6", "-j", "route", "show", *(words or ("proto", PROTOCOL))).stdout
    return {route["dst"]: route["dev"] for route in json.loads(shown or "[]")}


def appear(lab: Lab, target: str = TARGET, station: str = "02:00:00:00:0c:04") -> None:
    """Make the VPS learn a neighbor on its bridge, as one that speaks is learned."""
    lab["vps"].ip(f"neigh replace {target} lladdr {station} dev br-ct nud reachable")


def vanish(lab: Lab, target: str = TARGET) -> None:
    lab["vps"].ip(f"neigh del {target} dev br-ct")


def follows(*flags: str) -> tuple[str, ...]:
    return ("-i", "uplink", "-b", "br-ct", *flags)


def learned(lab: Lab) -> None:
    """Let the bridge know the container's port."""
    assert lab.ping("c1", "2001:db8::1")


def test_a_live_target_without_a_route_is_reachable_only_when_it_is_wired(lab):
    learned(lab)
    appear(lab)
    with Installed(lab["vps"], *follows()):
        assert lab.ping("inet", TARGET, count=3).received == 0
    assert routes(lab) == {}
    lab.forget(TARGET)
    appear(lab)
    with Installed(lab["vps"], *follows("--install-routes")):
        wait_until(lambda: routes(lab) == {TARGET: "br-ct"}, ROUTE_DEADLINE_S, "the route")
        assert lab.ping("inet", TARGET, count=3).received == 3
    assert routes(lab) == {}


def test_a_target_that_has_a_route_gets_none(lab):
    learned(lab)
    appear(lab)
    with Installed(lab["vps"], *follows("--install-routes")):
        wait_until(lambda: routes(lab) == {TARGET: "br-ct"}, ROUTE_DEADLINE_S, "the route")
        assert lab.ping("inet", "2001:db8::c1")  # live as well, and in the bridge's prefix
        assert routes(lab) == {TARGET: "br-ct"}


def test_the_route_goes_with_the_target_and_comes_back_when_somebody_removes_it(lab):
    learned(lab)
    with Installed(lab["vps"], *follows("--install-routes")):
        appear(lab)
        wait_until(lambda: routes(lab) == {TARGET: "br-ct"}, ROUTE_DEADLINE_S, "the route")
        lab["vps"].ip(f"route del {TARGET} proto {PROTOCOL}")
        wait_until(lambda: routes(lab) == {TARGET: "br-ct"}, ROUTE_DEADLINE_S, "the route to come back")
        vanish(lab)
        wait_until(lambda: routes(lab) == {}, ROUTE_DEADLINE_S, "the route to go")


def test_routes_of_an_earlier_run_are_cleaned_and_no_others(lab):
    foreign = "2001:db8::5:c9 dev br-ct proto 99 metric 7"
    killed = lab.popen("vps", COMMAND, *follows("--install-routes"), env=clean_environment(), stderr=subprocess.DEVNULL)
    learned(lab)
    appear(lab)
    wait_until(lambda: routes(lab) == {TARGET: "br-ct"}, ROUTE_DEADLINE_S, "the route")
    killed.kill()
    killed.wait()
    vanish(lab)
    lab["vps"].ip(f"route add {foreign}")
    before = lab.run("vps", "ip", "-6", "route", "show", "proto", "99").stdout
    assert routes(lab) == {TARGET: "br-ct"}
    try:
        with Installed(lab["vps"], *follows("--install-routes")):
            wait_until(lambda: routes(lab) == {}, ROUTE_DEADLINE_S, "the old route to go")
        assert lab.run("vps", "ip", "-6", "route", "show", "proto", "99").stdout == before
    finally:
        lab["vps"].ip(f"route del {foreign}")


@pytest.mark.parametrize("kind", ["unreachable", "blackhole", "prohibit"])
def test_what_somebody_made_unreachable_stays_so(lab, kind):
    lab["vps"].ip(f"route add {kind} 2001:db8::5:0/112")
    learned(lab)
    appear(lab)
    appear(lab, "2001:db8::6:c1")
    try:
        with Installed(lab["vps"], *follows("--install-routes")):
            wait_until(lambda: "2001:db8::6:c1" in routes(lab), ROUTE_DEADLINE_S, "the other target's route")
            assert routes(lab) == {"2001:db8::6:c1": "br-ct"}
    finally:
        lab["vps"].ip(f"route del {kind} 2001:db8::5:0/112")
        vanish(lab, "2001:db8::6:c1")


def test_nobody_behind_us_can_take_a_gateway_an_uplink_or_an_excluded_address(lab):
    stolen = (GATEWAY, VPS, "2001:db8::5:bad")
    learned(lab)
    for address in (*stolen, TARGET):
        appear(lab, address)
    try:
        with Installed(lab["vps"], *follows("--install-routes", "--exclude", "2001:db8::5:bad")):
            wait_until(lambda: TARGET in routes(lab), ROUTE_DEADLINE_S, "the route")
            assert routes(lab) == {TARGET: "br-ct"}
            # while a gateway is none, whoever claims its address must not become the way to it
            lab["vps"].ip("route del ::/0", f"neigh del {TARGET} dev br-ct")
            wait_until(lambda: routes(lab) == {}, ROUTE_DEADLINE_S, "the route to go")
            appear(lab)
            wait_until(lambda: TARGET in routes(lab), ROUTE_DEADLINE_S, "the route")
            assert routes(lab) == {TARGET: "br-ct"}
    finally:
        lab["vps"].ip(f"route replace ::/0 via {GATEWAY} dev uplink")
        for address in stolen:
            vanish(lab, address)


def test_five_hundred_targets_are_wired_and_unwired_while_answers_go_on(lab):
    targets = [f"2001:db8::5:{number:x}" for number in range(0x1000, 0x1000 + 500)]
    learned(lab)
    with Installed(lab["vps"], *follows("--install-routes")):
        lab["vps"].ip(
            *(f"neigh replace {target} lladdr 02:00:00:00:0c:04 dev br-ct nud reachable" for target in targets)
        )
        wait_until(lambda: routes(lab).keys() >= set(targets), 10, "500 routes", every_s=0.1)
        lab["vps"].ip(*(f"neigh del {target} dev br-ct" for target in targets))
        wait_until(lambda: not routes(lab).keys() & set(targets), 10, "500 routes to go", every_s=0.1)


def test_dry_run_installs_nothing(lab):
    learned(lab)
    appear(lab)
    with Installed(lab["vps"], *follows("--install-routes", "--dry-run")) as daemon:
        daemon.await_line("following")
        assert routes(lab) == {}
