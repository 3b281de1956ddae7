"""The uplink as the kernel shows it, for tests that need no kernel: one address, one default gateway."""

from frames import UPLINK_LLADDR, lladdr
from sample_responder import addresses

from ndpresponder.linux.netlink import Link

OWN, GATEWAY = "2001:db8::2", "2001:db8::1"
LINK = Link(
    name="eth0",
    device="eth0",
    index=7,
    lladdr=lladdr(UPLINK_LLADDR),
    hardware_type=1,
    up=True,
    forwarding=True,
    addresses=addresses(OWN, "fe80::2"),
    gateways=addresses(GATEWAY),
)
