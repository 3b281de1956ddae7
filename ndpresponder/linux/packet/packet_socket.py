"""Receive the solicitations of one uplink from a ring that the kernel shares; `sender` sends the answers.

Needs CAP_NET_RAW and nothing else. It never reads a frame that was queued before the filter was in place, and never
blocks. Filter, ALLMULTI membership and ring end with the socket.

The receive ring (TPACKET_V2, packet(7)) is memory that the kernel fills and we read, so a burst is bounded by
`SLOTS` instead of by net.core.rmem_max, which on a stock host holds some 500 frames. V2 and not V3, because V3
hands frames over in blocks and waits for a block to fill. One slot:

    0        4      8         12    14    16    20     24        32           42             52    66
    | status | len  | snaplen | mac | net | sec | nsec | vlan .. | sockaddr_ll: .. index .. pkttype .. | pad | frame ...
"""

import errno
import mmap
import select
import socket
import struct
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Final

from ndpresponder.errors import LinkNotReady, PermissionMissing, SystemRefused, is_shortage
from ndpresponder.linux.packet import raw
from ndpresponder.linux.packet.closing import close_in_thread
from ndpresponder.linux.packet.long_frames import LongFrameQueue
from ndpresponder.linux.packet.ring import NANOSECONDS, OURS, SECONDS, SLOT_SIZE, SLOT_WORDS, SLOTS, find_first
from ndpresponder.linux.packet.sender import BATCH, Sender, open_sender
from ndpresponder.wire.classic_bpf import Program

# linux/if_packet.h
_PACKET_ADD_MEMBERSHIP, _PACKET_RX_RING, _PACKET_COPY_THRESH, _PACKET_IGNORE_OUTGOING = 1, 5, 7, 23
_PACKET_MR_ALLMULTI: Final = 2
_OTHERHOST: Final = 3
_TP_STATUS_COPY: Final = 2

_BLOCK_SIZE: Final = 1 << 16
_RING_SIZE: Final = SLOTS * SLOT_SIZE
_FRAME: Final = 66  # where the frame starts in its slot
_SLOT_ROOM: Final = SLOT_SIZE - _FRAME
# Status, length, index, packet type, and the frame if it is as long as a solicitation with an option, as nearly all are
_SLOT: Final = struct.Struct("=I4xI24xi2xB23x86s104x")
_USUAL_LENGTH: Final = 86
_WHOLE: Final = 0xFFFF00 | OURS | _TP_STATUS_COPY  # of these, OURS alone is set where a slot holds a usual frame
_RECEIVE_BUFFER: Final = 4 << 20  # for what is larger than a slot; the kernel lowers it to net.core.rmem_max
_LINK_ERRORS: Final = (errno.ENETDOWN, errno.ENODEV, errno.ENXIO)


