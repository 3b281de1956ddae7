"""Keeps the kernel's own neighbor entry of each default gateway alive, with CAP_NET_RAW alone.

For packets it forwards, the kernel solicits its gateway from a link-local address, and a provider's anti-spoofing
filter drops that; once the entry is no longer REACHABLE, all that lives behind the host falls silent. A solicitation
from one of the uplink's global addresses passes, and the gateway's answer to it confirms the kernel's entry as well.
"""

from collections.abc import Callable
from typing import Final, NoReturn

from ndpresponder.linux.loop import beat
from ndpresponder.linux.netlink import Link, is_reachable
from ndpresponder.wire.addresses import best_source
from ndpresponder.wire.solicitation import solicit

# Also how soon an entry that is no longer REACHABLE is noticed; it works for another 8 s (RFC 4861 10), or less where
# the host's timers are shorter
INTERVAL_S: Final = 1.0
_LATE_S: Final = 0.05  # by which the one before may have been


async def keep_alive(link: Callable[[], Link | None], send: Callable[[list[bytes]], None], always: bool) -> NoReturn:
    """Solicit with `send` the gateways of the uplink that `link` returns, while it is up.

    Raises:
        SourceUnavailable: the kernel cannot be asked now; run again.
    """
    while True:
        if frames := solicitations(link(), always, is_reachable):
            send(frames)
        await beat(INTERVAL_S, INTERVAL_S - _LATE_S)


def solicitations(link: Link | None, always: bool, is_reachable: Callable[[int, bytes], bool]) -> list[bytes]:
    """Return what to solicit the gateways with: `always`, or if the link forwards and one of them is not reachable."""
    frames: list[bytes] = []
    if link is None or not (always or link.forwarding):
        return frames
    for gateway in link.served_gateways:
        source = best_source(link.sources, gateway)
        if source is not None and (always or not is_reachable(link.index, gateway)):
            frames.append(solicit(link.lladdr, source, gateway))
    return frames
