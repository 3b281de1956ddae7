"""What the kernel says, followed by netlink. The only package that imports pyroute2.

`changes` tells that something changed, `requests` asks, the other modules know what to ask and what the answer means.
"""

from ndpresponder.linux.netlink.gateway_entries import StationWatcher
from ndpresponder.linux.netlink.links import MAX_SERVED_GATEWAYS, Link, Links, LinkWatcher, ask_links, is_reachable

__all__ = ["MAX_SERVED_GATEWAYS", "Link", "LinkWatcher", "Links", "StationWatcher", "ask_links", "is_reachable"]
