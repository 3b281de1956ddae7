"""Ask the kernel on plain sockets, and hand out its messages undecoded.

A dump can be large, such as neighbors and routes. It is read in slices, and the event loop has its turn between two.
Decoding all of 10,000 entries would block the loop for some hundred milliseconds.
"""

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink import layout as nl

_SLICE: Final = 8192  # octets that the kernel hands out at once: about 80 neighbors
_ANSWER: Final = 16384
_STALLED_S: Final = 5.0
_LONGEST_NAME: Final = 15  # octets (IFNAMSIZ)
_ERRNO_MAX: Final = 4095  # MAX_ERRNO, linux/err.h

_Entry = TypeVar("_Entry")


class Refused(SourceUnavailable):
    """The kernel refuses to answer this question; `number` is its errno."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


class Interrupted(Exception):
    """Something changed while the kernel answered: the answer may be inconsistent, and an event follows."""


@dataclass(frozen=True, slots=True)
class LinkEntry:
    """An interface as the kernel shows it."""

    index: int
    hardware_type: int  # ARPHRD_*
    flags: int  # IFF_*
    name: str  # the main one
    master: int  # the index of the bridge, bond or VRF that it belongs to; 0: none
    kind: str  # of the driver, such as bridge; "" for hardware
    values: dict[int, bytes]  # IFLA_*
    info: dict[int, bytes]  # IFLA_INFO_*


def open_socket(protocol: int = socket.NETLINK_ROUTE) -> socket.socket:
    """Return a socket to ask with, or to receive events with, unless the system refuses it (OSError)."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)


def request(kind: int, flags: int, body: bytes = b"", *arguments: bytes, sequence: int = 1) -> bytes:
    """Return a request of type `kind`: `body` is the fixed header of the family, `arguments` are attributes."""
    octets = body + b"".join(arguments)
    return nl.NLMSGHDR.pack(nl.HEADER_LENGTH + len(octets), kind, nl.NLM_F_REQUEST | flags, sequence, 0) + octets


async def dump(
    read: Callable[[memoryview], _Entry | None], kind: int, body: bytes, *filters: bytes, whole: bool = False
) -> list[_Entry]:
    """Return what `read` makes of each message that answers a dump request, unless that is None.

    The kernel selects by `filters`. Entries that change meanwhile may be missing or be there twice: receive events
    from before the dump, or ask for the `whole`.

    Raises:
        Interrupted: the whole was asked for, and something changed meanwhile.
        Refused: there is no such interface or table.
        SourceUnavailable: the kernel cannot be asked now, or a message ends early.
    """
    found: list[_Entry] = []
    interrupted = False
    with translated(), _ask(kind, nl.NLM_F_DUMP, body, *filters) as asked:
        while True:
            async with asyncio.timeout(_STALLED_S):
                octets = await asyncio.get_running_loop().sock_recv(asked, _SLICE)
            for message_kind, message in messages(octets):
                interrupted |= bool(nl.NLMSGHDR.unpack_from(message)[2] & nl.NLM_F_DUMP_INTR)
                if message_kind in (nl.NLMSG_DONE, nl.NLMSG_ERROR):
                    _check(message)
                    if whole and interrupted:
                        raise Interrupted
                    return found
                entry = read(message)
                if entry is not None:
                    found.append(entry)
            await asyncio.sleep(0)


def get(read: Callable[[memoryview], _Entry], kind: int, body: bytes, *arguments: bytes) -> _Entry | None:
    """Return what `read` makes of the one message that answers a request, None if there is no such link or entry."""
    try:
        with translated(), _ask(kind, 0, body, *arguments) as asked:
            return read(answer(asked, 1))
    except Refused as error:
        if error.number not in (errno.ENODEV, errno.ENOENT):
            raise
        return None


