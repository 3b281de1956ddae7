"""Which interface takes the frames of another one before a packet socket on that one sees them."""

import errno
from typing import Any, Final

from pyroute2.netlink.exceptions import NetlinkError

from ndpresponder.linux.netlink.session import is_error

# Masters that leave the frames with their ports: a VRF only routes them, batman-adv takes nothing but its own protocol.
_LEAVE_FRAMES: Final = ("vrf", "batadv")
_TAPS: Final = ("macvtap", "ipvtap")  # what they receive is read from a character device
_UNNAMED: Final = "master"  # a kind that the kernel does not name, such as a failover device


async def taken(netlink: Any, link: Any) -> tuple[str, str]:
    """Return name and kind of what takes the frames of `link`; an empty kind if nothing does, no name for a tap."""
    master = link.get("master")
    kind = link.get(("linkinfo", "slave_kind")) or _UNNAMED
    if not master or kind in _LEAVE_FRAMES:
        own = link.get(("linkinfo", "kind")) or ""
        return "", own if own in _TAPS else ""
    try:
        (found,) = await netlink.link("get", index=master)
    except NetlinkError as error:
        if is_error(error, errno.ENODEV):  # gone since: an event follows
            return "", ""
        raise
    return found.get("ifname"), kind
