"""Restarts under a real systemd and 200 solicitations a second: none is lost, whatever ends the daemon."""

import random
import re
from collections.abc import Callable, Iterator

import pytest
from booted_debian import Machine
from daemon_process import ATTEMPTS
from frames import long_solicitation, packed, solicitation
from installed_service import UNIT, configure, drop_in, journal, shipped_drop_in, show
from kernel_runs import attached_programs, require_bpf
from peer import Flood, Peer
from steady_traffic import Traffic, lose_none

from ndpresponder.lab import Lab, wait_until
from ndpresponder.linux.packet.ring import SLOTS
from ndpresponder.linux.packet.sender import BATCH

REINSTALL = """
/opt/ndpresponder/bin/pip install --quiet --no-index --no-deps --force-reinstall --find-links /share/wheels ndpresponder
"""
LONGEST_S = 4.0
UPGRADE_S = 40.0  # longer than the daemon waits for its successor to start, which it says then
KILLS = 2
FLOOD = 4200
LOST_IN_A_FLOOD = 0.001
TEMPORARY = "2001:db8::5:1"
KEPT = ("the packet socket", "the clock", "what is known of requesters")
KEPT_AT_THE_END = (*KEPT, "what was answered of late")


@pytest.fixture
def service(machine: Machine) -> Machine:
    machine.run("systemctl", "start", UNIT)
    return machine


@pytest.fixture
def router(vps_lab: Lab, service: Machine) -> Iterator[Peer]:
    with Peer(vps_lab["rtr"], "lan0") as router:
        router.await_answer()
        yield router


def kept(machine: Machine) -> int:
    """Return how many descriptors systemd keeps for the unit."""
    return int(show(machine, "NFileDescriptorStore")["NFileDescriptorStore"])


def restarts(machine: Machine) -> int:
    return int(show(machine, "NRestarts")["NRestarts"])


def replaced(machine: Machine) -> int:
    """Return how often the journal says that a version was replaced in place."""
    return sum("replaced by the installed version" in entry["MESSAGE"] for entry in journal(machine, "--unit", UNIT))


def await_next(machine: Machine, before: int) -> None:
    """Wait until systemd has started the daemon once more by itself."""

    def started() -> bool:
        return restarts(machine) > before and show(machine, "ActiveState")["ActiveState"] == "active"

    wait_until(started, 15.0, "the next process")


def test_three_restarts_lose_no_solicitation(service: Machine, router: Peer) -> None:
    def restart(traffic: Traffic) -> None:
        for _ in range(3):
            service.run("systemctl", "restart", UNIT)
            traffic.await_answers(50)

    assert kept(service) == len(KEPT)
    assert lose_none(router, restart).longest_s < LONGEST_S
    assert kept(service) == len(KEPT_AT_THE_END)


def test_restarts_that_turn_the_fast_path_on_and_keep_it_lose_no_solicitation(
    service: Machine, vps_lab: Lab, router: Peer
) -> None:
    require_bpf()
    configure(service, '^fastpath = "off"', 'fastpath = "tcx"')
    shipped_drop_in(service, "ndpresponder-fastpath.conf")

    def restart(traffic: Traffic) -> None:
        for _ in range(3):
            service.run("systemctl", "restart", UNIT)
            traffic.await_answers(50)

    assert lose_none(router, restart).longest_s < LONGEST_S
    assert len(attached_programs(vps_lab["vps"], "uplink")) == 1


def test_two_kills_lose_no_solicitation(service: Machine, router: Peer) -> None:
    with Traffic(router) as traffic:
        traffic.await_answers(20)
        for _ in range(KILLS):
            before = restarts(service)
            service.run("systemctl", "kill", "--signal=KILL", UNIT)
            await_next(service, before)
            traffic.await_answers(50)
    assert traffic.lost == []
    assert len(traffic.repeated) <= KILLS * BATCH  # it dies between the answers to a batch and giving it back
    assert traffic.longest_s < LONGEST_S


@pytest.mark.parametrize("network", ["2001:db8::", "2001:db8:1::"], ids=["ours", "not ours"])
def test_a_restart_in_the_midst_of_a_flood_loses_next_to_nothing_of_what_the_gateway_asks(
    service: Machine, vps_lab: Lab, router: Peer, network: str
) -> None:
    chance = random.Random(7)
    flood = [
        solicitation(
            packed(network)[:14] + chance.randbytes(2),
            packed("fe80::")[:8] + chance.randbytes(8),
            ethernet_source=b"\x02" + chance.randbytes(5),
        )
        for _ in range(FLOOD)
    ]
    vps_lab.resolve_gateway()
    lost: list[float] = []
    while not lost or lost[-1] > LOST_IN_A_FLOOD:
        assert len(lost) < ATTEMPTS, f"lost: {lost}"
        with Flood(vps_lab["rtr"], flood, "lan0"), Traffic(router) as traffic:
            traffic.await_answers(200)
            service.run("systemctl", "restart", UNIT)
            traffic.await_answers(600)
        lost.append(len(traffic.lost) / len(traffic.asked_s))


