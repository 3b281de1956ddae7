"""The fast path in the driver of a virtual network card, as a VPS has it.

`e2e/test_stock_kernels.py` runs it in a machine that has two of them, on one hub.
"""

import subprocess

import pytest
from daemon_process import Installed
from fastpath_daemon import FLAGS, in_user_space, said
from frames import ROUTER_LLADDR, UPLINK_LLADDR, advertisement, solicitation
from peer import Peer, await_running


@pytest.fixture
def cards(make_namespace):
    """Put one card into each of two namespaces, by the names that a wire's ends have."""
    subprocess.run(["modprobe", "--all", "virtio_pci", "virtio_net"], check=True)
    near, far = make_namespace("near"), make_namespace("far")
    far.sysctl({"ipv6/conf/default/disable_ipv6": 1})
    near.sysctl({"ipv6/conf/default/accept_dad": 0})
    for card, namespace, name in (("eth0", near, "up0"), ("eth1", far, "far0")):
        subprocess.run(["ip", "link", "set", card, "netns", namespace.name, "name", name], check=True)
    near.ip(f"link set up0 address {UPLINK_LLADDR}", "link set up0 up")
    far.ip(f"link set far0 address {ROUTER_LLADDR}", "link set far0 up")
    await_running(near, "up0")
    await_running(far, "far0")
    return near, far


def test_the_driver_answers(cards):
    near, far = cards
    with Peer(far) as peer, Installed(near, *FLAGS, "--fastpath", "xdp") as daemon:
        assert "native XDP" in said(daemon, "fast path attached")
        counted = daemon.caused(lambda: peer.send(*[solicitation(), solicitation(slla=None)] * 10), 20)
        assert peer.collect(20) == [advertisement()] * 20
        assert (counted["sent solicited"], in_user_space(daemon)) == (20, 0)
