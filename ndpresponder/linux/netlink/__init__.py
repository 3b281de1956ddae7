"""What the kernel says, followed by netlink. The only package that imports pyroute2.

`changes` waits until something changed, `requests` asks, the other modules know what to ask and what the answer means.
"""

from ndpresponder.linux.netlink.gateway_entries import GatewayWatcher
from ndpresponder.linux.netlink.links import MAX_SERVED_GATEWAYS, Link, Links, LinkWatcher, ask_links, is_reachable

__all__ = ["MAX_SERVED_GATEWAYS", "GatewayWatcher", "Link", "LinkWatcher", "Links", "ask_links", "is_reachable"]
