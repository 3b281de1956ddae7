"""The addresses that the peers of a WireGuard interface may use: its allowed-ips, live while a peer is to be heard.

A session ends 180 s after its handshake (WireGuard 6.1, Reject-After-Time); a peer that says anything makes the next
one after 120 s. So a peer whose last handshake is older is silent, and its address merely claimed. Nothing tells of a
handshake: the interface is asked again and again.
"""

import socket
import time
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Final

from ndpresponder.config.checks import WIDEST
from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux import wireguard_uapi as programs
from ndpresponder.linux.netlink import changes
from ndpresponder.linux.netlink import wireguard as kernel
from ndpresponder.linux.netlink.changes import Changes
from ndpresponder.linux.wireguard_uapi import Peer
from ndpresponder.observe.logs import get_logger
from ndpresponder.policy.table import Prefix
from ndpresponder.targets.source import NOTHING, TargetSet

RECENT_S: Final = 180
POLL_S: Final = 5.0


class WireguardSource:
    """The targets behind one WireGuard interface; without the interface there are none."""

    kind = "wireguard"

    def __init__(self, name: str, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.uplinks: frozenset[str] | None = None
        self._clock = clock
        self._log = get_logger(wireguard=name)
        self._refused: frozenset[Prefix] = frozenset()

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        """Publish what the interface says now, every five seconds, and when an interface changes.

        Raises:
            SourceUnavailable: it does not say.
        """

        async def look() -> None:
            publish(await self._ask())

        await Changes(changes.LINK).follow(look, POLL_S)

    async def _ask(self) -> TargetSet:
        peers = await programs.peers(self.name)
        if peers is None:
            peers = await kernel.peers(self.name)
        if peers is None:
            if any(name == self.name for _, name in socket.if_nameindex()):
                hidden = (
                    f"or {programs.socket_of(self.name)} is hidden from us (the unit does: follow the routes instead)"
                )
                raise SourceUnavailable(f"{self.name} is not a WireGuard interface, {hidden}")
            return NOTHING
        targets, refused = as_targets(self.name, peers, self._clock())
        for prefix in sorted(refused - self._refused):
            self._log.warning(
                f"an allowed prefix wider than /{WIDEST} is ignored; claim it in the configuration if it is meant",
                prefix=f"{IPv6Address(prefix.value)}/{prefix.length}",
            )
        self._refused = refused
        return targets


def as_targets(name: str, peers: list[Peer], now_s: float) -> tuple[TargetSet, frozenset[Prefix]]:
    """Return what `peers` make ours at `now_s` (Unix time), and the prefixes that are too wide to be believed."""
    live: set[bytes] = set()
    claimed: set[Prefix] = set()
    refused: set[Prefix] = set()
    for peer in peers:
        recent = now_s - peer.last_handshake_s < RECENT_S
        for address, length in peer.allowed:
            prefix = Prefix(int.from_bytes(address, "big"), length)
            if length < WIDEST:
                refused.add(prefix)
            elif length == 128 and recent:
                live.add(address)
            else:
                claimed.add(prefix)
    return TargetSet(frozenset(live), frozenset(claimed), {name: frozenset(live)}), frozenset(refused)
