"""One AF_PACKET socket on one uplink: solicitations in from a shared ring, advertisements out in batches.

Needs CAP_NET_RAW and nothing else. It never reads a frame that was queued before the filter was in place, never
blocks, and leaves nothing behind when it is closed: filter, ALLMULTI membership and ring go with the socket.

The receive ring (TPACKET_V2, packet(7)) is memory that the kernel fills and we read, so a burst is bounded by
`SLOTS` instead of by net.core.rmem_max, which on a stock host holds some 500 frames. V2 and not V3, because V3
hands frames over in blocks and waits for a block to fill. One slot:

    0        4      8         12    14    16    20     24        32           42             52    66
    | status | len  | snaplen | mac | net | sec | nsec | vlan .. | sockaddr_ll .. pkttype .. | pad | frame ...
"""

import ctypes
import errno
import mmap
import socket
import struct
from typing import Final

from ndpresponder.errors import LinkNotReady, PermissionMissing, SystemRefused, is_shortage
from ndpresponder.linux.messages import BATCH, MessageHeader, prepare_messages
from ndpresponder.linux.ring import OURS, SLOT_SIZE, SLOT_WORDS, SLOTS, count_before, find_first
from ndpresponder.wire.bpf import Instruction, encode
from ndpresponder.wire.layout import ADVERTISEMENT_LENGTH, ETH_P_IPV6

# linux/if_packet.h, asm/socket.h
SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_PACKET_RX_RING: Final = 5
_PACKET_STATISTICS: Final = 6
_PACKET_COPY_THRESH: Final = 7
PACKET_VERSION: Final = 10
_PACKET_IGNORE_OUTGOING: Final = 23
_PACKET_MR_ALLMULTI: Final = 2
_PACKET_OTHERHOST: Final = 3
TPACKET_V2: Final = 1
_TP_STATUS_COPY: Final = 2
_SO_ATTACH_FILTER: Final = 26

_BLOCK_SIZE: Final = 1 << 16
_RING_SIZE: Final = SLOTS * SLOT_SIZE
_FRAME: Final = 66  # where the frame starts in its slot
_SLOT_ROOM: Final = SLOT_SIZE - _FRAME
_PACKET_TYPE: Final = 42
_FREE: Final = memoryview(bytes(4 * BATCH)).cast("I")  # the statuses of slots that are the kernel's
_MAX_FRAME: Final = 65536
_SEND_BUFFER: Final = 1 << 20  # the kernel lowers it to net.core.wmem_max
_RECEIVE_BUFFER: Final = 4 << 20  # for what is larger than a slot; the kernel lowers it to net.core.rmem_max
_LINK_ERRORS: Final = (errno.ENETDOWN, errno.ENODEV, errno.ENXIO)


