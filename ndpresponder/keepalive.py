"""Keeps the kernel's own neighbor entry of each default gateway alive, with CAP_NET_RAW alone.

For packets it forwards, the kernel solicits its gateway from a link-local address, and a provider's anti-spoofing
filter drops that; once the entry is no longer REACHABLE, all that lives behind the host falls silent. A solicitation
from one of the uplink's global addresses passes, and the gateway's answer to it confirms the kernel's entry as well.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from ndpresponder.linux.netlink import Link
from ndpresponder.wire.addresses import is_global
from ndpresponder.wire.solicitation import solicit

INTERVAL_S: Final = 1.0
REACHABLE_INTERVAL_S: Final = 3.0  # an entry that stops being REACHABLE still works for 8 s (RFC 4861 10)


class GatewayKeepalive:
    """The keep-alive of one uplink."""

    def __init__(
        self,
        policy: Literal["auto", "always", "never"],
        link: Callable[[], Link | None],
        is_reachable: Callable[[int, bytes], Awaitable[bool]],
        send: Callable[[list[bytes]], None],
    ) -> None:
        """Solicit with `send` while `link` returns an uplink that is up; `is_reachable` asks the kernel."""
        self._policy = policy
        self._link = link
        self._is_reachable = is_reachable
        self._send = send

    async def run(self) -> None:
        """Solicit the gateways again and again.

        Raises:
            SourceUnavailable: the kernel cannot be asked now; run again.
        """
        if self._policy == "never":
            return
        while True:
            pause_s = await self.solicit_once()
            await asyncio.sleep(pause_s)

    async def solicit_once(self) -> float:
        """Solicit each gateway that needs it; return after how many seconds to look again."""
        link = self._link()
        if link is None or (self._policy == "auto" and not link.forwarding):
            return INTERVAL_S
        frames = []
        for gateway in sorted(link.gateways):
            source = _source_towards(gateway, link)
            if source is None:
                continue
            if self._policy == "always" or not await self._is_reachable(link.index, gateway):
                frames.append(solicit(link.lladdr, source, gateway))
        if frames and self._link() == link:
            self._send(frames)
        return INTERVAL_S if frames or not link.gateways else REACHABLE_INTERVAL_S


def _source_towards(gateway: bytes, link: Link) -> bytes | None:
    """Return the uplink's global address that has most leading bits in common with `gateway`."""
    value = int.from_bytes(gateway, "big")
    candidates = sorted(address for address in link.addresses if is_global(address))
    return min(candidates, key=lambda address: int.from_bytes(address, "big") ^ value, default=None)
