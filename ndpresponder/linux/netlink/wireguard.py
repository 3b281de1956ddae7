"""What a WireGuard interface of the kernel's own says of its peers, by generic netlink. Needs CAP_NET_ADMIN.

pyroute2 finds the protocol and speaks it; of the answer it hands out the peers as octets, because what it would make
of a thousand addresses blocks the event loop for a while.
"""

import asyncio
import errno
import socket
import struct
from typing import Final

from pyroute2.netlink import genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.wireguard import AsyncWireGuard

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink import layout as nl
from ndpresponder.linux.wireguard_uapi import Peer, allowed_ip

_SLICE: Final = 4096  # octets that are read at once
_RECEIVE_BUFFER: Final = 1 << 20
_STALLED_S: Final = 5.0  # pyroute2 waits for ever if epoll(7) refuses its socket

# linux/wireguard.h: WGPEER_A_*, WGALLOWEDIP_A_*
_PUBLIC_KEY, _LAST_HANDSHAKE_TIME, _ALLOWEDIPS = 1, 6, 9
_FAMILY, _ADDRESS, _LENGTH = 1, 2, 3

_Merged = dict[bytes, tuple[int, list[tuple[bytes, int]]]]  # public key -> last handshake, allowed


class _Device(genlmsg):  # type: ignore[misc]  # the library leaves it untyped
    """WGDEVICE_A_*, of which nothing is decoded: the private key least of all."""

    prefix = "WGDEVICE_A_"
    nla_map = (
        *((f"WGDEVICE_A_{number}", "none") for number in range(8)),
        ("WGDEVICE_A_PEERS", "cdata"),
    )


class _Netlink(AsyncWireGuard):  # type: ignore[misc]
    module_err_level = "debug"  # a kernel without WireGuard is no error: a program may implement it


async def peers(name: str) -> list[Peer] | None:
    """Return the peers of the interface `name`; None when there is no such interface of the kernel's."""
    merged: _Merged = {}
    try:
        # pyroute2 leaves a socket open whose options the kernel refuses
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, nl.NETLINK_GENERIC) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)  # lowered to net.core.rmem_max
            async with asyncio.timeout(_STALLED_S), _Netlink(use_socket=own, rcvsize=_SLICE) as netlink:
                await netlink.setup_endpoint()  # `info` needs the number of the protocol before it would ask for it
                netlink.marshal.msg_map[netlink.prid] = _Device
                async for message in await netlink.info(name):
                    for _, peer in nl.attributes(message.get("peers") or b""):
                        _merge(merged, peer)
                    await asyncio.sleep(0)
    except TimeoutError as error:
        raise SourceUnavailable("netlink: the kernel does not answer") from error
    except NetlinkError as error:
        if error.code in (errno.ENODEV, errno.ENOENT, errno.EOPNOTSUPP):
            return None
        if error.code == errno.EPERM:
            needed = "only CAP_NET_ADMIN may see its peers (systemd: install ndpresponder-net-admin.conf)"
            raise SourceUnavailable(f"{name}: {needed}") from error
        raise SourceUnavailable(f"netlink: {error}") from error
    except (OSError, ValueError) as error:
        raise SourceUnavailable(f"netlink: {error}") from error
    return [Peer(handshake_s, tuple(allowed)) for handshake_s, allowed in merged.values()]


def _merge(merged: _Merged, octets: bytes) -> None:
    """Add one part of a peer: its allowed addresses go on in further messages, which repeat its key alone."""
    peer = dict(nl.attributes(octets))
    known_s, allowed = merged.get(peer[_PUBLIC_KEY], (0, []))
    handshake_s = struct.unpack_from("=q", peer[_LAST_HANDSHAKE_TIME])[0] if _LAST_HANDSHAKE_TIME in peer else 0
    for _, entry in nl.attributes(peer.get(_ALLOWEDIPS, b"")):
        fields = dict(nl.attributes(entry))
        if struct.unpack("=H", fields[_FAMILY])[0] == socket.AF_INET6:
            allowed.append(allowed_ip(fields[_ADDRESS], fields[_LENGTH][0]))
    merged[peer[_PUBLIC_KEY]] = (max(known_s, handshake_s), allowed)
