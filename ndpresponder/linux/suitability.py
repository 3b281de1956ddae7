"""Say whether an interface can be an uplink, and whether frames reach it: in the same words to every reader.

Some interfaces receive frames and keep none. A bridge, a bond, a team or Open vSwitch takes the frames of its ports,
and a virtual machine the frames of a macvtap, before a packet socket on the port sees them. A VRF takes none.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from ndpresponder.errors import ConfigError
from ndpresponder.linux.netlink import Link, Links
from ndpresponder.linux.netlink.link import PASSTHRU

_MASTERS: Final[Mapping[str, str]] = {
    "bridge": "the bridge",
    "bond": "the bond",
    "team": "the team",
    "openvswitch": "Open vSwitch, by its datapath",
}


def deafness(link: Link) -> str:
    """Say why no frame of a link reaches the daemon, and what to write instead; an empty text if frames do."""
    if not link.taken_kind:
        return ""
    if not link.taken_by:
        return f"it is a {link.taken_kind}, whose frames go to a virtual machine: name the interface below it"
    if link.taken_kind == PASSTHRU:
        return f"{link.taken_by} stands on it, a {PASSTHRU}, and takes all of its unicast frames: use another mode"
    where = f"{_MASTERS.get(link.taken_kind, 'the interface')} {link.taken_by}"
    if link.taken_kind == "openvswitch":
        return f"it is a port of {where}, which takes its frames: name the interface of its bridge (ovs-vsctl list-br)"
    return f"it is a port of {where}, which takes its frames: name that one, -i {link.taken_by}"


def troubles(link: Link) -> Iterator[str]:
    """Yield what keeps a link that exists from being of use, in words for a person."""
    if said := deafness(link):
        yield f"nothing can be heard on {link.name}: {said}"
    if link.ipv6_disabled:
        yield (
            f"IPv6 is disabled on {link.name}, so that the kernel forwards nothing from there: "
            f"sysctl net.ipv6.conf.{link.device}.disable_ipv6=0"
        )


def refuse_unsuitable(links: Links, followed: Collection[str] = ()) -> None:
    """Refuse links that make no uplinks beside the `followed` bridges.

    Raises:
        ConfigError: one is not Ethernet, is named twice, or is a port of a bridge whose neighbors are followed.
    """
    problems = [
        f"interface {name!r} is not Ethernet (hardware type {link.hardware_type}): nobody solicits neighbors there; "
        "name the interface towards the router"
        for name, link in links.items()
        if link is not None and not link.ethernet
    ]
    names: dict[int, str] = {}
    for name, link in links.items():
        if link is None:
            continue
        if names.setdefault(link.index, name) != name:
            problems.append(f"interfaces {names[link.index]!r} and {name!r} are one and the same: name it once")
        if link.taken_by in followed:
            problems.append(
                f"the uplink {name!r} is a port of {link.taken_by!r}, whose neighbors are to be followed: what is "
                f"behind it is on the uplink's own link; name {link.taken_by!r} as the uplink, and do not follow it"
            )
    if problems:
        raise ConfigError(tuple(problems))
