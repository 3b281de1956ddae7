"""Hand packet sockets and a few octets from one process to the next.

systemd keeps them meanwhile (its file descriptor store), or a process passes them to the program that takes its place.
Frames that arrive until then wait in the ring. A socket is taken over only if it is what its name says and fits the
link as it is now. A socket that fits no link is closed: its ring costs memory, and its membership goes on.
"""

import errno
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from ndpresponder.errors import is_shortage
from ndpresponder.linux import memory_file
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.packet import timestamps
from ndpresponder.linux.packet.closing import close_in_thread
from ndpresponder.linux.packet.packet_socket import PacketSocket, map_ring, open_packet_socket
from ndpresponder.linux.packet.raw import PACKET_VERSION, SOL_PACKET, TPACKET_V2, attach_filter, index_of
from ndpresponder.linux.packet.ring import SLOT_SIZE, SLOTS
from ndpresponder.linux.packet.sender import open_sender
from ndpresponder.linux.systemd import Notifier
from ndpresponder.wire.classic_bpf import Program
from ndpresponder.wire.filters import SOLICITATIONS, SOLICITATIONS_OF_THE_LINK
from ndpresponder.wire.layout import ETH_P_IPV6

# The kernel does not tell the shape of a ring, so the name does; the interface index follows
_PREFIX: Final = f"ring-{SLOTS}x{SLOT_SIZE}-"
_ANY_RING: Final = "ring-"
_CLOCK: Final = "clock"  # the name of the offset of the clock by which frames are stamped
_OF_NO_USE: Final = "a packet socket that was kept is of no use"
_SO_NETNS_COOKIE: Final = 71  # asm/socket.h, Linux 5.14


class Unusable(Exception):
    """A descriptor cannot be taken over; `str()` says why."""


class Handover:
    """Opens the packet sockets of this process, and sees to it that its successor gets them."""

    def __init__(
        self, notifier: Notifier, passed: Mapping[str, Sequence[int]], say: Callable[[str, str], None]
    ) -> None:
        """Take over from `passed`; `say` which event makes a descriptor useless, and why."""
        self._notifier = notifier
        self._say = say
        self._waiting = {name: list(several) for name, several in passed.items() if name.startswith(_ANY_RING)}
        self.leaving = False  # sockets that are closed from now on are kept for a successor
        self.step_s = 0.0  # by how much the clock of the stamps was set since frames began to wait
        self.to_successor = False  # a process that begins at once takes over what is closed now
        self._left: dict[str, list[int]] = {}
        self.others = {name: several for name, several in passed.items() if name not in self._waiting}

    @property
    def to_pass(self) -> list[tuple[str, int]]:
        """The descriptors to pass to a successor in this process, by name."""
        everything = {**self.others, **self._left}
        return [(name, descriptor) for name, several in everything.items() for descriptor in several]

    def open(self, link: Link, in_flood: bool = False) -> tuple[PacketSocket, bool]:
        """Return a packet socket on `link`, and whether it was taken over; raise as `open_packet_socket` does.

        Frames may wait in one that was. If it was left `in_flood`, it keeps its filter until it is given another.
        """
        name, found = name_of(link.index), None
        for descriptor in self._waiting.pop(name, ()):
            why = "there is another one" if found is not None else ""
            try:
                found = found or adopt(descriptor, link, None if in_flood else SOLICITATIONS_OF_THE_LINK)
            except Unusable as error:
                why = str(error)
            if why:
                os.close(descriptor)
                self._notifier.drop(name)
                self._say(_OF_NO_USE, f"{link.name}: {why}")
        opened = found or open_packet_socket(link.device, link.index, SOLICITATIONS)
        self._notifier.store(name, opened.fileno())
        return opened, opened is found

    def close(self, opened: PacketSocket) -> None:
        """Close a packet socket: for good, or after `leave` only for this process."""
        name = name_of(opened.index)
        if self.leaving:
            self._left[name] = [opened.detach()]
        else:
            self._notifier.drop(name)
            opened.close()

    def compare_clocks(self) -> None:
        """Find out by how much the clock was set since the predecessor began or ended; keep its offset anew."""
        self.step_s = timestamps.step_since(self.kept(_CLOCK))
        self.keep(_CLOCK, timestamps.offset())

    def kept(self, name: str) -> bytes:
        """Return the octets that a predecessor kept under `name`, none if it kept none."""
        try:
            return memory_file.read(self.others[name][0]) if name in self.others else b""
        except OSError as error:
            self._say("what was kept cannot be read", f"{name}: {error.strerror}")
            return b""

    def keep(self, name: str, data: bytes) -> None:
        """Keep `data` for a successor, instead of what was kept under `name` before."""
        try:
            if name not in self.others:
                self.others[name] = [os.memfd_create(name)]
                self._notifier.store(name, self.others[name][0])
            memory_file.write(self.others[name][0], data)
        except OSError as error:
            self._say("this will not outlive the process", f"{name}: {error.strerror}")

    def leave(self, upgrading: bool = False) -> None:
        """Keep from now on what is closed for a successor; a service manager does not tell a restart from a stop."""
        self.leaving = True
        if _CLOCK in self.others:
            self.keep(_CLOCK, timestamps.offset())
        self.to_successor = upgrading or self._notifier.keeps

    def close_left(self) -> None:
        """Close what was left for a successor in this process: there is none, and the service manager has its own."""
        for descriptors in self._left.values():
            for descriptor in descriptors:
                close_in_thread(partial(os.close, descriptor))
        self._left.clear()

    def discard(self) -> None:
        """Close the sockets that no link has asked for."""
        for name, descriptors in self._waiting.items():
            for descriptor in descriptors:
                os.close(descriptor)
            self._notifier.drop(name)
            self._say(_OF_NO_USE, f"{name}: no uplink is like that")
        self._waiting.clear()


