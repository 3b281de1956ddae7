"""What a WireGuard interface of the kernel's own says of its peers, by generic netlink. Needs CAP_NET_ADMIN."""

import errno
import socket
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.wireguard import AsyncWireGuard

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink.session import is_error
from ndpresponder.linux.wireguard import Peer


class _Netlink(AsyncWireGuard):  # type: ignore[misc]  # the library leaves it untyped
    module_err_level = "debug"  # a kernel without WireGuard is no error: a program may implement it


async def peers(name: str) -> list[Peer] | None:
    """Return the peers of the interface `name`; None when there is no such interface of the kernel's.

    Raises:
        SourceUnavailable: the kernel does not say, or not to us.
    """
    merged: dict[bytes, tuple[int, list[tuple[bytes, int]]]] = {}
    try:
        async with _Netlink() as netlink:
            await netlink.setup_endpoint()  # `info` needs the number of the protocol before it would ask for it
            async for message in await netlink.info(name):
                for peer in message.get("peers") or ():
                    _merge(merged, peer)
    except NetlinkError as error:
        if is_error(error, errno.ENODEV, errno.ENOENT, errno.EOPNOTSUPP):
            return None
        if is_error(error, errno.EPERM):
            needed = "only CAP_NET_ADMIN may see its peers (systemd: AmbientCapabilities=CAP_NET_RAW CAP_NET_ADMIN)"
            raise SourceUnavailable(f"{name}: {needed}") from error
        raise SourceUnavailable(f"netlink: {error}") from error
    except OSError as error:
        raise SourceUnavailable(f"netlink: {error}") from error
    return [Peer(handshake_s, tuple(allowed)) for handshake_s, allowed in merged.values()]


def _merge(merged: dict[bytes, tuple[int, list[tuple[bytes, int]]]], peer: Any) -> None:
    """Add one part of a peer: its allowed addresses go on in further messages, which repeat its key alone."""
    handshake = peer.get("last_handshake_time")
    handshake_s, allowed = merged.get(peer.get("public_key"), (0, []))
    for entry in peer.get("allowedips") or ():
        if entry.get("family") == socket.AF_INET6:
            address = bytes.fromhex(entry.get("ipaddr").replace(":", ""))
            allowed.append((address, entry.get("cidr_mask")))
    merged[peer.get("public_key")] = (max(handshake_s, handshake["tv_sec"] if handshake else 0), allowed)
