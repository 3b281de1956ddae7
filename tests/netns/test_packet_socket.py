"""The packet socket against the real kernel: what it is given, what it gives back, and what it leaves behind."""

import contextlib
import errno
import json
import os
import select
import socket
import sys
import time
from collections.abc import Iterator

import pytest
from frames import advertisement, option, solicitation, tagged
from open_descriptors import open_descriptors
from peer import Flood, Wire, await_running, is_running

from ndpresponder.errors import LinkNotReady, SystemRefused
from ndpresponder.lab import wait_until
from ndpresponder.linux.packet.packet_socket import PacketSocket, open_packet_socket
from ndpresponder.linux.packet.ring import SLOTS
from ndpresponder.linux.packet.sender import BATCH
from ndpresponder.wire.classic_bpf import Instruction
from ndpresponder.wire.filters import SOLICITATIONS

MALFORMED = (Instruction(0xFFFF, 0, 0, 0),)
TO_THE_ROUTER = advertisement()


@pytest.fixture
def opened(wire) -> Iterator[PacketSocket]:
    with open_in(wire) as opened:
        yield opened


def open_in(wire: Wire, name: str = "up0", index: int = 0) -> contextlib.closing[PacketSocket]:
    with wire.near.enter():
        return contextlib.closing(open_packet_socket(name, index or socket.if_nametoindex(name), SOLICITATIONS))


def await_readable(opened: PacketSocket, deadline_s: float = 5.0) -> None:
    assert select.select([opened], [], [], deadline_s)[0], "nothing arrived"


def take(opened: PacketSocket) -> list[bytes]:
    """Return what waits, and give its slots back."""
    frames = opened.receive()
    opened.release()
    return frames


def receive_all(opened: PacketSocket, count: int) -> list[bytes]:
    frames: list[bytes] = []
    while len(frames) < count:
        await_readable(opened)
        frames += take(opened)
    return frames


def link(wire: Wire) -> dict[str, int]:
    (shown,) = json.loads(wire.near.run("ip", "-d", "-j", "link", "show", "up0").stdout)
    return shown


def test_a_frame_arrives_whole_and_unchanged(opened, peer):
    peer.send(solicitation())
    await_readable(opened)
    assert [solicitation()] == take(opened)
    assert not opened.for_others
    assert not take(opened)


@pytest.mark.parametrize("octets", [190, 198, 1094, 1510])
def test_a_frame_of_any_size_arrives_whole_and_in_order(opened, peer, octets):
    large = solicitation(options=option(11, bytes(octets - 88)))
    assert len(large) == octets
    peer.send(solicitation(), large, solicitation(code=7), large)
    assert [solicitation(), large, solicitation(code=7), large] == receive_all(opened, 4)


def test_a_vlan_tag_shows_as_another_hosts_frame_and_a_priority_tag_does_not(opened, peer):
    peer.send(tagged(solicitation(), vid=5), tagged(solicitation(), vid=0))
    await_readable(opened)
    assert [solicitation()] == take(opened) == opened.for_others


def test_only_what_the_program_accepts_arrives(opened, peer):
    peer.send(advertisement(), solicitation(kind=133), solicitation(next_header=17), solicitation())
    assert [solicitation()] == receive_all(opened, 1)


def test_what_it_sends_itself_does_not_come_back(opened, peer):
    assert not opened.sender.send([solicitation()])
    peer.send(solicitation(code=1))
    assert [solicitation(code=1)] == receive_all(opened, 1)


def test_the_receive_time_is_the_kernels(opened, peer):
    before = time.time()
    peer.send(solicitation(), solicitation(code=1))
    receive_all(opened, 2)
    assert before - 0.01 <= opened.received_s <= before + 5


def test_a_batch_leaves_in_order(opened, peer):
    batch = [advertisement(f"2001:db8::{number:x}") for number in range(BATCH)]
    assert not opened.sender.send(batch)
    assert batch == peer.collect(BATCH)


def test_frames_are_handed_out_in_batches_so_that_the_loop_gets_its_turn(opened, peer):
    peer.send(*[solicitation()] * (BATCH + 1))
    wait_until(lambda: len(take(opened)) == BATCH, 1, "a whole batch")
    assert [solicitation()] == receive_all(opened, 1)


