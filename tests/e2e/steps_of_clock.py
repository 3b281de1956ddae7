"""The machine's clock is set while frames wait, between two processes and during a run. Never run this on your machine.

`test_clock.py` runs it in a throw-away machine: pytest does not find it by its name.
"""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from daemon_process import Installed
from frames import UPLINK_LLADDR, lladdr, solicitation
from peer import Peer, Wire

from ndpresponder.lab import wait_until
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.packet.handover import Handover
from ndpresponder.linux.systemd import Notifier
from ndpresponder.observe.tally import Tally
from ndpresponder.outcome import Outcome
from ndpresponder.uplink.frames import begin_backlog

assert os.environ.get("THROW_AWAY_MACHINE") == "1", "it sets the clock"

STEPS_S = [3600, -3600, 30, -30, 4]
FILE = 'version = 1\n[control]\nsocket = ""\n[[interface]]\nname = "up0"\nprefixes = ["2001:db8::/112"]\n'
DURATION = re.compile(r'ndpresponder_response_duration_seconds_sum\{interface="up0"\} (\S+)')
WAITED_S = 25.0  # more than all that is answered here has waited, together, and less than a step


@pytest.fixture
def daemon(wire: Wire, tmp_path: Path) -> Iterator[Installed]:
    path = tmp_path / "ndpresponder.toml"
    path.write_text(FILE)
    with Installed(wire.near, "run", "--config", str(path)) as daemon, Peer(wire.far) as peer:
        peer.await_answer(deadline_s=30)
        yield daemon


def set_clock(step_s: float) -> None:
    if step_s:
        time.clock_settime(time.CLOCK_REALTIME, time.time() + step_s)


def numbered(first: int, count: int) -> list[bytes]:
    return [solicitation(f"2001:db8::{number:x}") for number in range(first, first + count)]


def waited_s(daemon: Installed) -> float:
    return float(DURATION.search(daemon.scrape())[1])


class Process:
    """What a daemon does with its packet socket from its start to its end; here each of them is this process."""

    def __init__(self, wire: Wire, passed: Mapping[str, list[int]]) -> None:
        self.handover = Handover(Notifier({}), passed, lambda what, why: pytest.fail(f"{what}: {why}"))
        self.handover.compare_clocks()
        with wire.near.enter():
            index = socket.if_nametoindex("up0")
            link = Link("up0", "up0", index, lladdr(UPLINK_LLADDR), 1, True, False, frozenset(), frozenset())
            self.socket, self.took_over = self.handover.open(link)

    def end(self) -> dict[str, list[int]]:
        self.handover.leave()
        self.handover.close(self.socket)
        return {name: [descriptor] for name, descriptor in self.handover.to_pass}


def taken_over(wire: Wire, peer: Peer, step_s: float, pause_s: float = 0.0) -> tuple[int, int]:
    """Return how many of five frames from before a step, and five from after it, are answered, and are too old."""
    before = Process(wire, {})
    peer.send(*numbered(0x1000, 5))
    wait_until(lambda: before.socket.count_while(lambda _: True) == 5, 10, "the frames")
    passed = before.end()
    time.sleep(pause_s)
    set_clock(step_s)
    peer.send(*numbered(0x2000, 5))
    after = Process(wire, passed)
    assert after.took_over
    tally = Tally()
    wait_until(lambda: begin_backlog(after.socket, tally, after.handover.step_s), 10, "the backlog")
    answered = after.socket.receive()
    for descriptors in after.end().values():
        for descriptor in descriptors:
            os.close(descriptor)
    return len(answered), tally.ended[Outcome.TOO_OLD]


@pytest.mark.parametrize("step_s", STEPS_S)
def test_between_two_processes_what_waited_is_answered(wire, peer, step_s):
    assert taken_over(wire, peer, step_s) == (10, 0)


@pytest.mark.parametrize("step_s", [0, *STEPS_S[:4]])
def test_between_two_processes_what_waited_too_long_is_counted(wire, peer, step_s):
    assert taken_over(wire, peer, step_s, pause_s=3.3) == (5, 5)


@pytest.mark.parametrize("step_s", STEPS_S)
def test_during_a_run_nothing_is_too_old_and_no_answer_seems_to_take_an_hour(daemon, wire, step_s):
    with Peer(wire.far) as peer:
        before = daemon.counters()["sent solicited"]
        daemon.process.send_signal(signal.SIGSTOP)
        peer.send(*numbered(0x1000, 200))
        set_clock(step_s)
        peer.send(*numbered(0x2000, 200))
        daemon.process.send_signal(signal.SIGCONT)
        wait_until(lambda: daemon.counters()["sent solicited"] >= before + 400, 30, "the answers")
        peer.await_answer(deadline_s=30)
        assert daemon.counters()["ignored too_old"] == 0
        assert waited_s(daemon) < WAITED_S
