"""Which interface takes the frames of another one before a packet socket on that one sees them."""

import errno
import os
from typing import Any, Final

from pyroute2.netlink.exceptions import NetlinkError

from ndpresponder.errors import is_shortage
from ndpresponder.linux.netlink.requests import is_error

# Masters that leave the frames with their ports: a VRF only routes them, batman-adv takes nothing but its own protocol.
_LEAVE_FRAMES: Final = ("vrf", "batadv")
PASSTHRU: Final = "macvlan in passthru mode"
_TAPS: Final = ("macvtap", "ipvtap")  # what they receive is read from a character device
_ON_TOP: Final = ("macvlan", "macvtap")
_UPPER: Final = "upper_"
_UNNAMED: Final = "master"  # a kind that the kernel does not name, such as a failover device


async def taken(netlink: Any, link: Any) -> tuple[str, str]:
    """Return name and kind of what takes the frames of `link`; an empty kind if nothing does, no name for a tap."""
    master = link.get("master")
    kind = link.get(("linkinfo", "slave_kind")) or _UNNAMED
    if not master or kind in _LEAVE_FRAMES:
        own = link.get(("linkinfo", "kind")) or ""
        return ("", own) if own in _TAPS else await _on_top(netlink, link)
    found = await _get(netlink, index=master)
    return (found.get("ifname"), kind) if found else ("", "")


async def _on_top(netlink: Any, link: Any) -> tuple[str, str]:
    """Return a macvlan in passthru mode: all unicast frames are its, and with them whatever an answer would attract."""
    for name in _uppers(link.get("ifname")):
        found = await _get(netlink, ifname=name)
        if not found or found.get("link") != link["index"]:
            continue
        kind = found.get(("linkinfo", "kind"))
        if kind in _ON_TOP and found.get(("linkinfo", "data", f"{kind}_mode")) == "passthru":
            return name, PASSTHRU
    return "", ""


def _uppers(device: str) -> list[str]:
    """Return the interfaces of this network namespace that stand on top of a device; none where /sys is not there."""
    try:
        entries = os.listdir(f"/sys/class/net/{device}")
    except OSError as error:
        if is_shortage(error):
            raise
        return []
    return [name.removeprefix(_UPPER) for name in entries if name.startswith(_UPPER)]


async def _get(netlink: Any, **which: Any) -> Any:
    """Return a link, None if it is gone since: an event follows."""
    try:
        (found,) = await netlink.link("get", **which)
    except NetlinkError as error:
        if is_error(error, errno.ENODEV):
            return None
        raise
    return found
