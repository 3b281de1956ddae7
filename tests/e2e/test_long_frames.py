"""More long solicitations than ring and socket queue have room for: each is counted, and the daemon goes on answering.

The frames come while the daemon is paused or replaced, so that both are full.
"""

import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from control_client import ask
from daemon_process import Installed, total
from frames import long_solicitation, solicitation
from kernel_runs import EVERY_FASTPATH, Fastpath
from peer import Peer, Wire

from ndpresponder.lab import wait_until
from ndpresponder.linux.packet.ring import SLOTS

FLAGS = ("-i", "up0", "-n", "2001:db8::/112")
MANY = SLOTS + SLOTS // 4
COUNTED_S = 15.0


def pause(daemon: Installed, peer: Peer, frames: list[bytes]) -> None:
    """Have frames arrive while the daemon does not run."""
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        peer.send(*frames)
    finally:
        daemon.process.send_signal(signal.SIGCONT)


def accounted(daemon: Installed, before: Counter[str]) -> int:
    counted = daemon.counters() - before
    return total(counted, "received") + counted["drops"]


def await_accounted(daemon: Installed, before: Counter[str], sent: int) -> Counter[str]:
    """Return what was counted since, as soon as that is each frame that was sent, once."""
    wait_until(lambda: accounted(daemon, before) >= sent, COUNTED_S, f"{sent} frames to be counted")
    counted = daemon.counters() - before
    assert total(counted, "received") + counted["drops"] == sent, counted
    return counted


def answers(peer: Peer) -> bool:
    """Tell whether a short and a long solicitation are both answered, and nothing else."""
    peer.drain()
    peer.send(solicitation(), long_solicitation())
    return len(peer.collect(3, 0.3)) == 2


def still_sound(daemon: Installed, peer: Peer) -> None:
    """Fail unless it answers, counts nothing by itself and idles."""
    wait_until(lambda: all(answers(peer) for _ in range(8)), 10.0, "the flood to be over: of its station less is read")
    before = daemon.counters()
    assert answers(peer)
    await_accounted(daemon, before, 2)
    used_s = daemon.cpu_s()
    wait_until(lambda: (daemon.cpu_s() - used_s) or not peer.collect(1, 0.3), 2.0, "the answers to end")
    assert daemon.cpu_s() - used_s < 0.2
    assert await_accounted(daemon, before, 2)


@pytest.fixture(params=EVERY_FASTPATH[:3])
def daemon(request: pytest.FixtureRequest, wire: Wire) -> Iterator[Installed]:
    with Installed(wire.near, *FLAGS, *Fastpath(request.param).flags(wire)) as daemon:
        yield daemon


BURSTS = {
    "long": [long_solicitation()] * MANY,
    "a full socket queue, then a few": [long_solicitation()] * 3000,
    "long among short": [solicitation(f"2001:db8::{number:x}", code=number % 2) for number in range(2, 66)] * 10
    + [long_solicitation()] * MANY,
    "short after long": [long_solicitation()] * (SLOTS - 10) + [solicitation(options=b"\x0e\x01nonce1")] * 500,
    "cut short by far": [long_solicitation(target="2001:db8:9::1")] * MANY,
}


@pytest.mark.parametrize("burst", BURSTS.values(), ids=BURSTS)
def test_more_long_frames_than_there_is_room_for_are_counted_once_and_the_daemon_goes_on(daemon, peer, burst):
    peer.await_answer()
    before = daemon.counters()
    pause(daemon, peer, burst)
    counted = await_accounted(daemon, before, len(burst))
    assert counted["drops"] <= len(burst)
    still_sound(daemon, peer)


STOCK = """
import sys
from ndpresponder.linux.packet import packet_socket
from ndpresponder.cli.main import main
packet_socket._RECEIVE_BUFFER = 212992
sys.exit(main(sys.argv[1:]))
"""


