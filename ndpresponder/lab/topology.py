"""The lab: a KVM VPS made of network namespaces, with a router before it and containers behind it.

    inet ---- rtr ----[ hv: br0 ]---- vps ----[ br-ct ]---- c1, c2
    2001:db8:ffff::2    ^ anti-spoofing filter on the port "p-vps"

The router forwards, so it solicits from its link-local address, as a provider's does. It must never leave
anything behind: `down` ends every process in the lab's namespaces and deletes them, also after an earlier run.
"""

import json
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

from ndpresponder.lab import filters
from ndpresponder.lab.filters import Filter
from ndpresponder.lab.namespace import Namespace, create_all, delete_all, veth

Uplink = Literal["veth", "macvlan"]

DEFAULT_NAME = "ndplab"
ON_LINK_PREFIX = "2001:db8::/64"  # what the provider routes to the link, and all its filter lets out
CONTAINER_PREFIX = "2001:db8::/112"  # what the VPS has given to its containers
INET = "2001:db8:ffff::2"
GATEWAY = "2001:db8:0:0:ffff::1"
GATEWAY_LINK_LOCAL = "fe80::1"
VPS = "2001:db8:0:0:ffff::2"
CONTAINER = "2001:db8::c1"
ROUTER_LLADDR = "02:00:00:00:00:01"
VPS_LLADDR = "02:00:00:00:00:02"

_LINKS_UP_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Ping:
    """How many echo requests were sent and how many came back; true if any did, as with ping(8)."""

    sent: int
    received: int

    def __bool__(self) -> bool:
        return self.received > 0


