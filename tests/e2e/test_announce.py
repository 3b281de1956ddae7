"""A router learns live targets before it needs them, and forgets what it wrongly knew of them."""

import json
from collections.abc import Iterator

import pytest
from daemon_process import Installed
from requirements import OURS, require
from shared_lab import SharedLab

from ndpresponder.lab import Lab, wait_until
from ndpresponder.lab.topology import CONTAINER, VPS_LLADDR

OTHER = "2001:db8::c2"
ELSEWHERE = "02:00:00:00:00:66"  # the host the target lived on before
LEARN_S = 5.0


@pytest.fixture(scope="module")
def announcing_lab() -> Iterator[Lab]:
    require("ip", "nft", "ping")
    with SharedLab(f"{OURS}an", "macvlan") as lab:
        yield lab


@pytest.fixture
def lab(announcing_lab: Lab) -> Lab:
    announcing_lab.reset()
    announcing_lab.filter("strict")
    announcing_lab.resolve_gateway()
    return announcing_lab


def known(lab: Lab, target: str = CONTAINER) -> object:
    """Return the link-layer address that the router has for a target."""
    return lab.neighbour(target).get("lladdr")


def test_the_router_knows_a_live_target_before_any_traffic(lab):
    with Installed(lab["vps"], "-i", "uplink", "-n", CONTAINER):
        wait_until(lambda: known(lab) == VPS_LLADDR, LEARN_S, "the router's entry")
        assert lab.ping("inet", CONTAINER)


def test_a_claimed_target_is_not_announced(lab):
    with Installed(lab["vps"], "-i", "uplink", "-n", "2001:db8::c0/124", "-n", OTHER):
        wait_until(lambda: known(lab, OTHER) == VPS_LLADDR, LEARN_S, "the live target's entry")
        assert known(lab) is None


@pytest.mark.parametrize("state", ["stale", "reachable"])
def test_what_the_router_wrongly_knew_is_overridden(lab, state):
    lab["rtr"].ip(f"neigh replace {CONTAINER} lladdr {ELSEWHERE} dev lan0 nud {state}")
    with Installed(lab["vps"], "-i", "uplink", "-n", CONTAINER):
        wait_until(lambda: known(lab) == VPS_LLADDR, LEARN_S, "the router's entry")
        assert lab.ping("inet", CONTAINER)


def test_never_announces_nothing(lab):
    lab["rtr"].ip(f"neigh replace {CONTAINER} lladdr {ELSEWHERE} dev lan0 nud stale")
    with Installed(lab["vps"], "-i", "uplink", "-n", CONTAINER, "-a", "never") as daemon:
        assert daemon.counters("uplink")["sent unsolicited"] == 0
        assert known(lab) == ELSEWHERE


def test_a_container_that_starts_is_known_at_once_and_one_that_stops_is_announced_no_more(lab, tmp_path):
    addresses = tmp_path / "addresses"
    addresses.write_text("")
    with Installed(lab["vps"], "-i", "uplink", "-f", str(addresses)) as daemon:
        addresses.write_text(f"{CONTAINER}\n")
        wait_until(lambda: known(lab) == VPS_LLADDR, LEARN_S, "the router's entry")
        addresses.write_text(f"{OTHER}\n")
        wait_until(lambda: known(lab, OTHER) == VPS_LLADDR, LEARN_S, "the other's entry")
        sent = daemon.counters("uplink")["sent unsolicited"]
        lab.forget()
        wait_until(
            lambda: daemon.counters("uplink")["sent unsolicited"] >= sent + 2, LEARN_S, "its other announcements"
        )
        assert known(lab) is None


def test_five_hundred_live_targets_are_all_learned(lab, tmp_path):
    addresses = tmp_path / "addresses"
    targets = [f"2001:db8::5:{number:x}" for number in range(500)]
    addresses.write_text("\n".join(targets))
    with Installed(lab["vps"], "-i", "uplink", "-f", str(addresses)):
        shown = ("ip", "-6", "-j", "neigh", "show", "dev", "lan0")

        def learned() -> set[str]:
            return {entry["dst"] for entry in json.loads(lab.run("rtr", *shown).stdout) if "lladdr" in entry}

        wait_until(lambda: set(targets) <= learned(), 10, "the router to learn them", every_s=0.2)
