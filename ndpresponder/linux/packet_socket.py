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
import os
import socket
import struct
from typing import Final

from ndpresponder.errors import LinkNotReady, PermissionMissing, SystemRefused
from ndpresponder.wire.bpf import Instruction, encode
from ndpresponder.wire.layout import ADVERTISEMENT_LENGTH, ETH_P_IPV6

# linux/if_packet.h, asm/socket.h
_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_PACKET_RX_RING: Final = 5
_PACKET_STATISTICS: Final = 6
_PACKET_COPY_THRESH: Final = 7
_PACKET_VERSION: Final = 10
_PACKET_IGNORE_OUTGOING: Final = 23
_PACKET_MR_ALLMULTI: Final = 2
_PACKET_OTHERHOST: Final = 3
_TPACKET_V2: Final = 1
_TP_STATUS_USER: Final = 1
_TP_STATUS_COPY: Final = 2
_SO_ATTACH_FILTER: Final = 26

SLOTS: Final = 8192
SLOT_SIZE: Final = 256
BATCH: Final = 64  # frames between two returns to the event loop, and advertisements in one system call

_BLOCK_SIZE: Final = 1 << 16
_RING_SIZE: Final = SLOTS * SLOT_SIZE
_SLOT_WORDS: Final = SLOT_SIZE // 4
_FRAME: Final = 66  # where the frame starts in its slot
_SLOT_ROOM: Final = SLOT_SIZE - _FRAME
_PACKET_TYPE: Final = 42
_MAX_FRAME: Final = 65536
_SEND_BUFFER: Final = 1 << 20  # the kernel lowers it to net.core.wmem_max
_RECEIVE_BUFFER: Final = 4 << 20  # for what is larger than a slot; the kernel lowers it to net.core.rmem_max
_LINK_ERRORS: Final = (errno.ENETDOWN, errno.ENODEV, errno.ENXIO)
_SHORTAGES: Final = (errno.ENOMEM, errno.ENOBUFS, errno.EMFILE, errno.ENFILE)  # which may end


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_IoVec)),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _MMsgHdr(ctypes.Structure):
    _fields_ = (("header", _MsgHdr), ("sent", ctypes.c_uint))


class PacketSocket:
    """Frames of one uplink. Make it with `open_packet_socket`; `close` it, or use it as a context manager."""

    __slots__ = (
        "_arena",
        "_cut",
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
        self._position = 0
        self._cut = 0  # frames that neither a slot nor the socket's queue had room for, since the last `take_drops`
        self._arena = bytearray(BATCH * ADVERTISEMENT_LENGTH)
        self._messages = _prepare_messages(self._arena)
        self._sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
        self.index = index
        self.received_s = 0.0
        self.crowded = False

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

    def receive(self) -> list[tuple[bytes, bool]]:
        """Take at most `BATCH` waiting frames, and whether each was addressed to another host.

        A frame's slot goes back to the kernel as soon as its octets are copied out. `received_s` is then when the
        kernel received the first of them, as Unix time. `crowded` is whether half of the ring was waiting, and
        more than a batch ever since.
        """
        words, ring, position = self._words, self._ring, self._position
        frames: list[tuple[bytes, bool]] = []
        word = position * _SLOT_WORDS
        self.received_s = words[word + 4] + words[word + 5] * 1e-9
        for _ in range(BATCH):
            word = position * _SLOT_WORDS
            status = words[word]
            if not status & _TP_STATUS_USER:
                self.crowded = False
                break
            start = position * SLOT_SIZE
            length = words[word + 2]
            to_other_host = ring[start + _PACKET_TYPE] == _PACKET_OTHERHOST
            if status & _TP_STATUS_COPY:  # larger than a slot: the whole frame waits in the socket's queue
                frames.append((self._receive_copy(), to_other_host))
            elif length != _SLOT_ROOM or words[word + 1] == length:
                frames.append((ring[start + _FRAME : start + _FRAME + length], to_other_host))
            else:
                self._cut += 1
            words[word] = 0
            position = (position + 1) % SLOTS
        else:
            self.crowded |= bool(words[(position + SLOTS // 2) % SLOTS * _SLOT_WORDS] & _TP_STATUS_USER)
        self._position = position
        return frames

    def _receive_copy(self) -> bytes:
        for _ in range(2):
            try:
                return self._socket.recv(_MAX_FRAME)
            except BlockingIOError:
                break
            except OSError:  # the link went down: now that the error is taken, the frame can be
                continue
        return b""

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
            sent = self._sendmmsg(
                self._socket.fileno(), ctypes.byref(self._messages, done * ctypes.sizeof(_MMsgHdr)), count - done, 0
            )
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
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        _, drops = struct.unpack("=II", statistics)
        cut, self._cut = self._cut, 0
        return int(drops) + cut


def _prepare_messages(arena: bytearray) -> "ctypes.Array[_MMsgHdr]":
    """Point one message header at each advertisement's place in `arena`."""
    base = ctypes.addressof(ctypes.c_char.from_buffer(arena))
    messages = (_MMsgHdr * BATCH)()
    for i, message in enumerate(messages):
        message.header.iov = ctypes.pointer(_IoVec(base + i * ADVERTISEMENT_LENGTH, ADVERTISEMENT_LENGTH))
        message.header.iov_length = 1
    return messages


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
        kind = LinkNotReady if error.errno in _SHORTAGES else SystemRefused
        raise kind(f"cannot open a packet socket: {error.strerror}") from error
    try:
        return PacketSocket(sock, _bind(sock, name, index, program), index)
    except OSError as error:
        sock.close()
        if error.errno in _LINK_ERRORS + _SHORTAGES:
            raise LinkNotReady(f"{name}: {os.strerror(error.errno)}") from error
        raise SystemRefused(f"cannot listen on {name}: {error.strerror}") from error
    except LinkNotReady:
        sock.close()
        raise


def _bind(sock: socket.socket, name: str, index: int, program: tuple[Instruction, ...]) -> mmap.mmap:
    """Make `sock` ready and bind it to the link, last; return its receive ring."""
    attach_filter(sock, program)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    sock.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
    sock.setsockopt(_SOL_PACKET, _PACKET_COPY_THRESH, 1)
    request = struct.pack("=IIII", _BLOCK_SIZE, _RING_SIZE // _BLOCK_SIZE, SLOT_SIZE, SLOTS)
    sock.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
    ring = mmap.mmap(sock.fileno(), _RING_SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    # A NIC that filters multicast (virtio-net, macvlan) hides the solicitations without this membership, which
    # the kernel drops together with the socket.
    membership = struct.pack("=iHH8s", index, _PACKET_MR_ALLMULTI, 0, b"")
    sock.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
    try:
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
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


def attach_filter(sock: socket.socket, program: tuple[Instruction, ...]) -> None:
    """Attach `program`; on a socket that has a filter already the two are exchanged atomically (socket(7))."""
    code = ctypes.create_string_buffer(encode(program), 8 * len(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
