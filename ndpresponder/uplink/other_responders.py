"""Who else answers for our addresses: the kernel, by its proxy entries, and other programs on this host.

Two answers from two places make a router's entry flap.
"""

from collections.abc import Callable
from ipaddress import IPv6Address

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.interface import answers_by_proxy
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.netlink.proxies import proxied_on
from ndpresponder.linux.other_responders import responders
from ndpresponder.linux.slow_calls import SlowCalls


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
