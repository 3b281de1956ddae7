"""See the advertisements that leave the VPS, on the hypervisor's side, before any filter drops them.

Reads with a few slices of its own: what watches the responder must not share the responder's code.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Self

from ndpresponder.lab.topology import Lab

_ETH_P_ALL = 3  # a socket for IPv6 alone would come after the bridge has taken the frame
_ETH_P_IPV6 = b"\x86\xdd"
_ICMPV6 = 58
_ADVERTISEMENT = 136
_FLAGS: Mapping[int, str] = {0x80: "Router", 0x40: "Solicited", 0x20: "Override"}


@dataclass(frozen=True, slots=True)
class Advertisement:
    """One neighbor advertisement as it was on the wire, as text."""

    lladdr_source: str
    lladdr_destination: str
    source: str
    destination: str
    target: str
    flags: tuple[str, ...]


class AdvertisementWatch:
    """Collects the advertisements the VPS of a lab sends while the context is open."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def __enter__(self) -> Self:
        with self._lab["hv"].enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.bind(("p-vps", _ETH_P_ALL))
        self._socket.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def take(self, target: str) -> list[Advertisement]:
        """Return the advertisements for `target` since the last call, oldest first."""
        seen: list[Advertisement] = []
        while True:
            try:
                frame, address = self._socket.recvfrom(2048)
            except BlockingIOError:
                return seen
            if address[2] != socket.PACKET_OUTGOING:  # sent towards the VPS
                advertisement = _parse(frame)
                if advertisement and advertisement.target == target:
                    seen.append(advertisement)


def _parse(frame: bytes) -> Advertisement | None:
    if len(frame) < 78 or frame[12:14] != _ETH_P_IPV6 or frame[20] != _ICMPV6 or frame[54] != _ADVERTISEMENT:
        return None
    return Advertisement(
        lladdr_source=frame[6:12].hex(":"),
        lladdr_destination=frame[0:6].hex(":"),
        source=str(IPv6Address(frame[22:38])),
        destination=str(IPv6Address(frame[38:54])),
        target=str(IPv6Address(frame[62:78])),
        flags=tuple(name for bit, name in _FLAGS.items() if frame[58] & bit),
    )
