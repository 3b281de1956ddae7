"""What lies behind routes, such as those into a tunnel: `--routes` alone makes it reachable."""

import pytest
from bridge_ports import asked

from ndpresponder.lab import Daemon, Lab, wait_until
from ndpresponder.lab.topology import CONTAINER, GATEWAY

pytestmark = pytest.mark.needs("ping", "nft")
BEHIND, BESIDE, PREFIX = "2001:db8::5:0:0:5", "2001:db8::5:0:0:6", "2001:db8::5:0:0:0/80"


@pytest.fixture
def vps(fresh_lab: Lab) -> Lab:
    """Return a lab whose VPS has a tunnel to `c1`, with a host at its end. A vxlan stands for GRE."""
    for host, local, remote in (("vps", "2001:db8::1", CONTAINER), ("c1", CONTAINER, "2001:db8::1")):
        device = "br-ct" if host == "vps" else "eth0"
        fresh_lab[host].ip(
            f"link add tun0 type vxlan id 7 local {local} remote {remote} dstport 4789 dev {device}", "link set tun0 up"
        )
    fresh_lab["c1"].ip(f"address add {BEHIND}/80 dev tun0 nodad", f"address add {BESIDE}/80 dev tun0 nodad")
    fresh_lab.filter("strict")
    fresh_lab.resolve_gateway()
    return fresh_lab


@pytest.mark.parametrize("flags", [("--routes",), ("--routes", "2001:db8::/64")], ids=" ".join)
def test_a_tunnel_is_reached_while_a_route_leads_into_it(vps, flags):
    with Daemon(vps, "-i", "uplink", *flags):
        assert asked(vps, BEHIND) == []
        vps["vps"].ip(f"route add {PREFIX} dev tun0")
        wait_until(lambda: bool(vps.ping("inet", BEHIND)), 5, "the host behind the tunnel")
        assert vps.ping("inet", CONTAINER)
        vps["vps"].ip(f"route add unreachable {BEHIND}", f"route add {BESIDE} via {GATEWAY}")
        wait_until(lambda: asked(vps, BEHIND) == [], 2, "silence")
        assert asked(vps, BESIDE) == []
        assert asked(vps, "2001:db8::5:0:0:7") == ["Router Solicited"]
        vps["vps"].ip(f"route del unreachable {BEHIND}", f"route del {BESIDE}")
        wait_until(lambda: bool(vps.ping("inet", BEHIND)), 5, "the host behind the tunnel again")
        vps["vps"].ip(f"route del {PREFIX}")
        wait_until(lambda: asked(vps, BEHIND) == [], 2, "silence")
