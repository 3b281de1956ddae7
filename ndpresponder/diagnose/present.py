"""Ask this host about the uplinks of a configuration, as the daemon does when it starts: to judge them as it would."""

import asyncio
from collections.abc import Collection
from ipaddress import IPv6Address, IPv6Network

from ndpresponder.errors import NdpresponderError
from ndpresponder.linux.netlink import Link, Links, ask_links
from ndpresponder.rivals import rivals


def present(names: Collection[str]) -> Links:
    """Return the links of these names, None for one that does not exist; nothing if the kernel cannot be asked."""
    try:
        return asyncio.run(ask_links(names))
    except (NdpresponderError, OSError):  # a sandbox without netlink: what /sys says is told all the same
        return {}


def rivals_on(link: Link, prefixes: Collection[IPv6Network]) -> list[str]:
    """Say who else answers on a link for what lies in `prefixes`."""

    def is_ours(target: bytes) -> bool:
        return any(IPv6Address(target) in prefix for prefix in prefixes)

    return asyncio.run(rivals(link, is_ours))
