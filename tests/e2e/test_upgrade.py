"""SIGUSR2: the installed version takes the process over, and no solicitation is lost; what cannot start does not."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_client import ask
from daemon_process import Installed
from frames import TARGET, packed, solicitation
from peer import Peer, Wire
from steady_traffic import Traffic, lose_none

from ndpresponder.lab import wait_until

GOOD = 'version = 1\n[control]\nsocket = ""\n[[interface]]\nname = "up0"\nprefixes = ["2001:db8::/112"]\n'


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "ndpresponder.toml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def daemon(wire: Wire, configuration: Path) -> Iterator[Installed]:
    with Installed(wire.near, "run", "--config", str(configuration)) as daemon:
        yield daemon


@pytest.fixture
def peer(daemon, peer) -> Peer:
    peer.await_answer()
    return peer


def upgrade(daemon: Installed) -> None:
    daemon.process.send_signal(signal.SIGUSR2)
    daemon.await_notice("RELOADING=1", 30.0)
    daemon.await_notice("READY=1", 10.0)


def test_under_load_no_solicitation_is_lost_and_each_is_answered_once(daemon, peer):
    def twice(traffic: Traffic) -> None:
        for _ in range(2):
            upgrade(daemon)
            traffic.await_answers(100)

    traffic = lose_none(peer, twice)
    assert traffic.longest_s < 3.0
    assert len(daemon.lines("replaced by the installed version")) == 2
    assert len(daemon.lines("event=starting")) == 3


def test_the_process_is_the_same_and_holds_no_more_than_before(daemon, peer):
    upgrade(daemon)  # from now on it has the memory in which processes leave what they know to the next one
    peer.await_answer()
    daemon.scrape()
    descriptors = daemon.descriptors()
    for _ in range(3):
        upgrade(daemon)
        peer.await_answer()
        daemon.scrape()
    wait_until(lambda: daemon.descriptors() <= descriptors, 5.0, "what was passed to be used or closed")


def test_it_reads_its_configuration_anew(daemon, peer, configuration):
    configuration.write_text(GOOD.replace("2001:db8::/112", "2001:db8:0:7::/112"))
    upgrade(daemon)
    peer.await_answer("2001:db8:0:7::1")
    peer.send(solicitation(TARGET))
    assert packed(TARGET) not in [answer[62:78] for answer in peer.advertisements(0.2)]


def test_temporary_prefixes_go_on_for_the_rest_of_their_lifetime(daemon, peer):
    assert ask(daemon.control, "POST", "/prefixes", prefix="2001:db8:5::/64", lifetime_s=600)[0] == 200
    peer.await_answer("2001:db8:5::1")
    for _ in range(2):
        upgrade(daemon)
        assert peer.ask(solicitation("2001:db8:5::1"))
    (kept,) = ask(daemon.control, "GET", "/prefixes")[1]["prefixes"]
    assert kept["prefix"] == "2001:db8:5::/64"
    assert 500 < kept["remaining_s"] < 600


@pytest.mark.parametrize(
    "how", [upgrade, lambda daemon: daemon.process.send_signal(signal.SIGHUP)], ids=["upgrade", "reload"]
)
def test_a_temporary_prefix_that_could_not_be_added_any_more_is_not_taken_over(daemon, peer, configuration, how):
    configuration.write_text(GOOD + "allow_wide = true\n")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.await_line("configuration reloaded")
    for prefix in ("2001:db8:5::/48", "2001:db8:6::/64"):
        assert ask(daemon.control, "POST", "/prefixes", prefix=prefix)[0] == 200
    peer.await_answer("2001:db8:5::1")
    configuration.write_text(GOOD)
    how(daemon)
    daemon.await_line("a temporary prefix is no longer answered for")
    peer.await_answer("2001:db8:6::1")
    assert [each["prefix"] for each in ask(daemon.control, "GET", "/prefixes")[1]["prefixes"]] == ["2001:db8:6::/64"]
    wait_until(lambda: peer.ask(solicitation("2001:db8:5::1")) == [], 2.0, "silence")


def test_a_configuration_that_would_not_start_keeps_the_running_version(daemon, peer, configuration):
    configuration.write_text(GOOD.replace("prefixes", "prefixs"))
    daemon.process.send_signal(signal.SIGUSR2)
    daemon.await_line("not upgraded, the running version stays", 30.0)
    assert [line for line in daemon.lines("not upgraded") if f"{configuration}:6: interface[0].prefixs" in line]
    assert peer.ask(solicitation(TARGET))
    configuration.write_text(GOOD)
    upgrade(daemon)
    peer.await_answer()


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGHUP])
def test_who_signals_the_whole_service_does_not_end_the_trial_of_the_successor(daemon, number):
    """As `systemctl kill` does, which goes through the processes of a service until it has found them all."""
    daemon.process.send_signal(signal.SIGUSR2)
    children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children")
    wait_until(lambda: bool(children.read_text()), 5.0, "the trial", every_s=0.001)
    for child in children.read_text().split():
        with contextlib.suppress(ProcessLookupError):  # it ended since it was listed
            os.kill(int(child), number)
    daemon.await_line("replaced by the installed version", 30.0)
    daemon.await_notice("READY=1", 10.0)


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.1, 0.12, 0.2, 0.4])
def test_being_told_to_end_in_the_midst_of_it_is_heard_by_one_or_the_other(daemon, delay_s):
    daemon.process.send_signal(signal.SIGUSR2)
    daemon.await_notice("RELOADING=1", 30.0)
    time.sleep(delay_s)  # before, while and after the one becomes the other
    assert daemon.stop() == 0


def test_a_reload_in_the_midst_of_it_costs_nothing(daemon, peer):
    daemon.process.send_signal(signal.SIGUSR2)
    daemon.await_notice("RELOADING=1", 30.0)

    def is_replaced() -> bool:
        daemon.process.send_signal(signal.SIGHUP)
        return bool(daemon.lines("replaced by the installed version"))

    wait_until(is_replaced, 30, "the installed version", every_s=0.01)
    daemon.await_notice("READY=1", 10.0)
    peer.await_answer()


def test_what_waited_for_more_than_three_seconds_is_counted_and_not_answered(daemon, peer):
    """The daemon is stopped in its last moment before the successor begins, for longer than anybody waits."""
    daemon.process.send_signal(signal.SIGUSR2)
    daemon.await_line("replaced by the installed version", 30.0)
    daemon.process.send_signal(signal.SIGSTOP)
    peer.drain()
    old = [solicitation(f"2001:db8::{number:x}") for number in range(1, 11)]
    peer.send(*old)
    time.sleep(3.2)  # what it is about
    peer.send(solicitation("2001:db8::20"))
    daemon.process.send_signal(signal.SIGCONT)
    peer.await_answer()
    assert daemon.counters()["ignored too_old"] == len(old)
    assert all(answer[62:78][-1] in (0x20, 0xC1) for answer in peer.advertisements(0))


def test_a_link_that_was_made_anew_meanwhile_gets_a_socket_of_its_own(wire, daemon, peer):
    daemon.process.send_signal(signal.SIGUSR2)
    daemon.await_line("replaced by the installed version", 30.0)
    daemon.process.send_signal(signal.SIGSTOP)
    wire.near.ip("link del up0")
    wire.plug(0)
    daemon.process.send_signal(signal.SIGCONT)
    with Peer(wire.far) as again:
        again.await_answer()
    (line,) = daemon.lines("of no use")
    assert "its link is gone" in line
