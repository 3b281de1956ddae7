"""Permanent neighbor entries, marked as ours, so that nobody else's is ever changed or removed."""

import errno
import socket
from dataclasses import dataclass
from typing import Any, Final

from pyroute2.netlink.exceptions import NetlinkError

from ndpresponder.linux.netlink.admin import PROTOCOL, needing_net_admin
from ndpresponder.linux.netlink.requests import asking, is_error

# linux/neighbour.h
_STALE: Final = 0x04
_PERMANENT: Final = 0x80
_GONE: Final = (errno.ENOENT, errno.ENODEV, errno.ENETDOWN)
_FEATURE: Final = "pin_gateway"


@dataclass(frozen=True, slots=True)
class Pin:
    """A permanent neighbor entry."""

    lladdr: bytes
    ours: bool


async def find_pin(index: int, address: bytes) -> Pin | None:
    """Return the entry for `address` on the link `index` if it is permanent.

    Raises:
        SourceUnavailable: the kernel cannot be asked now.
    """
    async with asking() as netlink:
        return await _find(netlink, _entry(index, address))


async def pin(index: int, address: bytes, lladdr: bytes) -> bool:
    """Make the entry for `address` permanent; return whether the link still takes it.

    Raises:
        PermissionMissing: CAP_NET_ADMIN is missing.
        SourceUnavailable: the kernel cannot be asked now.
    """
    return await _replace(_entry(index, address), lladdr, state=_PERMANENT, protocol=PROTOCOL)


async def unpin(index: int, address: bytes) -> None:
    """Turn a permanent entry of ours into an ordinary one that the kernel will confirm before long.

    Raises:
        PermissionMissing: CAP_NET_ADMIN is missing.
        SourceUnavailable: the kernel cannot be asked now.
    """
    entry = _entry(index, address)
    async with asking() as netlink:
        found = await _find(netlink, entry)
        if found is None or not found.ours:
            return
        try:
            with needing_net_admin(_FEATURE):
                await netlink.neigh("del", **entry)  # nothing else takes our mark away
        except NetlinkError as error:
            if not is_error(error, *_GONE):
                raise
            return
    await _replace(entry, found.lladdr, state=_STALE)


def _entry(index: int, address: bytes) -> dict[str, Any]:
    return {"family": socket.AF_INET6, "ifindex": index, "dst": socket.inet_ntop(socket.AF_INET6, address)}


async def _find(netlink: Any, entry: dict[str, Any]) -> Pin | None:
    try:
        (found,) = await netlink.neigh("get", **entry)
    except NetlinkError as error:
        if is_error(error, *_GONE):
            return None
        raise
    if not found["state"] & _PERMANENT:
        return None
    return Pin(bytes.fromhex((found.get("lladdr") or "").replace(":", "")), found.get("protocol") == PROTOCOL)


async def _replace(entry: dict[str, Any], lladdr: bytes, **fields: int) -> bool:
    async with asking() as netlink:
        try:
            with needing_net_admin(_FEATURE):
                await netlink.neigh("replace", **entry, lladdr=lladdr.hex(":"), **fields)
        except NetlinkError as error:
            if not is_error(error, *_GONE):
                raise
            return False
    return True
