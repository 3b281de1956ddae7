"""Questions to the kernel, each on a pyroute2 object of its own: one whose events nobody reads would grow."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

from ndpresponder.errors import SourceUnavailable

# linux/netlink.h
_SOL_NETLINK: Final = 270
_STRICT_CHECK: Final = 12  # the kernel selects by what a dump's header says
_RECEIVE_BUFFER: Final = 1 << 20

_STALLED_S: Final = 5.0


class Interrupted(Exception):
    """Something changed while the kernel answered: the answer may be inconsistent, and an event follows."""


@contextlib.contextmanager
def netlink_socket(protocol: int) -> Iterator[socket.socket]:
    """Yield a socket for one pyroute2 object, which closes none whose options the kernel refuses.

    Raises:
        OSError: the kernel refuses it.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, protocol) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)  # lowered to net.core.rmem_max
        yield own


@contextlib.asynccontextmanager
async def asking(within_s: float = _STALLED_S) -> AsyncIterator[Any]:
    """Yield an object to ask with, for at most so long: pyroute2 waits for ever if epoll(7) refuses its socket.

    Raises:
        Interrupted: ask again.
        SourceUnavailable: the kernel cannot be asked now.
    """
    try:
        with netlink_socket(socket.NETLINK_ROUTE) as own:
            own.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
            async with asyncio.timeout(within_s), AsyncIPRoute(strict_check=True, use_socket=own) as netlink:
                yield netlink
    except NetlinkDumpInterrupted as error:
        raise Interrupted from error
    except TimeoutError as error:
        raise SourceUnavailable("netlink: the kernel does not answer") from error
    except (NetlinkError, OSError) as error:
        raise SourceUnavailable(f"netlink: {error}") from error


def is_error(error: Exception, *numbers: int) -> bool:
    """Tell whether `error` is the kernel's answer with one of the errno `numbers`."""
    return isinstance(error, NetlinkError) and error.code in numbers


def packed(address: str) -> bytes:
    """Return the 16 octets of an address as pyroute2 writes it."""
    return socket.inet_pton(socket.AF_INET6, address)
