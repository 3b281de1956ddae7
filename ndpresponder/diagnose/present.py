"""Ask the kernel about the uplinks of a configuration, as the daemon does when it starts: to judge them as it would."""

import asyncio
from collections.abc import Collection

from ndpresponder.errors import NdpresponderError
from ndpresponder.linux.netlink import Links, ask_links


def present(names: Collection[str]) -> Links:
    """Return the links of these names, None for one that does not exist; nothing if the kernel cannot be asked."""
    try:
        return asyncio.run(ask_links(names))
    except (NdpresponderError, OSError):  # a sandbox without netlink: what /sys says is told all the same
        return {}
