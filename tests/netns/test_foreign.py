"""Solicitations for others at the real kernel: nobody reads them, yet each is counted, under its kind and reason."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_process import Installed, received_as, total
from frames import TARGET, UPLINK_LLADDR, advertisement, option, packed, solicitation, solicited_node, tagged
from peer import Peer, Wire, await_running

from ndpresponder.lab import wait_until
from ndpresponder.linux.packet.ring import SLOTS
from ndpresponder.outcome import Outcome

OWN = "2001:db8::2"
GATEWAY = "2001:db8::1"
EXCLUDED = "2001:db8:2::e1"
FOREIGN = "2001:db8:1::c1"
GROUP = solicited_node(FOREIGN)
OTHER_LLADDR = "02:00:00:00:00:77"
PLAIN = {
    "received multicast": solicitation(FOREIGN),
    "received unicast": solicitation(FOREIGN, destination=FOREIGN),
    "received dad": solicitation(FOREIGN, "::"),
}
# For a target that is not ours, and yet counted for what is wrong with them before that
REASONS: dict[str, tuple[Outcome, bytes]] = {
    "IP version": (Outcome.NOT_IPV6, solicitation(FOREIGN, version=4)),
    "payload length": (Outcome.BAD_PAYLOAD_LENGTH, solicitation(FOREIGN)[:-1]),
    "short payload": (Outcome.MESSAGE_TOO_SHORT, solicitation(FOREIGN, payload_length=16)),
    "code": (Outcome.BAD_CODE, solicitation(FOREIGN, code=1)),
    "hop limit": (Outcome.BAD_HOP_LIMIT, solicitation(FOREIGN, hop_limit=254)),
    "checksum": (Outcome.BAD_CHECKSUM, solicitation(FOREIGN, checksum=0x1234)),
    "checksum without an option": (Outcome.BAD_CHECKSUM, solicitation(FOREIGN, slla=None, checksum=0x1234)),
    "option of length 0": (Outcome.BAD_OPTION, solicitation(FOREIGN, slla=None, options=b"\x01\x00" + bytes(6))),
    "option of length 2": (Outcome.BAD_OPTION, solicitation(FOREIGN, slla=None, options=b"\x0e\x02" + bytes(6))),
    "long option": (Outcome.BAD_SLLA_LENGTH, solicitation(FOREIGN, slla=None, options=option(1, bytes(14)))),
    "target ::1": (Outcome.BAD_TARGET, solicitation("::1")),
    "multicast target": (Outcome.BAD_TARGET, solicitation("ff0e::1")),
    "link-local target": (Outcome.LINK_LOCAL_TARGET, solicitation("fe80::c1")),
    "end of link-local": (Outcome.LINK_LOCAL_TARGET, solicitation("febf:ffff::c1")),
    "DAD with option": (Outcome.DAD_WITH_SLLA, solicitation(FOREIGN, "::", slla=OTHER_LLADDR)),
    "DAD to the target": (Outcome.DAD_BAD_DESTINATION, solicitation(FOREIGN, "::", FOREIGN)),
    "multicast source": (Outcome.BAD_SOURCE, solicitation(FOREIGN, "ff02::1")),
    "loopback source": (Outcome.BAD_SOURCE, solicitation(FOREIGN, "::1")),
    "IPv4-mapped source": (Outcome.BAD_SOURCE, solicitation(FOREIGN, "::ffff:192.0.2.1")),
    "the target as source": (Outcome.SOURCE_IS_TARGET, solicitation(FOREIGN, FOREIGN)),
    "our own source": (Outcome.OWN_SOURCE, solicitation(FOREIGN, OWN)),
    "to all nodes": (Outcome.BAD_DESTINATION, solicitation(FOREIGN, destination="ff02::1")),
    "to another group": (Outcome.BAD_DESTINATION, solicitation(FOREIGN, destination=solicited_node("2001:db8::c2"))),
    "to another address": (Outcome.BAD_DESTINATION, solicitation(FOREIGN, destination="2001:db8:1::c2")),
    "VLAN tag": (Outcome.VLAN_TAGGED, tagged(solicitation(FOREIGN), vid=5)),
    "own frame": (Outcome.OWN_FRAME, solicitation(FOREIGN, ethernet_source=UPLINK_LLADDR)),
    "to another host": (Outcome.OTHER_LLADDR, solicitation(FOREIGN, ethernet_destination=OTHER_LLADDR)),
    "unicast in a multicast frame": (
        Outcome.UNICAST_IN_MULTICAST,
        solicitation(FOREIGN, destination=FOREIGN, ethernet_destination=b"\x33\x33\xff\x00\x00\xc1"),
    ),
    "multicast station": (Outcome.BAD_ETHERNET_SOURCE, solicitation(FOREIGN, ethernet_source="33:33:00:00:00:01")),
    "zero station": (Outcome.BAD_ETHERNET_SOURCE, solicitation(FOREIGN, ethernet_source=bytes(6))),
    "excluded": (Outcome.EXCLUDED, solicitation(EXCLUDED)),
    "gateway": (Outcome.EXCLUDED, solicitation(GATEWAY)),
    "own address": (Outcome.EXCLUDED, solicitation(OWN, destination=OWN)),
}


@pytest.fixture
def wire(wire) -> Wire:
    wire.near.ip(
        f"address add {OWN}/64 dev up0 nodad",
        "route add 2001:db8:1::/64 dev up0",  # on-link as well, or what a file lists there would not count
        f"route add ::/0 via {GATEWAY} dev up0",
        "link set up0 promisc on",
    )
    return wire


def responding(wire: Wire, *flags: str) -> Installed:
    return Installed(wire.near, "-i", "up0", "-n", "2001:db8::c0/124", "-n", "2001:db8::ffff", "-x", EXCLUDED, *flags)


def await_unread(daemon: Installed, peer: Peer) -> None:
    """Wait until what is not ours goes past the ring: three times of what it holds, while nobody reads it."""

    def none_dropped() -> bool:
        before = daemon.counters()
        flood(daemon, peer)

        def caused(*words: str) -> int:
            counted = daemon.counters() - before
            return sum(total(counted, word) for word in words)

        wait_until(lambda: caused("received", "drops") >= 3 * SLOTS, 5, "the frames")  # the first may come too early
        return not caused("drops")

    wait_until(none_dropped, 10, "foreign solicitations to go unread")


def flood(daemon: Installed, peer: Peer) -> None:
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        peer.send(*PLAIN.values(), *[solicitation(FOREIGN)] * (3 * SLOTS - len(PLAIN)))
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)


def test_what_is_not_ours_goes_unread_and_is_counted_exactly(wire, peer):
    with responding(wire) as daemon:
        await_unread(daemon, peer)
        counted = daemon.caused(lambda: flood(daemon, peer), frames=3 * SLOTS)
        assert counted == Counter(
            {
                "received multicast": 3 * SLOTS - 2,
                "received unicast": 1,
                "received dad": 1,
                "ignored not_ours": 3 * SLOTS,
            }
        )


def test_every_other_reason_is_still_counted_for_what_is_not_ours(wire, peer):
    frames = [frame for _, frame in REASONS.values()]
    with responding(wire) as daemon:
        await_unread(daemon, peer)
        counted = daemon.caused(lambda: peer.send(*frames), frames=len(frames))
    assert counted == Counter([f"ignored {reason.label}" for reason, _ in REASONS.values()]) + Counter(
        map(received_as, frames)
    )


def test_a_link_that_went_down_and_up_is_answered_on_and_counted_as_before(wire, peer):
    with responding(wire) as daemon:
        await_unread(daemon, peer)
        wire.near.ip("link set up0 down", "link set up0 up")
        await_running(wire.near, "up0")
        peer.await_answer()
        await_unread(daemon, peer)
        assert peer.ask(solicitation()) == [advertisement()]


def test_a_link_that_comes_up_after_the_start_is_counted_on(wire, peer):
    wire.near.ip("link set up0 down")
    with responding(wire) as daemon:
        wire.near.ip("link set up0 up")
        await_running(wire.near, "up0")
        peer.await_answer()
        await_unread(daemon, peer)


def test_no_solicitation_is_lost_or_counted_twice_while_the_targets_change(wire, peer, tmp_path):
    path = tmp_path / "targets"
    path.write_text("")
    changing, changes, every_s = "2001:db8:1::d1", 20, 0.06
    asked = [solicitation(TARGET), solicitation(changing), solicitation(FOREIGN)] * 10
    rounds = 0
    answers: Counter[bytes] = Counter()

    def ask_while_changing() -> None:
        nonlocal rounds
        for number in range(changes):
            path.with_name("new").write_text(f"{changing}\n" if number % 2 else f"2001:db8:1:{number:x}::1\n")
            path.with_name("new").rename(path)
            end = time.monotonic() + every_s
            while time.monotonic() < end:
                peer.send(*asked)
                rounds += 1
                answers.update(solicited(peer, 0.001))

    with responding(wire, "-f", str(path)) as daemon:
        await_unread(daemon, peer)
        peer.drain()
        generation = generation_of(daemon)
        counted = daemon.caused(ask_while_changing, frames=0)
        assert generation_of(daemon) - generation > changes / 2
        answers.update(solicited(peer, 0))
    assert answers.pop(packed(TARGET)) == counted["sent solicited"] - answers[packed(changing)] == 10 * rounds
    assert 0 < answers[packed(changing)] < 10 * rounds
    assert counted["received multicast"] == len(asked) * rounds
    assert counted["ignored not_ours"] == len(asked) * rounds - counted["sent solicited"]


def solicited(peer: Peer, deadline_s: float) -> Iterator[bytes]:
    return (answer[62:78] for answer in peer.advertisements(deadline_s) if answer[58] & 0x40)


def generation_of(daemon: Installed) -> float:
    (line,) = (line for line in daemon.scrape().splitlines() if line.startswith("ndpresponder_table_generation "))
    return float(line.split()[1])


def test_a_target_that_comes_is_answered_and_one_that_goes_is_unread(wire, peer, tmp_path):
    path = Path(tmp_path, "targets")
    path.write_text("")
    with responding(wire, "-f", str(path)) as daemon:
        await_unread(daemon, peer)
        path.write_text(f"{FOREIGN}\n")
        peer.await_answer(FOREIGN)
        path.write_text("")
        wait_until(lambda: not peer.ask(solicitation(FOREIGN)), 5, "the target to go")
        await_unread(daemon, peer)


def test_somebody_who_debugs_sees_them(wire, peer):
    with responding(wire, "-l", "debug") as daemon:
        counted = daemon.caused(lambda: peer.send(solicitation(FOREIGN)), frames=1)
        assert counted == Counter(["received multicast", "ignored not_ours"])
        daemon.await_line(f"target={FOREIGN}")
        assert "reason=not_ours" in daemon.lines(f"target={FOREIGN}")[0]


def test_all_is_given_back_each_time_the_link_goes(wire, peer):
    with responding(wire) as daemon:
        await_unread(daemon, peer)
        before = daemon.descriptors()
        for pair in (7, 8):
            wire.near.ip("link del up0")
            daemon.await_line("waiting for")
            wire.plug(pair=pair)
        wait_until(lambda: daemon.descriptors() <= before, 5, "the descriptors of the old links to be closed")
