"""A lab that several tests use, one after the other. Import it as `from shared_lab import SharedLab`."""

import json
import time
from typing import Any

from ndpresponder.lab import Lab
from ndpresponder.lab.namespace import end_processes
from ndpresponder.lab.topology import CONTAINER

QUERY_RESPONSE_S = 0.5


class SharedLab(Lab):
    """A lab that can be made like new, and tells what its router knows."""

    def reset(self) -> None:
        """Make a used lab like new: no filter, no snooping, no foreign process, no neighbour known."""
        end_processes(self._namespaces.values())
        self.reap(*self._children)
        self.filter("none")
        self.snooping(False)
        self["vps"].ip("neigh flush proxy dev uplink")
        self["vps"].sysctl({"ipv6/conf/uplink/proxy_ndp": 0})
        for host in ("inet", "rtr", "vps", *self.containers):
            # a changed "arp" flag is the one thing that drops entries in every state at once
            self[host].ip(*(f"link set {name} arp {word}" for word in ("off", "on") for name in self._ports(host)))

    def snooping(self, on: bool) -> None:
        """Switch MLD snooping of the hypervisor's bridge, with its querier; returns when it is effective."""
        hv = self["hv"]
        if not on:
            hv.ip("link set br0 type bridge mcast_querier 0 mcast_snooping 0")
            hv.sysctl({"ipv6/conf/br0/disable_ipv6": 1})
            return
        hv.sysctl({"ipv6/conf/br0/disable_ipv6": 0})  # a query needs a link-local source
        timer = round(QUERY_RESPONSE_S * 100)
        hv.ip(  # one line each: the kernel would start the querier before it takes the timers
            f"link set br0 type bridge mcast_query_response_interval {timer} "
            f"mcast_startup_query_interval {timer} mcast_startup_query_count 2",
            "link set br0 type bridge mcast_snooping 1",
            "link set br0 type bridge mcast_querier 1",
        )
        # Nothing shows when the bridge begins to drop: it is when the answers to the first query are due.
        time.sleep(2 * QUERY_RESPONSE_S)

    def neighbour(self, target: str = CONTAINER) -> dict[str, Any]:
        """Return the router's neighbour entry for `target` as `ip -j` shows it; empty if there is none."""
        shown = self.run("rtr", "ip", "-6", "-j", "neigh", "show", target, "dev", "lan0").stdout
        entries: list[dict[str, Any]] = json.loads(shown or "[]")
        return entries[0] if entries else {}

    def _ports(self, host: str) -> list[str]:
        return {"inet": ["eth0"], "rtr": ["inet0", "lan0"], "vps": ["uplink", "br-ct"]}.get(host, ["eth0"])
