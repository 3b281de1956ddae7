"""The kernel's links, addresses, neighbors and routes, by netlink. The only package that imports pyroute2.

`changes` waits until something changed, `asking` and `requests` ask (on plain sockets, and by pyroute2), `layout` says
what the octets mean. The other modules know what to ask and what the answer means.
"""

from ndpresponder.linux.netlink.link import MAX_SERVED_GATEWAYS, Link
from ndpresponder.linux.netlink.links import Links, LinkWatcher, ask_links
from ndpresponder.linux.netlink.neighbors import GatewayWatcher, is_reachable

__all__ = ["MAX_SERVED_GATEWAYS", "GatewayWatcher", "Link", "LinkWatcher", "Links", "ask_links", "is_reachable"]
