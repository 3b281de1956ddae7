"""Ask this host about the uplinks of a configuration, as the daemon does when it starts: to judge them as it would."""

import asyncio
from collections.abc import Collection
from ipaddress import IPv6Address, IPv6Network

from ndpresponder.errors import NdpresponderError
from ndpresponder.linux.loop import frame_loop
from ndpresponder.linux.netlink import Link, Links, ask_links
from ndpresponder.linux.other_responders import rivals
from ndpresponder.linux.suitability import troubles


def present(names: Collection[str]) -> Links:
    """Return the links of these names, None for one that does not exist; nothing if the kernel cannot be asked."""
    try:
        with asyncio.Runner(loop_factory=frame_loop) as runner:
            return runner.run(ask_links(names))
    except (NdpresponderError, OSError):  # a sandbox without netlink: the settings are judged all the same
        return {}


def troubles_on(link: Link, prefixes: Collection[IPv6Network]) -> list[str]:
    """Say what keeps a link from being of use, and who else answers there for what lies in `prefixes`."""

    def is_ours(target: bytes) -> bool:
        return any(IPv6Address(target) in prefix for prefix in prefixes)

    found = list(troubles(link))
    try:
        with asyncio.Runner(loop_factory=frame_loop) as runner:
            return found + runner.run(rivals(link, is_ours))
    except OSError:  # too few descriptors are left
        return found
