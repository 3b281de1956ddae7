"""What this host's /proc and /sys say about links, addresses and routes, for advice to a person.

It must never decide what is answered: the daemon learns that from netlink. Whatever cannot be read is empty.
"""

import os
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

ARPHRD_ETHER = 1
_RTF_REJECT = 0x200
_RTF_GATEWAY = 0x2


class Host:
    """A view of one host, below a root that tests replace."""

    def __init__(self, root: str = "/") -> None:
        self.root = Path(root)

    def _rows(self, name: str) -> list[list[str]]:
        try:
            return [row.split() for row in (self.root / "proc/net" / name).read_text().splitlines()]
        except (OSError, UnicodeDecodeError):
            return []

    def _default_routes(self) -> list[tuple[int, str, str]]:
        """Return (metric, interface, gateway in hexadecimal) of each IPv6 default route, best first."""
        routes = []
        for row in self._rows("ipv6_route"):
            if len(row) == 10 and row[0] == "0" * 32 and row[1] == "00" and row[9] != "lo":
                flags = int(row[8], 16)
                if not flags & _RTF_REJECT:
                    routes.append((int(row[5], 16), row[9], row[4] if flags & _RTF_GATEWAY else ""))
        return sorted(routes)

    def default_uplink(self) -> str:
        """Return the interface of the best IPv6 default route, or an empty string."""
        return next((name for _, name, _ in self._default_routes()), "")

    def gateways(self, interface: str) -> list[IPv6Address]:
        """Return the next hops of the default routes through an interface."""
        return [
            IPv6Address(int(gateway, 16))
            for _, name, gateway in self._default_routes()
            if name == interface and gateway
        ]

    def addresses(self, interface: str) -> list[IPv6Address]:
        """Return the interface's own addresses."""
        return [IPv6Address(int(row[0], 16)) for row in self._addresses(interface)]

    def networks(self, interface: str) -> list[IPv6Network]:
        """Return the prefixes that the interface's addresses put on its link."""
        found = [
            IPv6Network((int(row[0], 16), int(row[2], 16)), strict=False)
            for row in self._addresses(interface)
            if row[2] != "80"
        ]
        return [network for network in found if not network.is_link_local]

    def _addresses(self, interface: str) -> list[list[str]]:
        return [row for row in self._rows("if_inet6") if len(row) == 6 and row[5] == interface]

    def interfaces(self) -> list[str]:
        """Return the names of all interfaces."""
        try:
            return sorted(name for name in os.listdir(self.root / "sys/class/net") if name != "bonding_masters")
        except OSError:
            return []

    def link_type(self, interface: str) -> int | None:
        """Return the ARPHRD type of an interface, None when it cannot be read."""
        try:
            return int((self.root / "sys/class/net" / interface / "type").read_text())
        except (OSError, ValueError):
            return None