def test_with_the_buffer_that_a_stock_host_allows_it_is_no_less_sound(wire, peer, tmp_path):
    """net.core.rmem_max is the machine's, not a namespace's: so the daemon asks for no more than 208 KiB itself."""
    script = tmp_path / "stock.py"
    script.write_text(STOCK)
    with Installed(wire.near, *FLAGS, command=(sys.executable, str(script))) as daemon:
        peer.await_answer()
        for count in (320, 400, 2000, MANY):
            before = daemon.counters()
            pause(daemon, peer, [long_solicitation()] * count)
            await_accounted(daemon, before, count)
        still_sound(daemon, peer)


FORWARDED = [long_solicitation(hop_limit=64)] * MANY + [
    solicitation(hop_limit=1),
    solicitation(hop_limit=254, options=b"\0"),
]


def test_what_a_router_forwarded_takes_no_place_in_the_ring_and_is_counted_exactly(daemon, peer):
    peer.await_answer()
    before = daemon.counters()
    pause(daemon, peer, [*FORWARDED, solicitation()])
    counted = await_accounted(daemon, before, len(FORWARDED) + 1)
    assert counted["ignored bad_hop_limit"] == len(FORWARDED)
    assert not counted["drops"]
    still_sound(daemon, peer)


def test_while_it_is_replaced_neither_long_nor_forwarded_frames_cost_others_their_answers(daemon, peer):
    """SIGUSR2 has the installed version take over; the frames come meanwhile."""
    peer.await_answer()
    for frames in (FORWARDED, [long_solicitation()] * MANY):
        daemon.process.send_signal(signal.SIGUSR2)
        daemon.await_notice("RELOADING=1", 30.0)
        peer.send(*frames)
        daemon.await_notice("READY=1", 15.0)
        wait_until(lambda: answers(peer), 5.0, "answers again")
        still_sound(daemon, peer)


STUCK = """
import os, sys
from ndpresponder.linux.packet.packet_socket import PacketSocket
from ndpresponder.cli.main import main
receive = PacketSocket.receive
def stuck(self, most=64):
    if os.path.exists(sys.argv[0]):
        self.taken = 0
        return []
    return receive(self, most)
PacketSocket.receive = stuck
sys.exit(main(sys.argv[1:]))
"""


def test_a_ring_that_nobody_reads_stops_the_heartbeat_and_is_said_everywhere(wire, peer, tmp_path):
    """The fault is made by hand, since none is known: the loop turns and takes nothing out of the ring."""
    script, mark = tmp_path / "stuck.py", tmp_path / "stuck"
    script.write_text(STUCK.replace("sys.argv[0]", repr(str(mark))))
    watched = {"WATCHDOG_USEC": "1000000"}
    with Installed(wire.near, *FLAGS, environment=watched, command=(sys.executable, str(script))) as daemon:
        daemon.await_notice("WATCHDOG=1", 5.0)
        peer.await_answer()
        mark.touch()
        peer.send(solicitation())
        daemon.await_line("frames wait in the ring and are not taken out")
        daemon.forget_notices()
        with pytest.raises(TimeoutError):
            daemon.await_notice("WATCHDOG=1", 1.5)
        status, body = daemon.get("/healthz")
        assert (status, "frames wait and none is taken: up0 for" in body) == (503, True)
        assert daemon.get("/readyz") == (503, "frames wait unread on up0\n")
        assert float(re.findall(r"^ndpresponder_ring_stalled_seconds{.*} (.*)", daemon.scrape(), re.MULTILINE)[0]) > 0.5
        assert ask(daemon.control, "GET", "/status")[1]["uplinks"][0]["state"] == "stalled"
        mark.unlink()
        daemon.await_notice("WATCHDOG=1", 5.0)
        assert peer.collect(1)
        assert daemon.get("/healthz") == (200, "ok\n")
        assert ask(daemon.control, "GET", "/status")[1]["uplinks"][0]["state"] == "answering"