class PacketSocket:
    """Frames of one uplink. Make it with `open_packet_socket`; `close` it."""

    def __init__(self, sock: socket.socket, ring: mmap.mmap, index: int, sender: Sender) -> None:
        self._socket = sock
        self.fileno, self.setsockopt = sock.fileno, sock.setsockopt
        self._long_frames = LongFrameQueue(sock)
        self._ring = ring
        self._octets = memoryview(ring)
        self._words = self._octets.cast("I")
        self._statuses = self._octets[::SLOT_SIZE], self._octets[3::SLOT_SIZE]  # first and last octet of each
        self._position = 0  # of the slot that has waited longest, or that the kernel fills next
        self._held = 0  # of the first slot that is still ours
        self._cut = 0  # frames that neither a slot nor the socket's queue had room for, since the last `take_drops`
        self.sender = sender
        self.index = index
        self.received_s = 0.0
        self.for_others: list[bytes] = []  # of what was received last
        self.backlogged = 0
        self.taken = 0  # slots, by the last `receive`: more than it returned frames if some held no whole one
        self.slots_taken = 0  # slots taken since the socket was opened

    @property
    def bound(self) -> bool:
        """Whether the link it was opened on still exists; one with the same index may have come in its place."""
        return bool(self._socket.getsockname()[0])

    def close(self) -> None:
        """Release the ring now, and the sockets in a moment; closing twice is harmless."""
        for octets in self._statuses:
            octets.release()
        self._words.release()
        self._octets.release()
        self._ring.close()
        close_in_thread(self.sender.close)
        close_in_thread(self._socket.close)

    def detach(self) -> int:
        """Release the ring but not the socket, and return its descriptor, which is the caller's from now on."""
        descriptor = self._socket.detach()
        self.close()
        return descriptor

    def receive(self, most: int = BATCH) -> list[bytes]:
        """Take at most `most` (`BATCH`) waiting slots; return their frames, but leave in `for_others` those for others.

        A frame is for others if it is for another host, or now belongs to an interface above this one, say a VLAN's.
        A slot that holds a part of its frame only is a drop: `taken`, not the number of frames, tells whether anything
        waited. `release` the slots before the next call. `received_s` is the Unix time when the kernel received the
        first. `backlogged` counts slots taken since half of the ring was waiting, while a batch waited on.
        """
        words, first, here = self._words, self._position, self.index
        self.received_s = words[first * SLOT_WORDS + SECONDS] + words[first * SLOT_WORDS + NANOSECONDS] * 1e-9
        frames: list[bytes] = []
        self.for_others = for_others = list[bytes]()
        cut = 0
        for status, length, index, packet_type, frame in self._slots(first, most):
            if length == _USUAL_LENGTH and status & _WHOLE == OURS and index == here and packet_type != _OTHERHOST:
                frames.append(frame)
            elif not status & OURS:
                self.backlogged = 0
                if self._long_frames.first:  # it belongs to no slot: all were taken
                    self._long_frames.clear()
                break
            elif (unusual := self._read((first + len(frames) + len(for_others) + cut) % SLOTS)) is not None:
                (for_others if index != here or packet_type == _OTHERHOST else frames).append(unusual)
            else:
                cut += 1
        self.taken = taken = len(frames) + len(for_others) + cut
        self.slots_taken += taken
        self._position = position = (first + taken) % SLOTS
        self._cut += cut
        if taken == most and (self.backlogged or words[(position + SLOTS // 2) % SLOTS * SLOT_WORDS] & OURS):
            self.backlogged += most
        return frames

    def _slots(self, first: int, count: int) -> Iterable[tuple[int, int, int, int, bytes]]:
        """Read slots one by one, each not before it is asked for: its status, and only then what it holds."""
        octets, last = self._octets, first + count
        if last <= SLOTS:
            return _SLOT.iter_unpack(octets[first * SLOT_SIZE : last * SLOT_SIZE])
        beginning = octets[: (last - SLOTS) * SLOT_SIZE]
        return chain(_SLOT.iter_unpack(octets[first * SLOT_SIZE :]), _SLOT.iter_unpack(beginning))

    def _read(self, slot: int) -> bytes | None:
        """Return the frame of a slot whatever its length; None if only a part of it is there."""
        status, whole, length = self._words[slot * SLOT_WORDS : slot * SLOT_WORDS + 3]
        self._ring[slot * SLOT_SIZE + 1 : slot * SLOT_SIZE + 3] = b"\0\0"  # of the status, which keeps `OURS`
        start = slot * SLOT_SIZE + _FRAME
        beginning = self._ring[start : start + length]
        if status & _TP_STATUS_COPY:
            return self._long_frames.take(beginning, whole)
        return None if length == _SLOT_ROOM and length < whole else beginning

    def release(self) -> None:
        """Give the slots of what was received back to the kernel, now that all of it is answered.

        A process that is killed before leaves them to a successor, which answers once more rather than never.
        """
        first, last = self._held, self._position
        # A status is 0 (TP_STATUS_KERNEL) once its last octet is. memoryview calls memcpy(3) for each item, and glibc's
        # stores four octets twice. Between the two stores an interrupt of this processor may fill the slot, whose frame
        # is then lost and the ring out of step. It stores one octet once.
        for octets in self._statuses:
            if last < first:
                octets[first:] = bytes(SLOTS - first)
                octets[:last] = bytes(last)
            else:
                octets[first:last] = bytes(last - first)
        self._held = last

    def seek(self) -> bool:
        """Find the frame that has waited longest, in a ring that another process has read from; return False if none.

        An empty ring does not show where the kernel goes on. So nothing may be received before this is True.
        """
        if (first := find_first(self._words)) is None:
            return False
        self._position = self._held = first
        return True

    @property
    def waiting(self) -> bool:
        """Whether the kernel says that there is something to receive."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return any(events & select.POLLIN for _, events in poll.poll(0))

    def seek_anew(self) -> None:
        """Find again where the ring goes on, and throw away what would keep the socket readable without a slot."""
        if not self.seek():
            self._long_frames.clear()

    def count_while(self, holds: Callable[[float], bool], most: int = SLOTS) -> int:
        """Return how many of the frames that wait have a stamp, as Unix time, of which `holds` is true."""
        words = self._words
        for count in range(most):
            word = (self._position + count) % SLOTS * SLOT_WORDS
            if not words[word] & OURS or not holds(words[word + SECONDS] + words[word + NANOSECONDS] * 1e-9):
                return count
        return most

    def set_filter(self, program: Program) -> None:
        """Receive from now on what `program` accepts, instead of what the one before it did."""
        raw.attach_filter(self._socket, program)

    def take_error(self) -> int:
        """Return and clear the pending error of the socket (ENETDOWN when the uplink went down), 0 for none."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def take_drops(self) -> int:
        """Return how many frames the kernel had no room for since the last call."""
        cut, self._cut = self._cut, 0
        return raw.take_counts(self._socket)[1] + cut


def open_packet_socket(name: str, index: int, program: Program) -> PacketSocket:
    """Open a socket on the Ethernet link `name`, which must have `index`, that receives what `program` accepts.

    Raises:
        PermissionMissing: CAP_NET_RAW is missing.
        LinkNotReady: there is no such link now, or it has another index, or the system is short of something now.
        SystemRefused: the kernel refuses it for good.
    """
    sock = None
    try:
        with raw.unbound_socket(program) as sock:
            ring = _prepare(sock, index)
            raw.bind(sock, name, index)
            return PacketSocket(sock, ring, index, open_sender(index, sock))
    except OSError as error:
        if sock is None and isinstance(error, PermissionError):
            raise PermissionMissing(
                "raw sockets need CAP_NET_RAW: run as root, or give the systemd unit AmbientCapabilities=CAP_NET_RAW"
            ) from error
        if error.errno in _LINK_ERRORS or is_shortage(error):
            raise LinkNotReady(f"{name}: {error.strerror}") from error
        raise SystemRefused(f"cannot listen on {name}: {error.strerror}") from error


def _prepare(sock: socket.socket, index: int) -> mmap.mmap:
    """Give a socket that is not bound yet its buffer, its ring and its membership; return the ring."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    sock.setsockopt(raw.SOL_PACKET, raw.PACKET_VERSION, raw.TPACKET_V2)
    sock.setsockopt(raw.SOL_PACKET, _PACKET_COPY_THRESH, 1)
    request = struct.pack("=IIII", _BLOCK_SIZE, _RING_SIZE // _BLOCK_SIZE, SLOT_SIZE, SLOTS)
    sock.setsockopt(raw.SOL_PACKET, _PACKET_RX_RING, request)
    ring = map_ring(sock)
    # A NIC that filters multicast (virtio-net, macvlan) hides the solicitations without this membership, which
    # the kernel drops together with the socket.
    membership = struct.pack("=iHH8s", index, _PACKET_MR_ALLMULTI, 0, b"")
    sock.setsockopt(raw.SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
    sock.setsockopt(raw.SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    return ring


def map_ring(sock: socket.socket) -> mmap.mmap:
    """Return the receive ring of a packet socket; raise OSError if it has none, or one of another size."""
    return mmap.mmap(sock.fileno(), _RING_SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
