"""A WireGuard peer behind the VPS is reachable through the provider's filter, and answered for as long as it is a peer.

wireguard-go is the program behind the interface: no module is needed. Its sockets are named after its interfaces in a
directory that all namespaces share, so the interfaces are named after this process.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator

import pytest
from daemon_process import Installed
from requirements import require
from wireguard_tunnel import PEER, Tunnel, tunnel

from ndpresponder.lab import Lab, wait_until

WIDE = "2001:db8:8000::/33"
POLLED_DEADLINE_S = 10.0


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    require("wireguard-go", "wg")
    lab = make_lab(containers=1)
    lab.filter("strict")
    return lab


@contextlib.contextmanager
def connected(lab: Lab) -> Iterator[tuple[Tunnel, Tunnel]]:
    """Connect the VPS with a container by a tunnel; the container has its address in there."""
    number = os.getpid()
    with (
        tunnel(lab["vps"], f"wgv{number}", "2001:db8::1") as near,
        tunnel(lab["c1"], f"wgc{number}", "2001:db8::c1") as far,
    ):
        near.set("listen-port", "5000")
        near.namespace.ip(f"route add {PEER}/128 dev {near.name}")
        far.namespace.ip(
            f"address add {PEER}/128 dev {far.name} nodad", f"route replace ::/0 dev {far.name} src {PEER}"
        )
        near.set("peer", far.public, "allowed-ips", f"{PEER}/128,2001:db8:5::/64,{WIDE}")
        yield near, far


def targets(daemon: Installed) -> tuple[int, int]:
    """Return how many single addresses and how many prefixes are answered for because of the tunnel."""
    text = daemon.scrape()
    samples = (re.search(rf'_{word}\{{[^}}]*source="wireguard"\}} (\S+)', text) for word in ("addresses", "prefixes"))
    addresses, prefixes = (int(float(sample[1])) if sample else -1 for sample in samples)
    return addresses, prefixes


def test_a_peer_is_claimed_then_live_while_it_is_heard_and_nobodys_when_it_goes(lab: Lab) -> None:
    with Installed(lab["vps"], "-i", "uplink", "--wireguard", f"wgv{os.getpid()}") as daemon:
        assert targets(daemon) == (0, 0)
        with connected(lab) as (near, far):
            wait_until(lambda: targets(daemon) == (0, 2), POLLED_DEADLINE_S, "a peer that was never heard")
            assert len(daemon.lines(f"prefix={WIDE}")) == 1

            endpoint = f"[{near.address}]:5000"
            far.set("peer", near.public, "endpoint", endpoint, "allowed-ips", "::/0", "persistent-keepalive", "1")
            wait_until(lambda: targets(daemon) == (1, 1), POLLED_DEADLINE_S, "the handshake")
            assert lab.ping("inet", PEER, count=5, deadline=3).received >= 4

            near.set("peer", far.public, "remove")
            wait_until(lambda: targets(daemon) == (0, 0), POLLED_DEADLINE_S, "the peer to be gone")
            wait_until(lambda: is_ignored(lab, daemon), 5, "silence")
        assert targets(daemon) == (0, 0)


def is_ignored(lab: Lab, daemon: Installed) -> bool:
    """Tell whether solicitations of the peer's address are, as nobody's."""
    lab.forget(PEER)
    before = daemon.counters("uplink")
    return not lab.ping("inet", PEER) and (daemon.counters("uplink") - before)["ignored not_ours"] > 0


def test_an_interface_of_another_sort_is_a_source_that_is_down_and_the_others_are_answered(lab: Lab) -> None:
    with Installed(lab["vps"], "-i", "uplink", "-n", "2001:db8::c1", "--wireguard", "br-ct") as daemon:
        daemon.await_line("br-ct is not a WireGuard interface")
        assert 'ndpresponder_source_up{name="br-ct",source="wireguard"} 0' in daemon.scrape()
        assert lab.ping("inet", "2001:db8::c1", deadline=3)