class PacketSocket:
    """Frames of one uplink. Make it with `open_packet_socket`; `close` it, or use it as a context manager."""

    __slots__ = (
        "_arena",
        "_cut",
        "_held",
        "_messages",
        "_position",
        "_ring",
        "_sendmmsg",
        "_socket",
        "_words",
        "crowded",
        "index",
        "received_s",
    )

    def __init__(self, sock: socket.socket, ring: mmap.mmap, index: int) -> None:
        """Wrap a bound socket and its mapped ring; both belong to this object from now on."""
        self._socket = sock
        self._ring = ring
        self._words = memoryview(ring).cast("I")
        self._position = 0  # of the slot that the kernel fills next, or filled first of those that wait
        self._held = 0  # of the first slot that is still ours
        self._cut = 0  # frames that neither a slot nor the socket's queue had room for, since the last `take_drops`
        self._arena = bytearray(BATCH * ADVERTISEMENT_LENGTH)
        self._messages = prepare_messages(self._arena)
        self._sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
        self.index = index
        self.received_s = 0.0
        self.crowded = 0

    def __enter__(self) -> "PacketSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bound(self) -> bool:
        """Whether the link it was opened on still exists; one with the same index may have come in its place."""
        return bool(self._socket.getsockname()[0])

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a frame is waiting."""
        return self._socket.fileno()

    def close(self) -> None:
        """Release the ring and the socket; closing twice is harmless."""
        self._words.release()
        self._ring.close()
        self._socket.close()

    def detach(self) -> int:
        """Release the ring but not the socket, and return its descriptor, which is the caller's from now on."""
        with self:
            return self._socket.detach()

    def receive(self, most: int = BATCH) -> list[tuple[bytes, bool]]:
        """Take at most `most` (`BATCH`) waiting frames, and whether each was addressed to another host.

        `release` them before the next call. `received_s` is then when the kernel received the first of them, as Unix
        time. `crowded` counts those received since half of the ring was waiting, while more than a batch waited on.
        """
        words, ring, position = self._words, self._ring, self._position
        frames: list[tuple[bytes, bool]] = []
        self.received_s = words[position * SLOT_WORDS + 4] + words[position * SLOT_WORDS + 5] * 1e-9
        for _ in range(most):
            word = position * SLOT_WORDS
            status = words[word]
            if not status & OURS:
                self.crowded = 0
                break
            start = position * SLOT_SIZE
            length = words[word + 2]
            to_other_host = ring[start + _PACKET_TYPE] == _PACKET_OTHERHOST
            if status & _TP_STATUS_COPY:  # larger than a slot: the whole frame waits in the socket's queue
                start += _FRAME
                frames.append((self._receive_copy(ring[start : start + length]), to_other_host))
            elif length != _SLOT_ROOM or words[word + 1] == length:
                frames.append((ring[start + _FRAME : start + _FRAME + length], to_other_host))
            else:
                self._cut += 1
            position = (position + 1) % SLOTS
        else:
            if self.crowded or words[(position + SLOTS // 2) % SLOTS * SLOT_WORDS] & OURS:
                self.crowded += most
        self._position = position
        return frames

    def release(self) -> None:
        """Give the slots of what was received back to the kernel, now that all of it is answered.

        Who is killed before that leaves them to a successor, which answers once more rather than never.
        """
        words, first, last = self._words, self._held, self._position
        if last < first:
            words[first * SLOT_WORDS :: SLOT_WORDS] = _FREE[: SLOTS - first]
            first = 0
        words[first * SLOT_WORDS : last * SLOT_WORDS : SLOT_WORDS] = _FREE[: last - first]
        self._held = last

    def _receive_copy(self, beginning: bytes) -> bytes:
        for _ in range(2):
            try:
                frame = self._socket.recv(_MAX_FRAME)
            except BlockingIOError:
                break
            except OSError:  # the link went down: now that the error is taken, the frame can be
                continue
            return frame if frame.startswith(beginning) else b""  # a predecessor may have died between the two
        return b""

    def seek(self) -> bool:
        """Find the frame that has waited longest, in a ring that somebody else has read from; return False if none.

        Where the kernel goes on in an empty ring nobody can tell, so that nothing may be received before this is True.
        """
        first = find_first(self._words)
        if first is None:
            return False
        self._position = self._held = first
        return True

    def count_before(self, unix_s: float) -> int:
        """Return how many of the frames that wait were received before a time."""
        return count_before(self._words, self._position, unix_s)

    def send(self, advertisements: list[bytes]) -> list[tuple[int, int]]:
        """Send at most `BATCH` advertisements; return position and errno of each one that the kernel refused."""
        count = len(advertisements)
        if count == 1:  # cheaper than by way of the arena
            error = self.send_one(advertisements[0])
            return [(0, error)] if error else []
        data = b"".join(advertisements)
        self._arena[: len(data)] = data
        refused: list[tuple[int, int]] = []
        done = 0
        while done < count:
            first = ctypes.byref(self._messages, done * ctypes.sizeof(MessageHeader))
            sent = self._sendmmsg(self._socket.fileno(), first, count - done, 0)
            if sent > 0:
                done += sent
            else:
                # sendmmsg(2) reports the error of the first message it could not send
                error = ctypes.get_errno()
                if error == errno.EINTR:
                    continue
                refused.append((done, error))
                done += 1
        return refused

    def send_one(self, frame: bytes) -> int:
        """Send one frame of any length; return the errno if the kernel refused, else 0."""
        try:
            self._socket.send(frame)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def take_error(self) -> int:
        """Return and clear the pending error of the socket (ENETDOWN when the uplink went down), 0 for none."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def take_drops(self) -> int:
        """Return how many frames the kernel had no room for since the last call."""
        _, drops = struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, _PACKET_STATISTICS, 8))
        cut, self._cut = self._cut, 0
        return int(drops) + cut


def open_packet_socket(name: str, index: int, program: tuple[Instruction, ...]) -> PacketSocket:
    """Open a socket on the Ethernet link `name`, which must have `index`, that receives what `program` accepts.

    The order is what makes it safe: with protocol 0 the socket receives nothing until it is bound, and it is
    bound last, so that no unfiltered frame is ever queued.

    Raises:
        PermissionMissing: CAP_NET_RAW is missing.
        LinkNotReady: there is no such link now, or it has another index, or the system is short of something now.
        SystemRefused: the kernel will not have it at all.
    """
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    except PermissionError as error:
        raise PermissionMissing(
            "raw sockets need CAP_NET_RAW: run as root, or give the systemd unit AmbientCapabilities=CAP_NET_RAW"
        ) from error
    except OSError as error:
        kind = LinkNotReady if is_shortage(error) else SystemRefused
        raise kind(f"cannot open a packet socket: {error.strerror}") from error
    try:
        return PacketSocket(sock, _bind(sock, name, index, program), index)
    except OSError as error:
        sock.close()
        if error.errno in _LINK_ERRORS or is_shortage(error):
            raise LinkNotReady(f"{name}: {error.strerror}") from error
        raise SystemRefused(f"cannot listen on {name}: {error.strerror}") from error
    except LinkNotReady:
        sock.close()
        raise


def _bind(sock: socket.socket, name: str, index: int, program: tuple[Instruction, ...]) -> mmap.mmap:
    """Make `sock` ready and bind it to the link, last; return its receive ring."""
    attach_filter(sock, program)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    sock.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
    sock.setsockopt(SOL_PACKET, _PACKET_COPY_THRESH, 1)
    request = struct.pack("=IIII", _BLOCK_SIZE, _RING_SIZE // _BLOCK_SIZE, SLOT_SIZE, SLOTS)
    sock.setsockopt(SOL_PACKET, _PACKET_RX_RING, request)
    ring = map_ring(sock)
    # A NIC that filters multicast (virtio-net, macvlan) hides the solicitations without this membership, which
    # the kernel drops together with the socket.
    membership = struct.pack("=iHH8s", index, _PACKET_MR_ALLMULTI, 0, b"")
    sock.setsockopt(SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
    try:
        sock.setsockopt(SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:  # before Linux 4.20; our own frames then end as `own_frame`
            raise
    sock.bind((name, ETH_P_IPV6))
    try:
        present = socket.if_nametoindex(name)
    except OSError as error:  # without an errno
        raise LinkNotReady(f"{name} vanished while it was being opened") from error
    if present != index:
        raise LinkNotReady(f"{name} changed while it was being opened")
    return ring


def map_ring(sock: socket.socket) -> mmap.mmap:
    """Return the receive ring of a packet socket.

    Raises:
        OSError: it has none, or one of another size.
    """
    return mmap.mmap(sock.fileno(), _RING_SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


def attach_filter(sock: socket.socket, program: tuple[Instruction, ...]) -> None:
    """Attach `program`; on a socket that has a filter already the two are exchanged atomically (socket(7))."""
    code = ctypes.create_string_buffer(encode(program), 8 * len(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
