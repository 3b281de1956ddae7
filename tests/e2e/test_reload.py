"""Reload: what stays is answered without a gap, what was never ours stays silent, and a bad file changes nothing."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_process import Installed
from frames import TARGET, packed, solicitation
from hanging_disk import HungDisk
from peer import Peer, Wire
from requirements import require
from steady_traffic import Traffic, lose_none

from ndpresponder.lab import wait_until

STAYS = "2001:db8::/112"
OTHER = "2001:db8:0:1::/112"
OF_OTHER = "2001:db8:0:1::5"
NEVER_OURS = "2001:db8:0:9::1000"
RELOADS = 100
SOLICITED = 0x40


class Configuration:
    """A file, and a daemon that is told to read it again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.daemon: Installed | None = None

    def write(self, text: str) -> None:
        self.path.write_text(f'version = 1\n[control]\nsocket = ""\n{text}')

    def reload(self, text: str | None = None) -> None:
        """Have the file, or other text in it, read again, and wait until it is in force."""
        assert self.daemon is not None
        if text is not None:
            self.write(text)
        self.daemon.process.send_signal(signal.SIGHUP)
        self.daemon.await_notice("READY=1", 10.0)


def uplink(*prefixes: str, name: str = "up0", more: str = "") -> str:
    quoted = ", ".join(f'"{prefix}"' for prefix in prefixes)
    return f'[[interface]]\nname = "{name}"\nprefixes = [{quoted}]\n{more}\n'


@pytest.fixture
def wire() -> Iterator[Wire]:
    require("ip")
    with Wire("reload", cables=2) as wire:
        yield wire


@pytest.fixture
def configuration(wire: Wire, tmp_path: Path) -> Iterator[Configuration]:
    configuration = Configuration(tmp_path / "ndpresponder.toml")
    configuration.write(uplink(STAYS))
    with Installed(wire.near, "--config", str(configuration.path)) as daemon:
        configuration.daemon = daemon
        daemon.scrape()
        yield configuration


@pytest.fixture
def daemon(configuration: Configuration) -> Installed:
    assert configuration.daemon is not None
    return configuration.daemon


@pytest.fixture
def peer(daemon, peer) -> Peer:
    peer.await_answer()
    return peer


def test_a_hundred_reloads_lose_no_solicitation_and_answer_none_that_is_not_ours(configuration, daemon, peer, wire):
    """Each reload changes prefixes, exclusions, policies, sources, limits, the log and the other uplink."""
    listed = configuration.path.with_name("listed")
    listed.write_text("2001:db8:0:3::1\n")

    def variant(number: int) -> str:
        odd = bool(number % 2)
        more = 'exclude = ["2001:db8::ff00/120"]\noverride = "always"\nannounce = "never"' if odd else ""
        text = uplink(STAYS, *([OTHER] if odd else []), more=more)
        text += uplink("2001:db8:0:2::/112", name="up1") if number // 20 % 2 else ""
        text += f'[[source.file]]\npath = "{listed}"\n' if number % 3 else ""
        text += "[limits]\nrate = 100000\nburst = 100000\n" if number % 5 else ""
        return text + f'[log]\nformat = "{"json" if number % 7 == 3 else "logfmt"}"\n'

    def reload_all(traffic: Traffic) -> None:
        for number in range(RELOADS):
            peer.send(solicitation(NEVER_OURS))
            configuration.reload(variant(number))

    before = daemon.counters()
    descriptors = daemon.descriptors()
    traffic = lose_none(peer, reload_all, rate=1000)
    assert traffic.longest_s < 1.0
    peer.drain()
    caused = daemon.counters() - before
    assert caused["ignored not_ours"] == RELOADS
    assert caused["sent solicited"] == len(traffic.asked_s)
    assert len(daemon.lines("configuration reloaded")) == RELOADS
    assert not daemon.lines("not reloaded")
    configuration.reload(uplink(STAYS))
    wait_until(lambda: daemon.descriptors() <= descriptors, 5.0, "all that is no longer needed to be closed")


def answers(peer: Peer, target: str) -> bool:
    """Solicit `target`; an advertisement sent unasked, as a new live target's is, is no answer."""
    return any(answer[58] & SOLICITED and answer[62:78] == packed(target) for answer in peer.ask(solicitation(target)))


def test_prefixes_and_exclusions_change_at_once(configuration, peer):
    assert (answers(peer, TARGET), answers(peer, OF_OTHER)) == (True, False)
    configuration.reload(uplink(STAYS, OTHER, more=f'exclude = ["{TARGET}"]'))
    wait_until(lambda: answers(peer, OF_OTHER), 5.0, "the new prefix")
    assert not answers(peer, TARGET)


def test_a_policy_changes_at_once(configuration, peer):
    probe = solicitation(destination=TARGET)
    assert peer.ask(probe)
    configuration.reload(uplink(STAYS, more='unicast = "never"'))
    assert not peer.ask(probe)
    configuration.reload(uplink(STAYS, more='unicast = "never"\noverride = "always"'))
    assert peer.await_answer()[58] & 0x20


def test_a_rate_limit_comes_and_goes(configuration, daemon, peer):
    many = [solicitation(f"2001:db8::{number:x}") for number in range(1, 101)]
    configuration.reload(uplink(STAYS) + "[limits]\nrate = 1\nburst = 5\n")
    caused = daemon.caused(lambda: peer.send(*many), len(many))
    assert caused["ignored rate_limited"] >= 90
    configuration.reload(uplink(STAYS))
    assert daemon.caused(lambda: peer.send(*many), len(many))["sent solicited"] == 100


