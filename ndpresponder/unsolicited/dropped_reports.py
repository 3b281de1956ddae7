"""Find out that a provider's filter drops the MLD reports, so that no solicitation arrives, and log what helps.

Reports come from a link-local address. If no solicitation arrives although a router or bridge queries for listeners,
the daemon solicits the gateways from a global address and from a link-local one. If they answer the first only, the
filter is the reason. The daemon sends no more than that, once for each link, and logs no other possible reason.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ndpresponder.linux.loop import beat, wait
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.packet.listener import Ear
from ndpresponder.observe.logs import Logger
from ndpresponder.wire.addresses import best_source, is_link_local
from ndpresponder.wire.advertisement import read_advertisement
from ndpresponder.wire.filters import advertisements_of
from ndpresponder.wire.solicitation import solicit

_LOOK_S: Final = 5.0
_SILENCE_S: Final = 20.0  # without a solicitation before the filter is suspected
_ATTEMPTS: Final = 3  # RFC 4861 10: MAX_MULTICAST_SOLICIT
_ANSWER_S: Final = 1.0  # RFC 4861 10: RETRANS_TIMER
_GATEWAYS: Final = 4  # that are solicited: the first served ones


@dataclass(frozen=True, slots=True)
class DroppedReports:
    """The watch over one uplink that reports from link-local addresses."""

    link: Callable[[], Link | None]  # returns the uplink's while it is up
    heard: Callable[[], int]  # counts frames that show that reports arrive
    expects: Callable[[], bool]  # tells whether there are targets
    send: Callable[[list[bytes]], None]  # solicits the gateways
    log: Logger

    async def run(self) -> None:
        """Look again and again, until something is heard or the reason is known, for each link.

        Raises:
            LinkNotReady, SourceUnavailable: answers cannot be heard now; run again.
        """
        known: int | None = None  # the index of the link of which it is known
        before, silent_s = self.heard(), 0.0
        while True:
            await beat(_LOOK_S)
            link, now = self.link(), self.heard()
            if link is None or link.index == known or not self.expects():
                silent_s = 0.0
            elif now != before:
                known = link.index
            else:
                silent_s += _LOOK_S
                if silent_s >= _SILENCE_S and _is_queried(link.device) and await self._judge(link):
                    known = link.index
            before = now

    async def _judge(self, link: Link) -> bool:
        """Solicit, and warn if the filter is the reason; return False while there is no gateway, or no source."""
        gateways = link.served_gateways[:_GATEWAYS]
        local = min(filter(is_link_local, link.sources), default=None)
        routed = best_source(link.sources, gateways[0]) if gateways else None
        if local is None or routed is None:
            return False
        if await self._is_answered(link, routed, gateways) and not await self._is_answered(link, local, gateways):
            self.log.warning(
                "no solicitation is heard, and what comes from a link-local address is dropped on the way, so that a "
                "bridge may not learn what is listened to",
                setting='mld_source = "both"',
            )
        return True

    async def _is_answered(self, link: Link, source: bytes, gateways: list[bytes]) -> bool:
        """Tell whether a gateway answers a solicitation from `source`."""
        answered = asyncio.Event()

        def take(frame: bytes) -> None:
            heard = read_advertisement(frame)
            if heard is not None and heard.destination == source:
                answered.set()

        with contextlib.closing(Ear(advertisements_of(gateways), take)) as ear:
            ear.open(link.device)
            for _ in range(_ATTEMPTS):
                self.send([solicit(link.lladdr, source, gateway) for gateway in gateways])
                await wait(answered, _ANSWER_S)
                if answered.is_set():
                    return True
        return False


def _is_queried(device: str) -> bool:
    """Tell whether the kernel has received a query for multicast listeners on `device`: then a bridge may snoop."""
    with contextlib.suppress(OSError):
        counters = Path("/proc/self/net/dev_snmp6", device).read_text()
        return re.search(r"^Icmp6InGroupMembQueries\s+[1-9]", counters, re.MULTILINE) is not None
    return False