def name_of(index: int) -> str:
    """Return the name under which the packet socket of an interface is kept."""
    return f"{_PREFIX}{index}"


def adopt(descriptor: int, link: Link, program: Program | None = SOLICITATIONS_OF_THE_LINK) -> PacketSocket:
    """Return the packet socket of `descriptor`, if it is bound to `link`, and own the descriptor from now on.

    It receives what `program` accepts; with None it keeps its filter.

    Raises:
        Unusable: it is not; the descriptor is still open.
    """
    try:
        found = socket.socket(fileno=descriptor)
    except OSError as error:
        raise Unusable(f"it is not a socket ({os.strerror(error.errno or 0)})") from error
    try:
        _check(found, link)
        found.setblocking(False)
        if program is not None:
            attach_filter(found, program)
        return PacketSocket(found, map_ring(found), link.index, open_sender(link.index, found))
    except (OSError, Unusable) as error:
        found.detach()
        if isinstance(error, OSError):
            what = "there is too little of something" if is_shortage(error) else "its ring is not like ours"
            raise Unusable(f"{what} ({error.strerror})") from error
        raise


def _check(found: socket.socket, link: Link) -> None:
    if found.family != socket.AF_PACKET or found.type != socket.SOCK_RAW:
        raise Unusable("it is not a packet socket")
    with socket.socket(socket.AF_UNIX) as ours:
        if _namespace(found) != _namespace(ours):
            raise Unusable("it belongs to another network namespace")
    device, protocol, _, _, lladdr = found.getsockname()
    if not device:
        raise Unusable("its link is gone")
    if protocol != ETH_P_IPV6:
        raise Unusable("it listens to something else")
    index = index_of(device)  # 0: renamed or deleted since
    if (device, index) != (link.device, link.index):
        raise Unusable(f"it is bound to {device}, index {index}")
    if lladdr != link.lladdr:
        raise Unusable(f"its link had the address {lladdr.hex(':')}")
    if found.getsockopt(SOL_PACKET, PACKET_VERSION) != TPACKET_V2:
        raise Unusable("its ring is of another version")


def _namespace(sock: socket.socket) -> bytes:
    """Return the cookie of a socket's network namespace; nothing if this kernel has none."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return b""
        raise