def test_an_uplink_is_added_and_removed(configuration, daemon, wire, peer):
    of_it = "2001:db8:0:2::7"
    both = uplink(STAYS) + uplink("2001:db8:0:2::/112", name="up1")
    with Peer(wire.far, "far1") as other:
        other.send(solicitation(of_it))
        configuration.reload(both)
        other.await_answer(of_it)
        assert set(daemon.interfaces()) == {"up0", "up1"}
        wire.near.ip("link set up1 down", "link set up1 up")  # it is watched as well
        other.await_answer(of_it)
        configuration.reload(uplink(STAYS))
        other.drain()
        other.send(solicitation(of_it))
        assert answers(peer, TARGET)
        assert not other.collect(1, 0.1)
        assert daemon.interfaces() == ["up0"]


def test_sources_are_added_and_removed_and_one_that_stays_goes_on(configuration, daemon, peer, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("2001:db8:0:3::1\n")
    second.write_text("2001:db8:0:4::1\n")

    def text(*files: Path) -> str:
        return uplink(STAYS) + "".join(f'[[source.file]]\npath = "{file}"\n' for file in files)

    configuration.reload(text(first))
    wait_until(lambda: answers(peer, "2001:db8:0:3::1"), 5.0, "the first file")
    configuration.reload(text(first, second))
    wait_until(lambda: answers(peer, "2001:db8:0:4::1"), 5.0, "the second file")
    assert f'source_resyncs_total{{cause="start",name="{first}",source="file"}} 1.0' in daemon.scrape()
    configuration.reload(text(second))
    assert not answers(peer, "2001:db8:0:3::1")
    assert answers(peer, "2001:db8:0:4::1")


def test_a_source_that_cannot_be_read_costs_nothing_that_was_covered_before(configuration, daemon, peer, tmp_path):
    engine = tmp_path / "docker.sock"  # of an engine that is away
    gone = tmp_path / "gone"
    configuration.reload(uplink(STAYS) + f'[[source.docker]]\nnetworks = ["a"]\nurl = "unix://{engine}"\n')
    configuration.reload(
        uplink(STAYS, OTHER)
        + f'[[source.docker]]\nnetworks = ["a", "b"]\nurl = "unix://{engine}"\n[[source.file]]\npath = "{gone}"\n'
    )
    wait_until(lambda: answers(peer, OF_OTHER), 5.0, "the new prefix")
    assert 'source_up{name="a,b@' in daemon.scrape()
    gone.write_text("2001:db8:0:3::1\n")
    wait_until(lambda: answers(peer, "2001:db8:0:3::1"), 5.0, "the file")


def test_a_bad_file_keeps_what_is_in_force_and_says_why_everywhere(configuration, daemon, peer):
    configuration.write(uplink(STAYS).replace("prefixes", "prefixs"))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.await_line("not reloaded")
    why = f"{configuration.path}:6: interface[0].prefixs: unknown key; did you mean prefixes?"
    assert [line for line in daemon.lines("not reloaded") if why in line]
    assert "ndpresponder_config_last_reload_successful 0.0" in daemon.scrape()
    daemon.await_notice("RELOADING=1", 1.0)
    missing = f"{configuration.path}:4: interface[0].prefixes: missing: there is nothing to answer for; "
    missing += 'write prefixes = ["2001:db8::/112"] with your own prefix'
    daemon.await_notice(f"STATUS=answering on up0; configuration not reloaded: {missing}", 1.0)
    assert answers(peer, TARGET)
    configuration.write(uplink(STAYS))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.await_notice("STATUS=answering on up0", 5.0)
    assert "ndpresponder_config_last_reload_successful 1.0" in daemon.scrape()


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("is not Ethernet", uplink(STAYS) + uplink(OTHER, name="lo")),
        ("one and the same", uplink(STAYS) + uplink(OTHER, name="wan")),
    ],
)
def test_what_cannot_be_had_changes_nothing(configuration, daemon, wire, peer, why, text):
    wire.near.ip("link property add dev up0 altname wan", "link set lo up")
    configuration.write(text)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.await_line(why)
    assert (answers(peer, TARGET), answers(peer, OF_OTHER)) == (True, False)
    assert daemon.interfaces() == ["up0"]


def test_a_configuration_that_hangs_is_given_up_and_read_when_it_can(wire, tmp_path):
    here, there = tmp_path / "ndpresponder.toml", tmp_path / "there"
    there.mkdir()
    configuration = Configuration(here)
    configuration.write(uplink(STAYS))
    with HungDisk(there, here.read_text()) as disk:
        here.unlink()
        here.symlink_to(there / "addresses")
        with Installed(wire.near, "--config", str(here)) as daemon, Peer(wire.far) as peer:
            peer.await_answer()
            disk.hang()
            daemon.process.send_signal(signal.SIGHUP)
            daemon.await_line(f"{here} does not answer: does its disk hang?", 8.0)
            assert peer.ask(solicitation(TARGET))
            disk.recover()
            reload_at_last(daemon)
            assert peer.ask(solicitation(TARGET))
            began_s = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - began_s < 1.0


def test_a_configuration_that_became_a_pipe_is_given_up_and_a_file_in_its_place_is_read(configuration, daemon, peer):
    good = configuration.path.read_text()
    configuration.path.unlink()
    os.mkfifo(configuration.path)
    daemon.process.send_signal(signal.SIGHUP)
    peer.await_answer()
    daemon.await_line("nothing was written to it within", 8.0)
    configuration.path.unlink()
    configuration.path.write_text(good)
    reload_at_last(daemon)
    assert peer.ask(solicitation(TARGET))


def reload_at_last(daemon: Installed) -> None:
    """Ask for a reload again and again until there is one."""

    def is_reloaded() -> bool:
        daemon.process.send_signal(signal.SIGHUP)
        return bool(daemon.lines("configuration reloaded"))

    wait_until(is_reloaded, 6.0, "the file to be read")
