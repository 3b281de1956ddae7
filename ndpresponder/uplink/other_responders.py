"""Who else answers for our addresses: the kernel, by its proxy entries, and other programs on this host.

Two answers from two places make a router's entry flap. Each rival is told once when it is found, and again only after
it was gone.
"""

import asyncio
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address
from typing import Final

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.interface import answers_by_proxy
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.netlink.proxies import proxied_on
from ndpresponder.linux.other_responders import responders
from ndpresponder.linux.slow_calls import SlowCalls
from ndpresponder.observe.logs import get_logger

_EVERY_S: Final = 60.0
_FIRST_S: Final = 1.0  # the start comes first

Uplinks = Callable[[], Iterable[tuple[Link | None, Callable[[bytes], bool]]]]


async def rivals(link: Link, is_ours: Callable[[bytes], bool]) -> list[str]:
    """Say who else answers on a link, for the targets of which `is_ours` is true; nothing if it cannot be found out."""
    try:
        return [*await _kernel(link, is_ours), *await programs()]
    except (SourceUnavailable, OSError):
        return []  # it is advice, no more


async def _kernel(link: Link, is_ours: Callable[[bytes], bool]) -> list[str]:
    if not answers_by_proxy(link.device):
        return []
    shared = sorted(address for address in await proxied_on(link.index) if is_ours(address))
    if not shared:
        return []
    first, more = IPv6Address(shared[0]), f" and {len(shared) - 1} more" if len(shared) > 1 else ""
    mend = f"ip -6 neighbor del proxy {first} dev {link.device}"
    return [f"the kernel answers on {link.name} as well, by proxy entries for {first}{more}: {mend}"]


async def programs() -> list[str]:
    """Say which other programs may answer.

    Raises:
        SourceUnavailable: /proc does not answer.
    """
    found = await SlowCalls("/proc").call(responders)
    return [
        f"{name}, process {number}, may answer as well: stop it, or exclude here what it answers for"
        for number, name in found
    ]


class RivalWatch:
    """Looks for rivals now and then."""

    def __init__(self, uplinks: Uplinks) -> None:
        """Look at the links of `uplinks`, each with what tells whether a target is answered for there."""
        self._uplinks = uplinks
        self._said: set[str] = set()
        self._log = get_logger()

    async def run(self) -> None:
        """Look until cancelled."""
        await asyncio.sleep(_FIRST_S)
        while True:
            found = {said for link, is_ours in self._uplinks() if link for said in await rivals(link, is_ours)}
            for why in sorted(found - self._said):
                self._log.warning("another proxy is at work on this host", why=why)
            self._said = found
            await asyncio.sleep(_EVERY_S)
