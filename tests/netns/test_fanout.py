"""A group of packet sockets at the real kernel: one is read, the others count, and each frame goes to one of them."""

import contextlib
import socket
from collections.abc import Iterator

import pytest
from frames import solicitation
from peer import Wire, await_running

from ndpresponder.lab import wait_until
from ndpresponder.linux.packet import fanout
from ndpresponder.linux.packet.fanout import ZERO, Fanout, join_fanout
from ndpresponder.linux.packet.packet_socket import PacketSocket, open_packet_socket
from ndpresponder.wire.classic_bpf import RETURN, Instruction
from ndpresponder.wire.filters import SOLICITATIONS

COUNT = 3
TO_FIRST = (Instruction(RETURN, 0, 0, 0),)
TO_LAST = (Instruction(RETURN, 0, 0, COUNT),)
REFUSED = (Instruction(0xFFFF, 0, 0, 0),)


@pytest.fixture
def read(wire) -> Iterator[PacketSocket]:
    with wire.near.enter():
        opened = open_packet_socket("up0", socket.if_nametoindex("up0"), SOLICITATIONS)
    with contextlib.closing(opened):
        yield opened


def join(wire: Wire, read: PacketSocket) -> Fanout:
    with wire.near.enter():
        return join_fanout(read.fileno(), "up0", COUNT)


def received(read: PacketSocket) -> list[bytes]:
    frames = read.receive()
    read.release()
    return frames


def test_without_a_program_all_is_read(wire, read, peer):
    group = join(wire, read)
    peer.send(solicitation())
    assert received(read) == [solicitation()]
    assert group.take_counts() == [0, 0, 0]
    group.close()


def test_each_frame_goes_where_the_program_says_and_is_counted_once(wire, read, peer):
    group = join(wire, read)
    group.set_program(TO_LAST)
    peer.send(*[solicitation()] * 5000)
    assert group.take_counts() == [0, 0, 5000]
    group.set_program(TO_FIRST)
    peer.send(solicitation())
    assert received(read) == [solicitation()]
    assert group.take_counts() == [0, 0, 0]
    group.close()


def test_members_may_come_later(wire, read, peer):
    group = join(wire, read)
    with wire.near.enter():
        group.grow(COUNT + 2)
    assert len(group.take_counts()) == COUNT + 2
    group.set_program((Instruction(RETURN, 0, 0, COUNT + 2),))
    peer.send(*[solicitation()] * 7)
    assert group.take_counts() == [0, 0, 0, 0, 7]
    group.close()


def test_another_socket_that_is_read_may_come_after_the_counters(wire, read, peer):
    group = join(wire, read)
    with wire.near.enter():
        second = open_packet_socket("up0", read.index, ZERO)
    group.add(second)
    peer.send(solicitation())
    group.set_program((Instruction(RETURN, 0, 0, COUNT + 1),))
    peer.send(*[solicitation()] * 7)
    assert received(second) == [solicitation()] * 7
    assert received(read) == [solicitation()]
    assert group.take_counts() == [0, 0, 0]
    second.close()
    group.close()

    def read_again() -> bool:
        peer.send(solicitation())
        return received(read) == [solicitation()]

    wait_until(read_again, 1, "all to go to the one that is left")


def test_what_is_sent_is_not_counted(wire, read):
    group = join(wire, read)
    group.set_program(TO_LAST)
    assert not read.sender.send([solicitation()])
    assert group.take_counts() == [0, 0, 0]
    group.close()


def test_all_is_read_again_when_nobody_counts_any_more(wire, read, peer):
    group = join(wire, read)
    group.set_program(TO_LAST)
    group.close()
    peer.send(solicitation())
    assert received(read) == [solicitation()]


def test_a_socket_that_outlived_its_group_is_read_all_through_and_counted_beside_again(wire, read, peer):
    for _ in range(2):
        group = join(wire, read)
        peer.send(solicitation())
        assert received(read) == [solicitation()]
        group.set_program(TO_LAST)
        peer.send(solicitation())
        assert (received(read), group.take_counts()) == ([], [0, 0, 1])
        group.close()


def test_a_program_that_the_kernel_refuses_changes_nothing(wire, read, peer):
    group = join(wire, read)
    group.set_program(TO_LAST)
    with pytest.raises(OSError, match="Invalid argument"):
        group.set_program(REFUSED)
    peer.send(solicitation())
    assert group.take_counts() == [0, 0, 1]
    group.close()


def test_each_keeps_its_number_while_the_link_goes_down_and_up(wire, read, peer):
    group = join(wire, read)
    for program, counts in ((TO_FIRST, [0, 0, 0]), (TO_LAST, [0, 0, 1])):
        group.set_program(program)
        wire.near.ip("link set up0 down", "link set up0 up")
        await_running(wire.near, "up0")
        assert received(read) == []
        read.take_error()
        peer.send(solicitation())
        assert (len(received(read)), group.take_counts()) == (1 - sum(counts), counts)
    group.close()


def test_a_kernel_that_would_mix_up_the_members_is_refused(wire, read, monkeypatch):
    monkeypatch.setattr(fanout, "kernel_version", lambda: (4, 19))
    with pytest.raises(OSError, match=r"5\.1 or newer"):
        join(wire, read)