class Lab:
    """The namespaces `<name>-inet -rtr -hv -vps -c1 -c2 ...`; `up` builds them, `down` removes them.

    With `uplink="macvlan"` the VPS's interface drops multicast it did not ask for, as virtio-net does;
    a plain veth receives everything.
    """

    def __init__(self, name: str = DEFAULT_NAME, uplink: Uplink = "veth", containers: int = 2) -> None:
        self.name = name
        self.uplink: Uplink = uplink
        self.containers = tuple(f"c{number:x}" for number in range(1, containers + 1))
        self.hosts = ("inet", "rtr", "hv", "vps", *self.containers)
        self._namespaces = {host: Namespace(f"{name}-{host}") for host in self.hosts}
        self._children: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def __getitem__(self, host: str) -> Namespace:
        return self._namespaces[host]

    def up(self) -> None:
        """Build the lab, over the remains of an earlier one; return when frames pass, or leave nothing and raise."""
        self.down()
        try:
            create_all(self._namespaces.values())
            self._wire()
            wait_until(self._links_are_up, _LINKS_UP_DEADLINE_S, "the lab's links to come up")
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End all processes in the lab's namespaces and delete them; fine if there are none."""
        self.reap(*self._children)
        delete_all(self._leftovers())

    def run(self, host: str, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self[host].run(*argv, **options)

    def popen(self, host: str, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command on a host of the lab; `down` ends it if nobody did, and closes its pipes."""
        child = self[host].popen(*argv, **options)
        self._children.append(child)
        return child

    def reap(self, *children: subprocess.Popen[str]) -> None:
        """Kill children made by `popen`, collect their exit status and close their pipes."""
        for child in children:
            with child:
                child.kill()
            self._children.remove(child)

    def filter(self, name: Filter) -> None:
        """Put an anti-spoofing filter on the VPS's port of the hypervisor, in place of the one there."""
        for argv, text in filters.commands(name, "p-vps", ON_LINK_PREFIX, VPS_LLADDR):
            self.run("hv", *argv, input=text)

    def ping(self, host: str, target: str, count: int = 1, deadline: float = 1.0, interval: float = 0.2) -> Ping:
        """Ping `target` from a host; `deadline` is how long (seconds) the last reply may take."""
        argv = ("ping", "-6", "-q", "-n", f"-c{count}", f"-i{interval}", f"-W{deadline}", target)
        output = self.run(host, *argv, check=False, timeout=count * interval + deadline + 10)
        numbers = re.search(r"(\d+) packets transmitted, (\d+) received", output.stdout)
        if numbers is None:
            raise ValueError(f"{' '.join(argv)}: {output.stdout}{output.stderr}")
        return Ping(sent=int(numbers[1]), received=int(numbers[2]))

    def forget(self, target: str = CONTAINER, host: str = "rtr", device: str = "lan0") -> None:
        """Make a host, the router, forget what it knows about `target`, so that it solicits again."""
        self.run(host, "ip", "-6", "neigh", "del", target, "dev", device, check=False)

    def resolve_gateway(self) -> None:
        """Let the VPS's kernel learn its gateway, by a ping of its own.

        For forwarded packets it would solicit from its link-local address, which a strict filter drops.
        """
        # An entry that waits for a forwarded packet would go on asking from link-local
        self.forget(GATEWAY, "vps", "uplink")
        wait_until(lambda: bool(self.ping("vps", GATEWAY)), 5.0, f"{GATEWAY} to answer pings of {self['vps'].name}")

    def kernel_proxy(self, target: str = CONTAINER, on: bool = True) -> None:
        """Let the VPS's kernel itself answer for `target` (`proxy_ndp`), or stop it."""
        # by default it puts an answer off by up to 0.8 s
        self["vps"].sysctl({"ipv6/conf/uplink/proxy_ndp": int(on), "ipv6/neigh/uplink/proxy_delay": 0})
        self["vps"].ip(f"neigh {'replace' if on else 'del'} proxy {target} dev uplink")

    def _wire(self) -> None:
        inet, rtr, hv, vps = (self[host] for host in ("inet", "rtr", "hv", "vps"))
        for namespace in self._namespaces.values():
            loud = ("accept_dad", "accept_ra", "router_solicitations")
            namespace.sysctl({f"ipv6/conf/default/{key}": 0 for key in loud})
        for namespace in (rtr, vps):
            namespace.sysctl({"ipv6/conf/all/forwarding": 1})
        hv.sysctl({"ipv6/conf/default/disable_ipv6": 1})  # a bridge is no host

        nic = "uplink" if self.uplink == "veth" else "nic"
        nic_lladdr = VPS_LLADDR if self.uplink == "veth" else "02:00:00:00:02:02"
        lladdr = "02:00:00:00:0{}:{:02x}".format
        cables = [
            veth(number, (self[name], "eth0", lladdr("c", number)), (vps, f"v-{name}", lladdr("d", number)))
            for number, name in enumerate(self.containers, 4)
        ]
        hv.ip(
            "link add br0 address 02:00:00:00:01:00 type bridge mcast_snooping 0 forward_delay 0",
            veth(1, (inet, "eth0", "02:00:00:00:ff:02"), (rtr, "inet0", "02:00:00:00:ff:01")),
            veth(2, (rtr, "lan0", ROUTER_LLADDR), (hv, "p-rtr", "02:00:00:00:01:01")),
            veth(3, (vps, nic, nic_lladdr), (hv, "p-vps", "02:00:00:00:01:02")),
            *cables,
        )
        if self.uplink == "macvlan":
            vps.sysctl({"ipv6/conf/nic/disable_ipv6": 1})
            vps.ip(f"link add uplink link nic address {VPS_LLADDR} type macvlan mode vepa", "link set nic up")
        rtr.ip("link set lan0 addrgenmode none")  # fe80::1 is its only link-local address

        hv.ip("link set br0 up", *(f"link set {port} master br0 up" for port in ("p-rtr", "p-vps")))
        rtr.ip(
            "address add 2001:db8:ffff::1/64 dev inet0 nodad",
            f"address add {GATEWAY}/64 dev lan0 nodad",
            f"address add {GATEWAY_LINK_LOCAL}/64 dev lan0 nodad",
            "link set inet0 up",
            "link set lan0 up",
        )
        vps.ip(
            f"address add {VPS}/64 dev uplink nodad",
            "link set uplink up",
            f"route add ::/0 via {GATEWAY}",
            "link add br-ct address 02:00:00:00:03:00 type bridge mcast_snooping 0 forward_delay 0",
            "address add 2001:db8::1/112 dev br-ct nodad",
            "link set br-ct up",
            *(f"link set v-{name} master br-ct up" for name in self.containers),
        )
        ends = [(self[name], f"2001:db8::{name}/112", "2001:db8::1") for name in self.containers]
        for namespace, address, gateway in ((inet, f"{INET}/64", "2001:db8:ffff::1"), *ends):
            namespace.ip(f"address add {address} dev eth0 nodad", "link set eth0 up", f"route add ::/0 via {gateway}")

    def _links_are_up(self) -> bool:
        # veth drops frames until link-watch has activated its qdisc; "UP" is what shows that it did
        return all(
            link["operstate"] == "UP"
            for host in self.hosts
            for link in json.loads(self.run(host, "ip", "-j", "link").stdout)
            if "LOOPBACK" not in link["flags"] and (self.containers or link["ifname"] != "br-ct")
        )

    def _leftovers(self) -> list[Namespace]:
        """Return every namespace of this name, also those of an earlier lab with more containers."""
        ours = re.compile(re.escape(self.name) + r"-(inet|rtr|hv|vps|c[0-9a-f]+)")
        return [Namespace(path.name) for path in self["hv"].path.parent.glob("*") if ours.fullmatch(path.name)]


def wait_until(condition: Callable[[], bool], deadline_s: float, what: str, every_s: float = 0.02) -> None:
    """Poll until `condition` holds; raise TimeoutError if it does not within `deadline_s`."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline_s} s for {what}")
        time.sleep(every_s)