def test_the_ring_wraps_again_and_again(opened, peer):
    numbered = [solicitation(f"2001:db8::{number:x}") for number in range(500)]
    received: list[bytes] = []
    rounds = 2 * SLOTS // len(numbered) + 2
    for _ in range(rounds):
        peer.send(*numbered)
        received += receive_all(opened, len(numbered))
    assert numbered * rounds == received
    assert len(received) > 2 * SLOTS
    assert opened.take_drops() == 0


def test_a_full_ring_drops_the_rest_counts_it_once_and_goes_on(opened, peer):
    peer.send(*[solicitation()] * (SLOTS + 100))
    assert [solicitation()] * SLOTS == receive_all(opened, SLOTS)
    assert not take(opened)
    assert opened.take_drops() == 100
    assert opened.take_drops() == 0
    peer.send(solicitation(code=1))
    assert [solicitation(code=1)] == receive_all(opened, 1)


def test_it_counts_since_half_of_the_ring_is_waiting_until_it_is_empty(opened, peer):
    peer.send(*[solicitation()] * (SLOTS // 2 + BATCH + 1))
    wait_until(lambda: len(take(opened)) == BATCH, 1, "a batch")
    count = BATCH
    assert opened.backlogged == count
    while frames := take(opened):
        count += BATCH
        assert opened.backlogged == (count if len(frames) == BATCH else 0)
    peer.send(*[solicitation()] * (SLOTS // 2))
    wait_until(lambda: len(take(opened)) == BATCH, 1, "a batch")
    assert not opened.backlogged


def test_large_frames_that_nothing_has_room_for_are_drops_not_halves(opened, peer):
    large = solicitation(options=option(11, bytes(998)))
    peer.send(*[large] * SLOTS, solicitation(code=1))
    received: list[bytes] = []
    while select.select([opened], [], [], 0)[0]:
        received += take(opened)
    assert set(received) == {large}
    assert len(received) >= 90
    assert len(received) + opened.take_drops() == SLOTS + 1
    peer.send(large, solicitation(code=2))
    assert [large, solicitation(code=2)] == receive_all(opened, 2)


def test_allmulti_goes_with_the_socket(wire):
    assert link(wire)["allmulti"] == 0
    with open_in(wire):
        assert link(wire)["allmulti"] == 1
        with open_in(wire):
            assert link(wire)["allmulti"] == 2
    assert link(wire)["allmulti"] == 0


def test_allmulti_and_all_else_go_with_a_killed_process(wire):
    script = (
        "import os, socket\n"
        "from ndpresponder.linux.packet.packet_socket import open_packet_socket\n"
        "from ndpresponder.wire.filters import SOLICITATIONS\n"
        "opened = open_packet_socket('up0', socket.if_nametoindex('up0'), SOLICITATIONS)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = wire.near.run(sys.executable, "-c", script, check=False)
    assert ended.returncode == -9, ended.stderr
    assert link(wire)["allmulti"] == 0


def test_a_link_that_goes_down_and_up_keeps_the_socket(wire, opened, peer):
    wire.near.ip("link set up0 down")
    await_readable(opened)  # an error wakes the loop
    assert not take(opened)
    assert opened.take_error() == errno.ENETDOWN
    assert opened.take_error() == 0
    assert not select.select([opened], [], [], 0)[0]  # and does not wake it again
    wire.near.ip("link set up0 up")
    wait_until(lambda: is_running(wire.near, "up0"), 5, "the link")
    peer.send(solicitation())
    assert [solicitation()] == receive_all(opened, 1)
    assert not opened.sender.send([TO_THE_ROUTER])
    assert peer.collect(1) == [TO_THE_ROUTER]


def test_each_advertisement_that_a_dead_link_refuses_is_named(wire, opened):
    wire.near.ip("link set up0 down")
    refused = opened.sender.send([TO_THE_ROUTER] * 3)
    assert [position for position, _ in refused] == [0, 1, 2]
    assert {error for _, error in refused} == {errno.ENETDOWN}


def test_only_what_the_kernel_refused_is_named(wire, opened, peer):
    wire.near.run("tc", "qdisc", "add", "dev", "up0", "root", "pfifo", "limit", "0")
    assert [(position, errno.ENOBUFS) for position in range(BATCH)] == opened.sender.send([TO_THE_ROUTER] * BATCH)
    wire.near.run("tc", "qdisc", "del", "dev", "up0", "root")
    assert not opened.sender.send([TO_THE_ROUTER])
    assert peer.collect(1) == [TO_THE_ROUTER]


def test_a_deleted_link_wakes_the_loop_once_and_refuses_to_send(wire, opened):
    wire.near.ip("link del up0")
    await_readable(opened)
    assert opened.take_error() in (errno.ENETDOWN, errno.ENODEV)
    assert not select.select([opened], [], [], 0)[0]
    ((_, error),) = opened.sender.send([TO_THE_ROUTER])
    assert error in (errno.ENXIO, errno.ENODEV, errno.ENETDOWN)


def test_no_frame_is_received_before_the_filter_is_there(wire, peer):
    with Flood(wire.far, [solicitation(kind=128), advertisement(), solicitation(next_header=17)]):
        for _ in range(20):
            with open_in(wire) as opened:
                assert not take(opened)
                assert not select.select([opened], [], [], 0)[0]


def test_an_absent_link_is_not_ready(wire):
    with pytest.raises(LinkNotReady, match="up7"):
        open_in(wire, "up7", 107)


def test_a_link_of_another_index_is_not_ready(wire):
    with pytest.raises(LinkNotReady):
        open_in(wire, "up0", 4242)
    wire.near.ip("link add other type bridge")
    with wire.near.enter():
        other = socket.if_nametoindex("other")
    with pytest.raises(LinkNotReady):
        open_in(wire, "up0", other)
    assert link(wire)["allmulti"] == 0


def test_without_the_capability_the_message_says_which(wire):
    script = (
        "import sys\n"
        "from ndpresponder.errors import PermissionMissing\n"
        "from ndpresponder.linux.packet.packet_socket import open_packet_socket\n"
        "try: open_packet_socket('up0', 100, ())\n"
        "except PermissionMissing as error: sys.exit(str(error))\n"
    )
    ended = wire.near.run("setpriv", "--bounding-set=-net_raw", sys.executable, "-c", script, check=False)
    assert "CAP_NET_RAW" in ended.stderr
    assert "AmbientCapabilities" in ended.stderr


def test_a_program_the_kernel_refuses_is_the_systems_refusal(wire):
    with wire.near.enter():
        index = socket.if_nametoindex("up0")
        before = open_descriptors()
        with pytest.raises(SystemRefused, match="up0"):
            open_packet_socket("up0", index, MALFORMED)
        assert open_descriptors() == before


def test_a_socket_that_we_may_have_but_not_bind_is_the_systems_refusal(wire, monkeypatch):
    """No capability is missing: something forbids it, as a security module could, and it may be allowed later."""

    def bind(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(socket.socket, "bind", bind)
    with wire.near.enter(), pytest.raises(SystemRefused, match="up0: Operation not permitted") as refused:
        open_packet_socket("up0", socket.if_nametoindex("up0"), SOLICITATIONS)
    assert refused.value.exit_code == 71


def test_no_descriptor_is_left_open_whatever_happens(wire):
    before = open_descriptors()
    for _ in range(20):
        with open_in(wire):
            pass
        with pytest.raises(LinkNotReady):
            open_in(wire, "up7", 107)
        with pytest.raises(LinkNotReady):
            open_in(wire, "up0", 4242)
    with open_in(wire) as opened:
        opened.close()  # and once more
    assert open_descriptors() == before


def test_a_large_frame_that_waits_while_the_link_goes_down_deafens_nobody(wire, opened, peer):
    large = solicitation(options=option(11, bytes(198)))
    queued = [solicitation(), solicitation(), large, solicitation(code=1)]
    peer.send(*queued)
    await_readable(opened)
    wire.near.ip("link set up0 down", "link set up0 up")
    await_running(wire.near, "up0")
    assert queued == receive_all(opened, 4)
    opened.take_error()
    assert not select.select([opened], [], [], 0)[0]
    peer.send(solicitation(code=1))
    assert [solicitation(code=1)] == receive_all(opened, 1)


def test_a_socket_knows_that_its_link_is_gone(wire):
    with open_in(wire) as opened:
        assert opened.bound
        wire.near.ip("link del up0")
        assert not opened.bound
