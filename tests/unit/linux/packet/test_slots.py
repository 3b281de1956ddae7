"""What a slot of the receive ring says of its frame: written here as the kernel writes it (packet(7), TPACKET_V2)."""

import contextlib
import mmap
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from typing import cast

import pytest
from frames import option, solicitation

from ndpresponder.linux.packet.packet_socket import PacketSocket
from ndpresponder.linux.packet.ring import SLOT_SIZE, SLOTS
from ndpresponder.linux.packet.sender import BATCH, Sender

UPLINK, ABOVE = 103, 7  # indexes of the uplink, and of a VLAN's interface on top of it
TP_STATUS_USER, TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID = 1, 0x10, 0x40
PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST, PACKET_OTHERHOST = range(4)
FRAME = 66


class _NoSender:
    def close(self) -> None:
        """Close nothing."""


@pytest.fixture
def ring() -> Iterator[mmap.mmap]:
    with mmap.mmap(-1, SLOTS * SLOT_SIZE) as memory:
        yield memory


@pytest.fixture
def opened(ring: mmap.mmap) -> Iterator[PacketSocket]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    with contextlib.closing(PacketSocket(sock, ring, UPLINK, cast(Sender, _NoSender()))) as found:
        yield found


def fill(ring: mmap.mmap, slot: int, frame: bytes, index: int, packet_type: int = PACKET_MULTICAST) -> None:
    """Write a slot: the header, sockaddr_ll at 32, the frame."""
    place = slot % SLOTS * SLOT_SIZE
    status = TP_STATUS_USER | TP_STATUS_VLAN_VALID | TP_STATUS_VLAN_TPID_VALID if packet_type == PACKET_OTHERHOST else 1
    struct.pack_into(
        "=IIIHHIIHH", ring, place, status, len(frame), len(frame), FRAME, FRAME + 14, 1000, slot, 5, 0x8100
    )
    struct.pack_into("=HHiHBB", ring, place + 32, socket.AF_PACKET, 0xDD86, index, 1, packet_type, 6)
    ring[place + FRAME : place + FRAME + len(frame)] = frame


USUAL, SHORT, LONG = solicitation(), solicitation(slla=None), solicitation(options=option(14, bytes(94)))


@pytest.mark.parametrize("frame", [USUAL, SHORT, LONG], ids=["usual", "short", "long"])
@pytest.mark.parametrize(
    ("index", "packet_type", "of_others"),
    [
        (UPLINK, PACKET_MULTICAST, False),
        (UPLINK, PACKET_HOST, False),
        (UPLINK, PACKET_BROADCAST, False),
        (UPLINK, PACKET_OTHERHOST, True),
        (ABOVE, PACKET_MULTICAST, True),
        (ABOVE, PACKET_HOST, True),
        (ABOVE, PACKET_OTHERHOST, True),
        (UPLINK + (1 << 16), PACKET_MULTICAST, True),
        (0, PACKET_MULTICAST, True),
    ],
)
def test_a_frame_of_an_interface_above_is_for_others(
    ring: mmap.mmap, opened: PacketSocket, frame: bytes, index: int, packet_type: int, of_others: bool
) -> None:
    fill(ring, 0, frame, index, packet_type)
    expected = ([], [frame]) if of_others else ([frame], [])
    assert (opened.receive(), opened.for_others) == expected


def test_in_a_batch_each_frame_is_told_apart_where_the_ring_wraps_too(ring: mmap.mmap, opened: PacketSocket) -> None:
    first, count = SLOTS - BATCH // 2, BATCH + 10
    frames = [(USUAL, SHORT, LONG)[number % 3] for number in range(count)]
    for number, frame in enumerate(frames):
        fill(ring, first + number, frame, ABOVE if number % 5 == 0 else UPLINK)
    assert opened.seek()
    found, for_others = opened.receive(), opened.for_others
    opened.release()
    found, for_others = found + opened.receive(), for_others + opened.for_others
    assert found == [frame for number, frame in enumerate(frames) if number % 5]
    assert for_others == frames[::5]


class Stores:
    """Stands in for one octet of each status, and notes how often it is stored to."""

    def __init__(self, octets: memoryview) -> None:
        self._octets = octets
        self.count = Counter[int]()

    def __setitem__(self, key: slice, value: bytes) -> None:
        assert self._octets.itemsize == 1  # memcpy(3) stores more octets twice
        self.count.update(range(SLOTS)[key])
        self._octets[key] = value

    def release(self) -> None:
        self._octets.release()


@pytest.mark.parametrize("first", [0, SLOTS - 3], ids=["in the middle", "around the end"])
@pytest.mark.parametrize("bit", range(1, 32))
def test_each_slot_is_given_back_by_a_single_store_of_each_octet(
    ring: mmap.mmap, opened: PacketSocket, first: int, bit: int
) -> None:
    """The kernel may fill a slot as soon as its status is 0: a second store would take that frame away again."""
    taken = [slot % SLOTS for slot in range(first, first + 6)]
    for slot in taken:
        fill(ring, slot, USUAL, UPLINK)
        struct.pack_into("=I", ring, slot * SLOT_SIZE, TP_STATUS_USER | 1 << bit)
    assert opened.seek()
    opened.receive()
    assert all(ring[slot * SLOT_SIZE] & TP_STATUS_USER for slot in taken)
    stores = [Stores(octets) for octets in opened._statuses]
    opened._statuses = cast(tuple[memoryview, memoryview], tuple(stores))
    opened.release()
    assert [each.count for each in stores] == [Counter(taken)] * 2
    assert [ring[slot * SLOT_SIZE : slot * SLOT_SIZE + 4] for slot in taken] == [bytes(4)] * 6


def wait_in(ring: mmap.mmap, first: int, count: int) -> None:
    """Have `count` frames wait from the slot `first` on, a second apart."""
    for number in range(count):
        fill(ring, first + number, USUAL, UPLINK)
        struct.pack_into("=II", ring, (first + number) % SLOTS * SLOT_SIZE + 16, 1000 + number, 5)


@pytest.mark.parametrize(
    ("expected", "unix_s"), [(0, 0.0), (0, 1000.0), (1, 1000.5), (60, 1059.5), (100, 1099.9), (100, 9e9)]
)
def test_frames_from_before_a_time_are_counted_up_to_the_first_that_is_not(
    ring: mmap.mmap, opened: PacketSocket, expected: int, unix_s: float
) -> None:
    wait_in(ring, SLOTS - 50, 100)
    assert opened.seek()
    assert opened.count_while(lambda stamp_s: stamp_s < unix_s) == expected


def test_of_a_full_ring_all_can_be_from_before(ring: mmap.mmap, opened: PacketSocket) -> None:
    wait_in(ring, 7, SLOTS)
    assert opened.seek()
    assert opened.count_while(lambda stamp_s: stamp_s < 9e9) == SLOTS


def test_no_more_are_counted_than_are_asked_for(ring: mmap.mmap, opened: PacketSocket) -> None:
    wait_in(ring, SLOTS - 5, 100)
    assert opened.seek()
    assert opened.count_while(lambda _: True, 64) == 64
