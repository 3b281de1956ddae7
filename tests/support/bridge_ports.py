"""Many hosts on the ports of a bridge, and what the kernel says of them."""

import contextlib
import json
import socket
from collections.abc import Iterable

from frames import packed

from ndpresponder.lab import AdvertisementWatch, Lab, Namespace


def asked(lab: Lab, target: str) -> list[str]:
    """Have the router solicit `target` and return the flags of what the VPS answered."""
    lab.forget(target)
    with AdvertisementWatch(lab) as watch:
        lab.ping("inet", target, deadline=0.3)
        return [" ".join(each.flags) for each in watch.take(target) if "Solicited" in each.flags][:1]


def plug(lab: Lab, box: Namespace, first: int, count: int, speaking: int) -> range:
    """Put veths on the bridge whose other ends are in `box`; return as many of their numbers, which have an address.

    The kernel's table of neighbors, of which all namespaces share one, has room for 1,024.
    """
    vps, numbers = lab["vps"], range(first, first + count)
    vps.sysctl({"ipv6/conf/default/disable_ipv6": 1})  # a port is no host, and its groups are neighbors as well
    vps.ip(
        *(f"link add w{n} type veth peer name b{n} netns {box.name}" for n in numbers),
        *(f"link set w{n} master br-ct up" for n in numbers),
    )
    vps.sysctl({"ipv6/conf/default/disable_ipv6": 0})
    box.sysctl({"ipv6/conf/default/accept_dad": 0})
    box.ip(
        *(f"link set b{n} addrgenmode none up" for n in numbers),
        *(f"address add 2001:db8::{n:x}/128 dev b{n} nodad" for n in numbers[:speaking]),
    )
    return numbers[:speaking]


def resolve(lab: Lab, numbers: Iterable[int]) -> None:
    """Have the VPS resolve addresses."""
    with lab["vps"].enter(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as anybody:
        for n in numbers:
            with contextlib.suppress(OSError):  # the kernel's table of neighbors is full
                anybody.sendto(b"", (f"2001:db8::{n:x}", 9))


def kernel_says(lab: Lab) -> set[bytes]:
    """Return the neighbors that are resolved and have their station on a port, by iproute2."""
    neighbors = json.loads(lab.run("vps", "ip", "-6", "-j", "neigh", "show", "dev", "br-ct").stdout)
    stations = json.loads(lab.run("vps", "bridge", "-j", "fdb", "show", "br", "br-ct").stdout)
    there = {each["mac"] for each in stations if "master" in each and each.get("state") != "permanent"}
    return {
        packed(each["dst"])
        for each in neighbors
        if each.get("lladdr") in there
        and not {"FAILED", "INCOMPLETE"} & set(each["state"])
        and each["dst"][:4] != "fe80"
    }
