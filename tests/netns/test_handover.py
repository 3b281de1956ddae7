"""A packet socket that outlives its process, between two of them: here both are this one."""

import contextlib
import os
import resource
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from frames import UPLINK_LLADDR, advertisement, lladdr, option, solicitation
from open_descriptors import open_descriptors
from peer import Wire

from ndpresponder.daemon.upgrade import become_successor
from ndpresponder.errors import LinkNotReady, SystemRefused
from ndpresponder.lab.topology import wait_until
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.packet.closing import wait_closed
from ndpresponder.linux.packet.handover import Handover, Unusable, adopt, name_of
from ndpresponder.linux.packet.packet_socket import PacketSocket, open_packet_socket
from ndpresponder.linux.packet.ring import SLOTS
from ndpresponder.linux.packet.sender import BATCH
from ndpresponder.linux.systemd import Notifier
from ndpresponder.wire.filters import SOLICITATIONS

NUMBERED = [solicitation(f"2001:db8::{number:x}") for number in range(1000)]
SOL_PACKET, PACKET_VERSION, PACKET_RX_RING = 263, 10, 5


@pytest.fixture
def link(wire: Wire) -> Link:
    """Return up0 as netlink would describe it."""
    return link_of(wire, "up0")


def link_of(wire: Wire, name: str) -> Link:
    with wire.near.enter():
        index = socket.if_nametoindex(name)
    return Link(name, name, index, lladdr(UPLINK_LLADDR), 1, True, False, frozenset(), frozenset())


def opened(wire: Wire, link: Link) -> PacketSocket:
    with wire.near.enter():
        return open_packet_socket(link.device, link.index, SOLICITATIONS)


def leave(before: PacketSocket) -> int:
    """End the process that has this socket, as far as the socket can tell; return what is kept of it."""
    kept = os.dup(before.fileno())
    before.close()
    return kept


def take_over(wire: Wire, kept: int, link: Link) -> contextlib.closing[PacketSocket]:
    with wire.near.enter():
        return contextlib.closing(adopt(kept, link))


def refusal(wire: Wire, kept: int, link: Link) -> str:
    """Return why a descriptor is not taken over, and close it."""
    with pytest.raises(Unusable) as why, wire.near.enter():
        adopt(kept, link)
    os.close(kept)  # it was still open
    return str(why.value)


def received(found: PacketSocket, count: int) -> list[bytes]:
    frames: list[bytes] = []
    while len(frames) < count:
        assert select.select([found], [], [], 5)[0], f"only {len(frames)} came"
        frames += found.receive()
        found.release()
    return frames


@pytest.mark.parametrize("read", [0, 1, BATCH, 7 * BATCH])
def test_a_successor_goes_on_with_the_frame_that_nobody_has_released(wire, peer, link, read) -> None:
    before = opened(wire, link)
    peer.send(*NUMBERED[:read])
    received(before, read)
    kept = leave(before)
    peer.send(*NUMBERED[read:])
    with take_over(wire, kept, link) as after:
        assert after.seek()
        assert NUMBERED[read:] == received(after, len(NUMBERED) - read)


def test_frames_that_were_taken_but_not_released_are_there_for_the_successor(wire, peer, link) -> None:
    before = opened(wire, link)
    peer.send(*NUMBERED)
    assert len(before.receive()) == BATCH
    with take_over(wire, leave(before), link) as after:
        assert after.seek()
        assert received(after, len(NUMBERED)) == NUMBERED


@pytest.mark.parametrize("read", [SLOTS - 1, SLOTS, SLOTS + 1, 2 * SLOTS - 5])
def test_it_does_so_wherever_in_the_ring_that_is(wire, peer, link, read) -> None:
    before = opened(wire, link)
    while read:
        part = min(read, len(NUMBERED))
        peer.send(*NUMBERED[:part])
        received(before, part)
        read -= part
    kept = leave(before)
    peer.send(*NUMBERED)
    with take_over(wire, kept, link) as after:
        assert after.seek()
        assert received(after, len(NUMBERED)) == NUMBERED