@pytest.mark.parametrize("hop_limit", [255, 64], ids=["long", "long and forwarded"])
def test_a_ring_that_was_filled_while_nobody_read_it_does_not_silence_the_next_process(
    service: Machine, router: Peer, hop_limit: int
) -> None:
    before = restarts(service)
    service.run("systemctl", "kill", "--signal=STOP", UNIT)
    router.send(*[long_solicitation(hop_limit=hop_limit)] * (SLOTS + 1000))
    service.run("systemctl", "kill", "--signal=KILL", UNIT)
    await_next(service, before)
    router.await_answer()
    with Traffic(router) as traffic:
        traffic.await_answers(100)
    assert traffic.lost == []


def test_forwarded_frames_cost_nobody_an_answer_while_the_daemon_is_killed(
    service: Machine, router: Peer, vps_lab: Lab
) -> None:
    forwarded = [long_solicitation(hop_limit=64)] * 3000
    with Traffic(router) as traffic, Flood(vps_lab["rtr"], forwarded, "lan0"):
        traffic.await_answers(20)
        before = restarts(service)
        service.run("systemctl", "kill", "--signal=KILL", UNIT)
        await_next(service, before)
        traffic.await_answers(50)
    assert traffic.lost == []
    assert traffic.longest_s < LONGEST_S


def test_temporary_prefixes_outlive_restarts_and_kills_but_not_a_stop(service: Machine, router: Peer) -> None:
    service.run("ndpresponder", "add", "2001:db8::5:0/112", "--for", "1h")
    router.await_answer(TEMPORARY)
    service.run("systemctl", "restart", UNIT)
    assert router.ask(solicitation(TEMPORARY))
    before = restarts(service)
    service.run("systemctl", "kill", "--signal=KILL", UNIT)
    await_next(service, before)
    assert router.ask(solicitation(TEMPORARY))
    service.run("systemctl", "stop", UNIT)
    service.run("systemctl", "start", UNIT)
    router.await_answer()
    assert "2001:db8::5:0/112" not in service.run("ndpresponder", "status").stdout


def test_another_version_that_is_installed_loses_no_solicitation(service: Machine, router: Peer) -> None:
    def replace_package(traffic: Traffic) -> None:
        service.run("sh", "-c", REINSTALL, timeout=60)
        service.run("systemctl", "restart", UNIT)
        traffic.await_answers(50)

    assert lose_none(router, replace_package).longest_s < LONGEST_S


def test_an_upgrade_in_place_keeps_the_process_and_loses_no_solicitation(service: Machine, router: Peer) -> None:
    pid, before = show(service, "MainPID")["MainPID"], replaced(service)

    def upgrade(traffic: Traffic) -> None:
        service.run("systemctl", "kill", "--signal=USR2", UNIT)
        wait_until(lambda: replaced(service) > before, UPGRADE_S, "the successor")
        wait_until(lambda: show(service, "SubState")["SubState"] == "running", 10.0, "it to be ready")
        traffic.await_answers(50)

    assert lose_none(router, upgrade).longest_s < LONGEST_S
    assert show(service, "MainPID", "NRestarts") == {"MainPID": pid, "NRestarts": "0"}


def deafen(machine: Machine) -> None:
    """Have SIGABRT ignored, so that it takes SIGKILL."""
    (start,) = re.findall(r"^ExecStart=(.*)", machine.run("systemctl", "cat", UNIT).stdout, re.MULTILINE)
    drop_in(machine, "ExecStart=", f"ExecStart=/usr/bin/env --ignore-signal=ABRT {start}")
    machine.run("systemctl", "restart", UNIT)


@pytest.mark.parametrize("prepare", [lambda _: None, deafen], ids=["as shipped", "deaf to SIGABRT"])
def test_a_daemon_that_the_watchdog_ends_loses_no_solicitation(
    machine: Machine, router: Peer, prepare: Callable[[Machine], None]
) -> None:
    prepare(machine)
    before = restarts(machine)
    with Traffic(router) as traffic:
        traffic.await_answers(20)
        machine.run("systemctl", "kill", "--signal=STOP", UNIT)
        await_next(machine, before)
        traffic.await_answers(50)
    assert traffic.lost == []
    assert traffic.longest_s < LONGEST_S


def test_a_reload_changes_what_is_answered_and_shows_a_mistake(service: Machine, router: Peer) -> None:
    configure(service, r"^prefixes = .*", 'prefixes = ["2001:db8::/112", "2001:db8:0:5::/112"]')
    service.run("systemctl", "reload", UNIT)
    asked = ("ndpresponder", "explain", "2001:db8:0:5::1")
    wait_until(lambda: service.run(*asked, check=False).returncode == 0, 5.0, "the new prefix")
    configure(service, r'^router_flag = "auto"', 'router_flag = "sometimes"')
    service.run("systemctl", "reload", UNIT)

    def shown() -> bool:
        return "not reloaded: /etc/ndpresponder/ndpresponder.toml:" in show(service, "StatusText")["StatusText"]

    wait_until(shown, 5.0, "the mistake in the status")
    assert show(service, "ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}


def test_what_is_stopped_is_kept_no_longer(service: Machine, router: Peer) -> None:
    service.run("systemctl", "stop", UNIT)
    assert kept(service) == 0
