"""Questions to the kernel, each on a pyroute2 object of its own: one whose events nobody reads would grow."""

import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

from ndpresponder.errors import SourceUnavailable


class Interrupted(Exception):
    """Something changed while the kernel answered: the answer may be inconsistent, and the bell has rung."""


@contextlib.asynccontextmanager
async def asking() -> AsyncIterator[Any]:
    """Yield an object to ask with.

    Raises:
        Interrupted: ask again.
        SourceUnavailable: the kernel cannot be asked now.
    """
    try:
        async with AsyncIPRoute(strict_check=True) as netlink:
            yield netlink
    except NetlinkDumpInterrupted as error:
        raise Interrupted from error
    except (NetlinkError, OSError) as error:
        raise SourceUnavailable(f"netlink: {error}") from error


def is_error(error: Exception, *numbers: int) -> bool:
    """Tell whether `error` is the kernel's answer with one of the errno `numbers`."""
    return isinstance(error, NetlinkError) and error.code in numbers


def packed(address: str) -> bytes:
    """Return the 16 octets of an address as pyroute2 writes it."""
    return socket.inet_pton(socket.AF_INET6, address)