def test_an_empty_ring_is_gone_on_with_at_the_frame_that_comes_first(wire, peer, link) -> None:
    before = opened(wire, link)
    peer.send(*NUMBERED[:100])
    received(before, 100)
    with take_over(wire, leave(before), link) as after:
        assert not after.seek()
        peer.send(*NUMBERED)
        assert select.select([after], [], [], 5)[0]
        assert after.seek()
        assert received(after, len(NUMBERED)) == NUMBERED


def test_a_full_ring_is_read_from_its_oldest_frame_and_fills_again(wire, peer, link) -> None:
    before = opened(wire, link)
    peer.send(*NUMBERED[:100])
    received(before, 100)
    kept = leave(before)
    for _ in range(SLOTS // len(NUMBERED) + 1):
        peer.send(*NUMBERED)
    with take_over(wire, kept, link) as after:
        assert after.seek()
        frames = received(after, SLOTS)
        assert (NUMBERED * 9)[:SLOTS] == frames
        assert after.take_drops() == 9 * len(NUMBERED) - SLOTS
        peer.send(*NUMBERED)
        assert received(after, len(NUMBERED)) == NUMBERED


def test_large_frames_keep_their_place_and_one_that_is_lost_is_a_drop_and_costs_no_other(wire, peer, link) -> None:
    large = [solicitation(options=option(11, bytes(size))) for size in (198, 206, 214)]
    before = opened(wire, link)
    peer.send(*large, NUMBERED[1])
    with socket.socket(fileno=os.dup(before.fileno())) as died_between:
        assert select.select([before], [], [], 5)[0]
        assert died_between.recv(2048) == large[0]
    with take_over(wire, leave(before), link) as after:
        assert after.seek()
        assert received(after, 3) == [large[1], large[2], NUMBERED[1]]
        assert after.take_drops() == 1
        peer.send(*large)
        assert large == received(after, 3)


def test_what_waited_for_too_long_can_be_told_by_the_kernels_time(wire, peer, link) -> None:
    before = opened(wire, link)
    peer.send(*NUMBERED[:10])
    wait_until(lambda: before.count_while(lambda _: True) == 10, 5, "the frames")
    between_s = time.time()
    peer.send(*NUMBERED[10:30])
    with take_over(wire, leave(before), link) as after:
        assert after.seek()
        assert after.count_while(lambda stamp_s: stamp_s < between_s) == 10
        assert after.count_while(lambda stamp_s: stamp_s < time.time() + 1) == 30


def test_what_is_not_the_uplinks_packet_socket_is_refused(wire, link) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    assert "not a socket" in refusal(wire, reading, link)
    assert "not a packet socket" in refusal(wire, socket.socket().detach(), link)
    with wire.near.enter():
        foreign = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    assert "not a packet socket" in refusal(wire, foreign.detach(), link)
    with wire.near.enter():
        unbound = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    assert "link is gone" in refusal(wire, unbound.detach(), link)
    with wire.near.enter():
        other = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        other.bind(("up0", 0x0806))
    assert "something else" in refusal(wire, other.detach(), link)


def test_a_ring_of_another_shape_is_refused(wire, link) -> None:
    def bound() -> socket.socket:
        with wire.near.enter():
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.bind(("up0", 0x86DD))
        return made

    assert "version" in refusal(wire, bound().detach(), link)
    without = bound()
    without.setsockopt(SOL_PACKET, PACKET_VERSION, 1)
    assert "ring is not like ours" in refusal(wire, without.detach(), link)
    smaller = bound()
    smaller.setsockopt(SOL_PACKET, PACKET_VERSION, 1)
    smaller.setsockopt(SOL_PACKET, PACKET_RX_RING, struct.pack("=IIII", 65536, 4, 256, 1024))
    assert "ring is not like ours" in refusal(wire, smaller.detach(), link)


def test_a_socket_of_another_link_is_refused(wire, link) -> None:
    wire.plug(1)
    other = link_of(wire, "up1")
    for wrong in (
        other,
        replace(link, index=link.index + 100),
        replace(link, device="eth0"),
        replace(link, lladdr=lladdr("02:00:00:00:00:99")),
    ):
        assert "up0" in refusal(wire, leave(opened(wire, link)), wrong) or wrong.lladdr != link.lladdr


def test_a_socket_of_a_link_that_is_gone_is_refused(wire, link) -> None:
    kept = leave(opened(wire, link))
    wire.near.ip("link del up0")
    wire.plug(0)
    assert "link is gone" in refusal(wire, kept, link_of(wire, "up0"))


def test_a_socket_of_another_namespace_is_refused(wire, link) -> None:
    kept = leave(opened(wire, link))
    with pytest.raises(Unusable, match="another network namespace"):
        adopt(kept, link)
    os.close(kept)


class Said(list[tuple[str, str]]):
    def __call__(self, what: str, why: str) -> None:
        self.append((what, why))


@contextlib.contextmanager
def few_descriptors(spare: int = 0) -> Iterator[None]:
    """Let this process open so many more, those aside that it closes meanwhile."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    unused = [os.open(os.devnull, os.O_RDONLY) for _ in range(spare + 1)]
    for descriptor in unused:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (unused[-1], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_of_several_that_were_kept_one_is_used_and_none_stays_open(wire, peer, link) -> None:
    at_first = open_descriptors()
    wrong = os.open("/dev/null", os.O_RDONLY)
    names = {
        name_of(link.index): [wrong, leave(opened(wire, link)), leave(opened(wire, link))],
        name_of(link.index + 1): [leave(opened(wire, link))],
        "ring-1x1-1": [os.open("/dev/null", os.O_RDONLY)],
        "metrics": [0],
    }
    said = Said()
    handover = Handover(Notifier({}), names, said)
    with wire.near.enter():
        found, taken_over = handover.open(link)
        handover.discard()
        assert taken_over
        peer.send(solicitation())
        assert select.select([found], [], [], 5)[0]
        assert found.seek()
        assert received(found, 1) == [solicitation()]
        assert [why.split(":")[0] for _, why in said] == ["up0", "up0", name_of(link.index + 1), "ring-1x1-1"]
        handover.close(found)
        another, taken_over = handover.open(link)
        assert not taken_over
        handover.close(another)
    wait_closed()
    assert open_descriptors() == at_first


def test_one_free_descriptor_is_enough_to_take_one_over_and_to_send(wire, peer, link) -> None:
    kept = leave(opened(wire, link))
    with wire.near.enter(), few_descriptors(1), contextlib.closing(adopt(kept, link)) as after:
        assert after.bound
        assert not after.sender.send([advertisement()])
    assert peer.collect(1) == [advertisement()]


def test_without_descriptors_to_take_one_over_it_says_so_and_begins_anew_when_there_are(wire, link) -> None:
    kept, said = leave(opened(wire, link)), Said()
    handover = Handover(Notifier({}), {name_of(link.index): [kept]}, said)
    with wire.near.enter():
        with few_descriptors(), pytest.raises(LinkNotReady):
            handover.open(link)
        found, taken_over = handover.open(link)
        handover.close(found)
    assert not taken_over
    assert said == [
        ("a packet socket that was kept is of no use", "up0: there is too little of something (Too many open files)")
    ]


def test_what_is_left_to_a_successor_is_open_and_named(wire, link) -> None:
    handover = Handover(Notifier({}), {"metrics": [0], "ring-1x1-1": []}, Said())
    with wire.near.enter():
        found, _ = handover.open(link)
        handover.leave()
        handover.close(found)
        (name, descriptor), metrics = handover.to_pass[::-1]
        after, taken_over = Handover(Notifier({}), {name: [descriptor]}, Said()).open(link)
    assert taken_over
    assert (name, metrics) == (name_of(link.index), ("metrics", 0))
    after.close()


def test_a_process_without_a_descriptor_left_leaves_its_socket_all_the_same(wire, peer, link) -> None:
    handover = Handover(Notifier({}), {}, lambda *_: None)
    with wire.near.enter():
        before, _ = handover.open(link)
    handover.leave()
    with few_descriptors():
        handover.close(before)
    ((_, kept),) = handover.to_pass
    peer.send(*NUMBERED)
    with take_over(wire, kept, link) as after:
        assert after.seek()
        assert received(after, len(NUMBERED)) == NUMBERED


def test_without_room_to_pass_it_on_there_is_no_successor_and_the_reason_is_told(wire, link) -> None:
    before = opened(wire, link)
    with contextlib.closing(before), few_descriptors(), pytest.raises(SystemRefused, match="Too many open files"):
        become_successor([("ring", before.fileno())])
