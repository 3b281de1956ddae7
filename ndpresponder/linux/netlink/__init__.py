"""The kernel's links, addresses, neighbors and routes, by netlink. The only package that imports pyroute2.

`changes` waits until something changed, `asking` asks, `layout` says what the octets mean. The other modules know what
to ask and what the answer means. Unless it says otherwise, whatever asks raises `SourceUnavailable` when the kernel
cannot be asked now. pyroute2 is imported for WireGuard alone: it costs 12 MB and 85 ms.
"""

from ndpresponder.linux.netlink.link import MAX_SERVED_GATEWAYS, Link
from ndpresponder.linux.netlink.links import Links, LinkWatcher, ask_links
from ndpresponder.linux.netlink.neighbors import GatewayWatcher, is_reachable

__all__ = ["MAX_SERVED_GATEWAYS", "GatewayWatcher", "Link", "LinkWatcher", "Links", "ask_links", "is_reachable"]
