"""The bridge source against the real kernel: it publishes what lies behind the interface, soon after it does."""

from collections.abc import Iterator

import pytest
from daemon_process import FOLLOW_DEADLINE_S, within
from requirements import OURS, require
from sample_responder import addresses, prefixes
from source_thread import Following

from ndpresponder.lab import Namespace, wait_until
from ndpresponder.lab.namespace import create_all, delete_all, veth
from ndpresponder.targets.source import NOTHING
from ndpresponder.targets.sources.bridge import BridgeSource

PREFIX, OWN, BOX, OTHER = "2001:db8:b::/112", "2001:db8:b::1", "2001:db8:b::b0", "2001:db8:b::b1"
RENUMBERED = "2001:db8:c::/112"
SILENT = "2001:db8:5::5"  # outside of the prefix
BRIDGE = f"""\
link add br0 address 02:00:00:00:0b:00 type bridge mcast_snooping 0 forward_delay 0
address add {OWN}/112 dev br0 nodad
link set br0 up"""
# What changes no claim is known to have been looked at once another change after it was
MARKER = "2001:db8:d::/112"
MARK, UNMARK = ("address " + each + " 2001:db8:d::1/112 dev br0" for each in ("add", "del"))
PLUGGED = "link set v0 master br0 up"
# With its last port a bridge loses its carrier, and with that the kernel its neighbors
ANOTHER_PORT = ("link add v1 type veth peer name w1", "link set v1 master br0 up", "link set w1 up")


class Hosts:
    """A host with the bridge `br0`, and a box on its port `v0`."""

    def __init__(self) -> None:
        self.host, self.box = Namespace(f"{OURS}br-host"), Namespace(f"{OURS}br-box")

    def __enter__(self) -> "Hosts":
        create_all([self.host, self.box])
        for namespace in (self.host, self.box):
            namespace.sysctl({"ipv6/conf/default/accept_dad": 0, "ipv6/conf/default/accept_ra": 0})
        self.plug()
        return self

    def __exit__(self, *_: object) -> None:
        delete_all([self.host, self.box])

    def plug(self) -> None:
        """Build the bridge with the box on it."""
        self.host.ip(
            *BRIDGE.splitlines(),
            veth(1, (self.box, "eth0", "02:00:00:00:0b:01"), (self.host, "v0", "02:00:00:00:0b:02")),
        )
        self.host.ip(PLUGGED)
        self.box.ip(f"address add {BOX}/112 dev eth0 nodad", "link set eth0 up")

    def speak(self) -> None:
        """Have the box speak to the host, which learns it."""
        wait_until(
            lambda: self.box.run("ping", "-6", "-c1", "-W1", OWN, check=False).returncode == 0, 10, "an echo reply"
        )


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    require("ip", "ping")
    with Hosts() as hosts:
        yield hosts


@pytest.fixture
def following(hosts) -> Iterator[Following]:
    with Following(hosts.host, BridgeSource("br0", ["up0"])) as following:
        yield following


def test_prefixes_are_claimed_and_neighbors_live_from_the_start(hosts):
    hosts.speak()
    with Following(hosts.host, BridgeSource("br0", ["up0"])) as following:
        assert (addresses(BOX), frozenset(prefixes(PREFIX))) == (following.now.live, following.now.claimed)
        assert {"br0": addresses(BOX)} == following.now.downstream


def test_a_neighbor_that_is_learned_becomes_live(hosts, following):
    hosts.speak()
    following.wait(lambda targets: targets.live == addresses(BOX))


def test_without_its_port_a_neighbor_is_no_longer_live_although_the_kernel_keeps_it(hosts, following):
    def unplug() -> float:
        hosts.host.ip(*ANOTHER_PORT)
        hosts.speak()
        following.wait(lambda targets: targets.live == addresses(BOX))
        took = following.follows(lambda: hosts.host.ip("link del v0"), lambda targets: not targets.live)
        assert BOX in hosts.host.run("ip", "-6", "neigh", "show", "dev", "br0").stdout
        assert frozenset(prefixes(PREFIX)) == following.now.claimed
        hosts.host.ip("link del v1", "link del br0")
        hosts.plug()
        return took

    within(FOLLOW_DEADLINE_S, unplug)


def test_who_is_silent_on_the_ports_but_outside_of_the_prefix_stays_claimed(hosts, following):
    hosts.host.ip(f"route add {SILENT} dev br0")
    hosts.box.ip(f"address add {SILENT}/128 dev eth0 nodad")
    hosts.speak()
    hosts.host.run("ping", "-6", "-c1", SILENT)
    following.wait(lambda targets: addresses(SILENT) <= targets.live)
    # Whatever the box says from now on, the bridge does not learn it
    hosts.host.ip("link set v0 type bridge_slave learning off", "link set v0 type bridge_slave fdb_flush")
    following.wait(lambda targets: not targets.live)
    assert frozenset(prefixes(PREFIX, f"{SILENT}/128")) == following.now.claimed


