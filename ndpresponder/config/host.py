"""Read this host's links, addresses and routes from /proc and /sys, for advice to a person.

Nothing that is answered depends on it: the daemon asks netlink. A file that cannot be read counts as empty.
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

    def _rows(self, name: str, columns: int) -> list[list[str]]:
        try:
            rows = [row.split() for row in (self.root / "proc/net" / name).read_text().splitlines()]
        except (OSError, UnicodeDecodeError):
            return []
        return [row for row in rows if len(row) == columns]

    def _default_routes(self) -> list[tuple[int, str, str]]:
        """Return (metric, interface, gateway in hexadecimal) of each IPv6 default route, best first."""
        return sorted(
            (int(row[5], 16), row[9], row[4] if int(row[8], 16) & _RTF_GATEWAY else "")
            for row in self._rows("ipv6_route", 10)
            if row[:2] == ["0" * 32, "00"] and row[9] != "lo" and not int(row[8], 16) & _RTF_REJECT
        )

    def default_uplink(self) -> str:
        """Return the interface of the best IPv6 default route, or an empty string."""
        return next((name for _, name, _ in self._default_routes()), "")

    def gateways(self, interface: str) -> list[IPv6Address]:
        """Return the next hops of the default routes through an interface."""
        found = [gateway for _, name, gateway in self._default_routes() if name == interface]
        return [IPv6Address(int(gateway, 16)) for gateway in found if gateway]

    def addresses(self, interface: str) -> list[IPv6Address]:
        return [IPv6Address(int(row[0], 16)) for row in self._rows("if_inet6", 6) if row[5] == interface]

    def networks(self, interface: str) -> list[IPv6Network]:
        """Return the prefixes that the interface's addresses put on its link."""
        rows = [row for row in self._rows("if_inet6", 6) if row[5] == interface and row[2] != "80"]
        found = [IPv6Network((int(row[0], 16), int(row[2], 16)), strict=False) for row in rows]
        return [network for network in found if not network.is_link_local]

    def interfaces(self) -> list[str]:
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
