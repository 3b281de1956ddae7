"""The addresses that the peers of a WireGuard interface may use: its allowed-ips, live while a peer is active.

A session ends 180 s after its handshake (WireGuard 6.1, Reject-After-Time); a peer that sends anything starts the next
one after 120 s. So a peer whose last handshake is older is silent, and its addresses are merely claimed. No event tells
of a handshake: the source asks every `POLL_S`.
"""

import socket
import time
from collections.abc import Callable
from functools import partial
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
from ndpresponder.targets.source import NOTHING, Source, TargetSet, of_prefixes

RECENT_S: Final = 180
POLL_S: Final = 5.0


class WireguardSource(Source):
    """The targets behind one WireGuard interface; without the interface there are none."""

    kind = "wireguard"

    def __init__(self, name: str, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self._clock = clock
        self._log = get_logger(wireguard=name)
        self._wide: frozenset[Prefix] = frozenset()

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        await Changes(changes.LINK).follow(partial(self._look, publish), POLL_S)

    async def _look(self, publish: Callable[[TargetSet], None]) -> None:
        peers = await programs.peers(self.name)
        if peers is None:
            peers = await kernel.peers(self.name)
        if peers is None:
            if all(name != self.name for _, name in socket.if_nameindex()):
                publish(NOTHING)
                return
            hidden = f"{programs.socket_of(self.name)} is hidden from us (the unit does: follow the routes instead)"
            raise SourceUnavailable(f"{self.name} is not a WireGuard interface, or {hidden}")
        targets, wide = as_targets(self.name, peers, self._clock())
        for prefix in sorted(wide - self._wide):
            why = f"an allowed prefix wider than /{WIDEST} is ignored; claim it in the configuration if it is meant"
            self._log.warning(why, prefix=f"{IPv6Address(prefix.value)}/{prefix.length}")
        self._wide = wide
        publish(targets)


def as_targets(name: str, peers: list[Peer], now_s: float) -> tuple[TargetSet, frozenset[Prefix]]:
    """Return the targets of `peers` at `now_s` (Unix time), and the prefixes that are too wide to be claimed."""
    recent, silent = set[Prefix](), set[Prefix]()
    for peer in peers:
        allowed = recent if now_s - peer.last_handshake_s < RECENT_S else silent
        allowed.update(Prefix(int.from_bytes(address, "big"), length) for address, length in peer.allowed)
    wide = frozenset(prefix for prefix in recent | silent if prefix.length < WIDEST)
    active = of_prefixes(recent)
    return TargetSet(active.live, (active.claimed | silent) - wide, {name: active.live}), wide