def test_a_permanent_neighbor_is_live_without_any_port(hosts, following):
    hosts.host.ip(f"neigh add {OTHER} lladdr 02:00:00:00:0b:99 dev br0 nud permanent")
    following.wait(lambda targets: targets.live == addresses(OTHER))
    hosts.host.ip(f"neigh del {OTHER} dev br0")
    following.wait(lambda targets: not targets.live)


def test_who_cannot_be_resolved_is_not_live(hosts, following):
    hosts.host.run("ping", "-6", "-c1", "-W1", OTHER, check=False)
    hosts.speak()  # seen after it
    following.wait(lambda targets: bool(targets.live))
    assert addresses(BOX) == following.now.live


@pytest.mark.parametrize(
    ("change", "expected", "back"),
    [
        (["address add 2001:db8:c::1/112 dev br0"], [PREFIX, RENUMBERED], ["address del 2001:db8:c::1/112 dev br0"]),
        (["address del 2001:db8:b::1/112 dev br0"], [], ["address add 2001:db8:b::1/112 dev br0 nodad"]),
        (
            ["address change 2001:db8:b::1/112 dev br0 preferred_lft 0", MARK],
            [PREFIX, MARKER],
            ["address change 2001:db8:b::1/112 dev br0 preferred_lft forever", UNMARK],
        ),
        (["link del br0"], [], [*BRIDGE.splitlines(), PLUGGED]),
        (["link set br0 name br9"], [], ["link set br9 name br0"]),
        (
            ["address add 2001:db8:c::1/63 dev br0", MARK],
            [PREFIX, MARKER],
            ["address del 2001:db8:c::1/63 dev br0", UNMARK],
        ),
        (
            ["address add 2001:db8:c::1/128 dev br0"],
            [PREFIX, "2001:db8:c::1/128"],
            ["address del 2001:db8:c::1/128 dev br0"],
        ),
        (
            ["address add 2001:db8:c::1 peer 2001:db8:c::2/128 dev br0"],
            [PREFIX, "2001:db8:c::1/128", "2001:db8:c::2/128"],
            ["address del 2001:db8:c::1 peer 2001:db8:c::2/128 dev br0"],
        ),
    ],
    ids=["added", "removed", "deprecated", "bridge deleted", "renamed", "too wide", "host", "peer"],
)
def test_claims_follow_the_interface(hosts, following, change, expected, back):
    def there_and_back() -> float:
        away = following.follows(
            lambda: hosts.host.ip(*change), lambda targets: targets.claimed == frozenset(prefixes(*expected))
        )
        home = following.follows(
            lambda: hosts.host.ip(*back), lambda targets: targets.claimed == frozenset(prefixes(PREFIX))
        )
        return max(away, home)

    within(FOLLOW_DEADLINE_S, there_and_back)


def test_an_interface_that_does_not_exist_has_nothing(hosts):
    with Following(hosts.host, BridgeSource("br7", [])) as following:
        assert following.now == NOTHING


def test_a_plain_interface_has_neighbors_without_ports(hosts):
    hosts.host.ip(
        "link set v0 nomaster", "address del 2001:db8:b::1/112 dev br0", "address add 2001:db8:b::1/112 dev v0 nodad"
    )
    with Following(hosts.host, BridgeSource("v0", ["up0"])) as following:
        assert frozenset(prefixes(PREFIX)) == following.now.claimed
        hosts.speak()
        following.wait(lambda targets: targets.live == addresses(BOX))


@pytest.mark.parametrize("uplink", ["br0", "v0"])
def test_an_interface_that_leads_to_the_uplink_has_nothing(hosts, uplink):
    hosts.speak()
    with Following(hosts.host, BridgeSource("br0", [uplink])) as following:
        assert following.now == NOTHING


def test_a_port_that_becomes_the_uplink_takes_everything_away(hosts):
    with Following(hosts.host, BridgeSource("br0", ["up0"])) as following:
        assert following.now != NOTHING
        hosts.host.ip("link set v0 name up0")
        following.wait(lambda targets: targets == NOTHING)


def test_neighbors_that_only_change_their_state_are_not_asked_for(hosts, following):
    hosts.speak()
    following.wait(lambda targets: targets.live == addresses(BOX))
    asked = following.count
    for state in ("stale", "reachable", "delay", "stale"):
        hosts.host.ip(f"neigh change {BOX} lladdr 02:00:00:00:0b:01 dev br0 nud {state}")
    hosts.host.ip(f"address add {RENUMBERED.replace('::/', '::1/')} dev br0 nodad")
    following.wait(lambda targets: len(targets.claimed) == 2)
    assert following.count <= asked + 2  # the address, and its route
