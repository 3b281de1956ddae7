"""Count frames that no process reads, by sockets beside the one that is read.

They form a packet fanout group (packet(7), PACKET_FANOUT). The kernel runs one program once for each frame, and its
result is the number of the member that gets the frame. So a frame is either read or counted, never both or neither,
also while the program is exchanged. Member 0 is the socket that is read. The counters have almost no buffer: the kernel
drops their frames and counts them (PACKET_STATISTICS). After them another socket that is read may join. CAP_NET_RAW is
enough, and the group ends with its sockets.

Members are numbered as they join. After a link went down and up the kernel numbers them anew in the order in which
they were created, which is the same here.
"""

import ctypes
import functools
import os
import re
import socket
import threading
from typing import Final

from ndpresponder.linux.packet.packet_socket import PacketSocket
from ndpresponder.linux.packet.raw import SOL_PACKET, sock_fprog, take_counts, unbound_socket
from ndpresponder.wire.classic_bpf import RETURN, Instruction, Program
from ndpresponder.wire.layout import ETH_P_IPV6

# linux/if_packet.h, asm/socket.h
_PACKET_FANOUT, _PACKET_FANOUT_DATA = 18, 22
_PACKET_FANOUT_CBPF: Final = 6
_PACKET_FANOUT_FLAG_UNIQUEID: Final = 0x2000
_PACKET_FANOUT_FLAG_IGNORE_OUTGOING: Final = 0x4000
_SO_DETACH_FILTER: Final = 27

_NEW_GROUP: Final = (_PACKET_FANOUT_CBPF | _PACKET_FANOUT_FLAG_UNIQUEID | _PACKET_FANOUT_FLAG_IGNORE_OUTGOING) << 16
ZERO: Final = (Instruction(RETURN, 0, 0, 0),)  # as a filter: nothing; for a group: member 0
_KEEPS_ORDER: Final = (5, 1)  # before this Linux the numbers after a link went down and up were another order's


class Fanout:
    """The sockets that count, beside one that is read. Make it with `join_fanout`."""

    def __init__(self, name: str, group: int) -> None:
        self._name = name
        self._group = group
        self._counters: list[socket.socket] = []
        self._filtered: list[socket.socket | PacketSocket] = []  # members that get nothing yet
        self._program: Program = ZERO
        self._lock = threading.Lock()  # a thread that sets the program must not find another file under a descriptor

    def grow(self, members: int) -> None:
        """Have so many members that count; the next program may name them. Raise OSError if the kernel has no more."""
        with self._lock:
            while len(self._counters) < members:
                self._counters.append(_joined(self._name, self._group))
                self._filtered.append(self._counters[-1])

    def add(self, member: PacketSocket) -> None:
        """Have a socket whose filter is `ZERO` as the next member, which loses that filter with the next program."""
        member.setsockopt(SOL_PACKET, _PACKET_FANOUT, self._group)
        self._filtered.append(member)

    def set_program(self, program: Program) -> None:
        """Let `program` say from the next frame on which member gets it; raise OSError if the kernel refuses.

        This waits for an RCU grace period, some 10 ms, and may be called in a thread: other threads go on meanwhile.
        """
        with self._lock:
            member = self._counters[0].fileno()
            if self._filtered:
                _set_program(member, self._program)  # after that wait nothing is on its way to them as if to no member
                while self._filtered:
                    self._filtered.pop().setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
            _set_program(member, program)
            self._program = program

    def take_counts(self) -> list[int]:
        """Return how many frames each of the counters got since the last call."""
        return [take_counts(counter)[0] for counter in self._counters]

    def close(self) -> None:
        """Close the sockets, each of which takes an RCU grace period; all frames then go to member 0."""
        with self._lock:
            for counter in reversed(self._counters):  # the last takes the place of one that leaves
                counter.close()


def begin_group(descriptor: int) -> int:
    """Make the bound packet socket of `descriptor` member 0 of a group unless it is in one; return the group's number.

    The kernel takes the socket off its list for that and then puts the group there: at 200,000 frames a second one gets
    lost in one of a hundred times. So a socket begins its group before any frame of it is answered. OSError: the kernel
    does not have this, or the link is down.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0, os.dup(descriptor)) as read:
        if not read.getsockopt(SOL_PACKET, _PACKET_FANOUT):
            read.setsockopt(SOL_PACKET, _PACKET_FANOUT, _NEW_GROUP)
        return read.getsockopt(SOL_PACKET, _PACKET_FANOUT)


def join_fanout(descriptor: int, name: str, count: int) -> Fanout:
    """Make the bound packet socket of `descriptor`, on the link `name`, member 0 and `count` new sockets the others.

    All frames go to member 0 until there is a program. A socket that is a member already, because it outlived the
    process that made it so, stays one: no frame is lost. OSError: the kernel does not have this, or the link is down.
    """
    if kernel_version() < _KEEPS_ORDER:
        raise OSError(f"Linux {'.'.join(map(str, _KEEPS_ORDER))} or newer is needed")
    fanout = Fanout(name, begin_group(descriptor))
    _set_program(descriptor, ZERO)  # there may be an old program, and members to come for it
    try:
        fanout.grow(count)
    except OSError:
        fanout.close()
        raise
    return fanout


def _joined(name: str, group: int) -> socket.socket:
    """Return a new member of `group`. Its filter keeps it from counting frames that came before it was a member."""
    with unbound_socket(ZERO) as counter:
        counter.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # the kernel raises it to its minimum
        counter.bind((name, ETH_P_IPV6))
        counter.setsockopt(SOL_PACKET, _PACKET_FANOUT, group)
    return counter


def _set_program(member: int, program: Program) -> None:
    fprog, _code = sock_fprog(program)
    if _setsockopt()(member, SOL_PACKET, _PACKET_FANOUT_DATA, fprog, len(fprog)):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


@functools.cache  # each CDLL leaves something behind
def _setsockopt() -> "ctypes._NamedFuncPointer":
    """Return setsockopt(2) of the C library: `socket.setsockopt` would hold up all threads."""
    return ctypes.CDLL(None, use_errno=True).setsockopt


def kernel_version() -> tuple[int, ...]:
    """Return the first two numbers of the running Linux."""
    return tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
