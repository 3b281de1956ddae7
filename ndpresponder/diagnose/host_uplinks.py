"""Ask this host about the uplinks of a configuration, as the daemon does when it starts: to judge them as it would."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from ipaddress import IPv6Address, IPv6Network
from typing import Any, TypeVar

from ndpresponder.errors import NdpresponderError
from ndpresponder.linux.loop import frame_loop
from ndpresponder.linux.netlink import Link, Links, ask_links
from ndpresponder.linux.other_responders import rivals

T = TypeVar("T")


def present(names: Collection[str]) -> Links:
    """Return the links of these names, None for one that does not exist; nothing if the kernel cannot be asked."""
    try:
        return _run(lambda: ask_links(names))
    except (NdpresponderError, OSError):  # a sandbox without netlink: what /sys says is told all the same
        return {}


def rivals_on(link: Link, prefixes: Collection[IPv6Network]) -> list[str]:
    """Say who else answers on a link for what lies in `prefixes`."""

    def is_ours(target: bytes) -> bool:
        return any(IPv6Address(target) in prefix for prefix in prefixes)

    try:
        return _run(lambda: rivals(link, is_ours))
    except OSError:
        return []


def _run(ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run what `ask` returns, once there is a loop for it.

    Raises:
        OSError: there are too few descriptors left for one.
    """
    with asyncio.Runner(loop_factory=frame_loop) as runner:
        return runner.run(ask())
