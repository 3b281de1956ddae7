"""Keeps the kernel's own neighbor entry of each default gateway alive, with CAP_NET_RAW alone.

For packets it forwards, the kernel solicits its gateway from a link-local address, and a provider's anti-spoofing
filter drops that; once the entry is no longer REACHABLE, all that lives behind the host falls silent. A solicitation
from one of the uplink's global addresses passes, and the gateway's answer to it confirms the kernel's entry as well.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn

from ndpresponder.linux.netlink import Link
from ndpresponder.wire.addresses import best_source
from ndpresponder.wire.solicitation import solicit

# Also how soon an entry that is no longer REACHABLE is noticed; it works for another 8 s (RFC 4861 10), or less where
# the host's timers are shorter
INTERVAL_S: Final = 1.0


class GatewayKeepalive:
    """The keep-alive of one uplink."""

    def __init__(
        self,
        always: bool,
        link: Callable[[], Link | None],
        is_reachable: Callable[[int, bytes], bool],
        send: Callable[[list[bytes]], None],
    ) -> None:
        """Solicit with `send` while `link` returns an uplink that is up; `always`, or where the kernel needs it."""
        self._always = always
        self._link = link
        self._is_reachable = is_reachable
        self._send = send

    async def run(self) -> NoReturn:
        """Solicit the gateways again and again.

        Raises:
            SourceUnavailable: the kernel cannot be asked now; run again.
        """
        while True:
            self.solicit_once()
            await asyncio.sleep(INTERVAL_S)

    def solicit_once(self) -> None:
        """Solicit each gateway that needs it now."""
        link = self._link()
        if link is None or not (self._always or link.forwarding):
            return
        frames = []
        for gateway in link.served_gateways:
            source = best_source(link.sources, gateway)
            if source is not None and (self._always or not self._is_reachable(link.index, gateway)):
                frames.append(solicit(link.lladdr, source, gateway))
        if frames:
            self._send(frames)