def find_link(which: str | int) -> LinkEntry | None:
    """Return the interface of a name or an index, None if there is none.

    The C library's if_nametoindex(3) says the same of one about which the system cannot tell now, for want of a
    descriptor say: that is `SourceUnavailable` here.
    """

    def read(message: memoryview) -> LinkEntry:
        _, hardware_type, index, flags, _ = nl.head(message, nl.IFINFOMSG)
        values = nl.values_of(message, nl.IFINFOMSG)
        info = dict(nl.attributes(values.get(nl.IFLA_LINKINFO, b"")))
        name, kind = nl.text(values, nl.IFLA_IFNAME), nl.text(info, nl.IFLA_INFO_KIND)
        return LinkEntry(index, hardware_type, flags, name, nl.number(values, nl.IFLA_MASTER), kind, values, info)

    index, named = (which, b"") if isinstance(which, int) else (0, which.encode(errors="backslashreplace"))
    if len(named) > _LONGEST_NAME or b"\0" in named:
        return None
    arguments = [] if index else [nl.attribute(nl.IFLA_IFNAME, named + b"\0")]
    without_statistics = nl.attribute(nl.IFLA_EXT_MASK, nl.RTEXT_FILTER_SKIP_STATS)
    body = nl.IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, 0, 0)
    return get(read, nl.RTM_GETLINK, body, *arguments, without_statistics)


def index_of(name: str) -> int:
    """Return the index of the interface called `name`, 0 if there is none."""
    found = find_link(name)
    return found.index if found else 0


def name_of(index: int) -> str:
    """Return the name of the interface with an index, "" if there is none."""
    found = find_link(index)
    return found.name if found else ""


def command(kind: int, flags: int, body: bytes, *arguments: bytes) -> None:
    """Have the kernel change something; raise `Refused` if it does not."""
    with translated(), _ask(kind, nl.NLM_F_ACK | flags, body, *arguments) as asked:
        answer(asked, 1)


def answer(asked: socket.socket, sequence: int) -> memoryview:
    """Return the one message that answers a request: the kernel has sent it before `send` returns, in some 20 us.

    Raises:
        OSError: the kernel does not answer now.
        Refused: there is no such entry.
        SourceUnavailable: the message is of an impossible length.
    """
    while True:
        for kind, message in messages(asked.recv(_ANSWER)):
            if nl.NLMSGHDR.unpack_from(message)[3] == sequence:  # else it answers an earlier request
                if kind == nl.NLMSG_ERROR:
                    _check(message)
                return message


@contextlib.contextmanager
def _ask(kind: int, flags: int, body: bytes, *arguments: bytes) -> Iterator[socket.socket]:
    """Yield a socket that the kernel answers on."""
    with open_socket() as asked:
        asked.setsockopt(nl.SOL_NETLINK, nl.NETLINK_GET_STRICT_CHK, 1)  # or the kernel would ignore the filters
        asked.send(request(kind, flags, body, *arguments))
        yield asked


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what goes wrong within the block into `SourceUnavailable`."""
    try:
        yield
    except TimeoutError as error:
        raise SourceUnavailable("netlink: the kernel does not answer") from error
    except OSError as error:
        raise SourceUnavailable(f"netlink: {error.strerror}") from error
    except struct.error as error:
        raise SourceUnavailable("netlink: a message that cannot be read") from error


def messages(octets: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield type and octets of each message; raise `SourceUnavailable` if there is none, or one of an odd length."""
    if not octets:
        raise SourceUnavailable("netlink: an empty answer")
    view, offset = memoryview(octets), 0
    while offset + nl.HEADER_LENGTH <= len(octets):
        length, kind, _, _, _ = nl.NLMSGHDR.unpack_from(octets, offset)
        if not nl.HEADER_LENGTH <= length <= len(octets) - offset:
            raise SourceUnavailable("netlink: a message of an impossible length")
        yield kind, view[offset : offset + length]
        offset += length + 3 & ~3


def _check(message: memoryview) -> None:
    if len(message) < nl.HEADER_LENGTH + 4:
        raise SourceUnavailable("netlink: an end that does not say how it ended")
    (number,) = struct.unpack_from("=i", message, nl.HEADER_LENGTH)
    if number:
        raise Refused(-number if -_ERRNO_MAX <= number < 0 else errno.EPROTO)
