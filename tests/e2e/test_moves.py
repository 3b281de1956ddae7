"""Neighbors are told when what they know of a claimed target becomes wrong: the kernel of a router is the neighbor."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from daemon_process import COMMAND, Installed
from peer import ETH_FLAG_RXVLAN, ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, ethtool
from requirements import OURS, require
from shared_lab import SharedLab

from ndpresponder.lab import Lab, filters, wait_until
from ndpresponder.lab.filters import Filter
from ndpresponder.lab.namespace import Namespace, create_all, delete_all, veth
from ndpresponder.lab.topology import CONTAINER, CONTAINER_PREFIX, GATEWAY, ON_LINK_PREFIX, VPS, VPS_LLADDR, Uplink

NEW_LLADDR = "02:00:00:00:00:77"
OTHER = "2001:db8::c2"
CLAIMED = ("-i", "uplink", "-n", CONTAINER_PREFIX)
INTERVAL_S = 0.1
LOST_S = 1.0
SECOND_HOST = "02:00:00:00:00:99"


@pytest.fixture(scope="module")
def labs() -> Iterator[Callable[[Uplink], Lab]]:
    """Return a function that returns a lab with an uplink of a kind, as new."""
    require("ip", "nft", "ping")
    with SharedLab(f"{OURS}mov", "veth") as plain, SharedLab(f"{OURS}mom", "macvlan") as filtering:
        made = {"veth": plain, "macvlan": filtering}

        def lab(uplink: Uplink = "veth") -> Lab:
            made[uplink].reset()
            made[uplink]["vps"].ip(f"link set uplink address {VPS_LLADDR}")
            made[uplink].resolve_gateway()
            return made[uplink]

        yield lab


def change_lladdr(lab: Lab, name: Filter = "none", lladdr: str = NEW_LLADDR) -> None:
    """Change the link-layer address of the uplink; the provider's filter knows of it."""
    for argv, text in filters.commands(name, "p-vps", ON_LINK_PREFIX, lladdr):
        lab.run("hv", *argv, input=text)
    lab["vps"].ip(f"link set uplink address {lladdr}")


@contextmanager
def traffic(lab: Lab, target: str = CONTAINER) -> Iterator[Callable[[], float]]:
    """Ping a target all the while; what is returned tells at the end how many seconds were lost."""
    pinging = lab["inet"].popen("ping", "-6", "-n", "-O", f"-i{INTERVAL_S}", "-W1", target, stdout=-1)
    lost: list[float] = []
    try:
        yield lambda: lost[0]
        pinging.send_signal(signal.SIGINT)
        output = pinging.communicate(timeout=10)[0]
        sent, received = map(int, re.findall(r"(\d+) packets transmitted, (\d+) received", output)[0])
        lost.append((sent - received) * INTERVAL_S)
    finally:
        pinging.kill()
        pinging.communicate()


def entry(lab: Lab, target: str = CONTAINER) -> object:
    """Return the link-layer address that the router has for a target."""
    return lab.neighbour(target).get("lladdr")


@pytest.mark.parametrize("uplink", ["veth", "macvlan"])
@pytest.mark.parametrize("name", ["none", "na", "strict", "strict-pre", "ebtables"])
def test_another_link_layer_address_costs_a_claimed_target_less_than_a_second(labs, uplink, name):
    lab = labs(uplink)
    change_lladdr(lab, name, VPS_LLADDR)
    with Installed(lab["vps"], *CLAIMED), traffic(lab) as lost_s:
        wait_until(lambda: entry(lab) == VPS_LLADDR, 5, "the router's entry")
        began_s = time.monotonic()
        change_lladdr(lab, name)
        filtered_s = time.monotonic() - began_s  # so long the filter may have dropped what came from either address
        wait_until(lambda: entry(lab) == NEW_LLADDR, LOST_S, "the router to hear of the new address")
        time.sleep(0.5)
    assert lost_s() <= LOST_S + filtered_s


@pytest.mark.parametrize("fastpath", ["tcx", "xdp"])
def test_what_the_kernel_answered_is_known_as_well(labs, fastpath):
    lab = labs()
    with lab["vps"].enter():  # XDP must see tags
        ethtool("uplink", ETHTOOL_SFLAGS, ethtool("uplink", ETHTOOL_GFLAGS) & ~ETH_FLAG_RXVLAN)
    with Installed(lab["vps"], *CLAIMED, "--fastpath", fastpath) as daemon, traffic(lab) as lost_s:
        wait_until(lambda: entry(lab) == VPS_LLADDR, 5, "the router's entry")
        assert not daemon.lines("first answer")  # the daemon saw none
        change_lladdr(lab)
        wait_until(lambda: entry(lab) == NEW_LLADDR, LOST_S, "the router to hear of the new address")
        time.sleep(0.5)
    assert lost_s() <= LOST_S


@pytest.mark.parametrize("changes", [1, 2])
def test_an_address_that_changes_while_the_link_is_down_is_told_when_it_is_up(labs, changes):
    lab = labs()
    with Installed(lab["vps"], *CLAIMED), traffic(lab):
        wait_until(lambda: entry(lab) == VPS_LLADDR, 5, "the router's entry")
        for number in range(changes):
            lab["vps"].ip("link set uplink down", f"link set uplink address 02:00:00:00:00:7{7 - number}")
            lab["vps"].ip(
                "link set uplink up",
                f"address replace {VPS}/64 dev uplink nodad",  # the kernel took it away
                f"route replace ::/0 via {GATEWAY}",
            )
        wait_until(lambda: entry(lab) == f"02:00:00:00:00:7{8 - changes}", 3, "the router to hear of the new address")


@pytest.mark.parametrize("how", ["reload", "upgrade"])
def test_what_was_answered_is_remembered(labs, how):
    lab = labs()
    with Installed(lab["vps"], *CLAIMED) as daemon, traffic(lab):
        wait_until(lambda: entry(lab) == VPS_LLADDR, 5, "the router's entry")
        if how == "reload":
            daemon.process.send_signal(signal.SIGHUP)
            daemon.await_line("configuration reloaded")
        else:
            daemon.process.send_signal(signal.SIGUSR2)
            daemon.await_line("replaced by the installed version", 10)
            daemon.await_notice("READY=1", 10)
        change_lladdr(lab)
        wait_until(lambda: entry(lab) == NEW_LLADDR, LOST_S, "the router to hear of the new address")


def test_a_host_on_the_link_keeps_the_address_that_is_its_own(labs):
    lab = labs()
    with second_host(lab, f"address add {CONTAINER}/128 dev uplink nodad"), Installed(lab["vps"], *CLAIMED) as daemon:
        assert lab.ping("rtr", CONTAINER)
        wait_until(lambda: entry(lab) == SECOND_HOST, 5, "the owner's answer to win")
        assert daemon.counters("uplink")["sent solicited"] >= 1
        change_lladdr(lab)
        daemon.await_line("telling neighbors of the link-layer address that changed")
        time.sleep(1)
        assert entry(lab) == SECOND_HOST
        assert daemon.counters("uplink")["sent unsolicited"] == 0


def test_never_announces_nothing(labs):
    lab = labs()
    with Installed(lab["vps"], *CLAIMED, "-a", "never") as daemon, traffic(lab):
        wait_until(lambda: entry(lab) == VPS_LLADDR, 5, "the router's entry")
        change_lladdr(lab)
        time.sleep(1)
        assert daemon.counters("uplink")["sent unsolicited"] == 0


@contextmanager
def second_host(lab: Lab, *lines: str) -> Iterator[Namespace]:
    """Plug another host into the hypervisor's bridge, as `uplink` in a namespace of its own."""
    host = Namespace(f"{lab.name}-c9")  # a name that the lab cleans up
    create_all([host])
    try:
        host.sysctl({"ipv6/conf/default/accept_dad": 0, "ipv6/conf/default/accept_ra": 0})
        lab["hv"].ip(veth(20, (host, "uplink", SECOND_HOST), (lab["hv"], "p-two", "02:00:00:00:01:09")))
        lab["hv"].ip("link set p-two master br0 up")
        host.ip("address add 2001:db8:0:0:ffff::9/64 dev uplink nodad", "link set uplink up", *lines)
        wait_until(lambda: bool(lab.ping("rtr", "2001:db8:0:0:ffff::9")), 5, "the other host")
        yield host
    finally:
        lab.run("hv", "ip", "link", "del", "p-two", check=False)
        delete_all([host])


def tell(daemon: Installed, host: Namespace, *words: str) -> None:
    """Run a command that asks the daemon."""
    host.run(COMMAND, *words, "--control", str(daemon.control))


INSIDE = ("link add inside type bridge", f"address add {CONTAINER}/112 dev inside nodad", "link set inside up")
THERE = ("-i", "uplink", "-n", "2001:db8:9::/64")  # something else, until it takes the prefix over


@pytest.mark.parametrize("prefix", ["2001:db8::/112", "2001:db8::c0/122"])
@pytest.mark.parametrize("fastpath", ["off", "tcx"])
def test_a_prefix_that_its_host_gave_up_is_taken_over_within_a_second(labs, prefix, fastpath):
    lab = labs()
    here = ("-i", "uplink", "-n", "2001:db8:8::/64", "--fastpath", fastpath)
    with (
        second_host(lab, "route add ::/0 via 2001:db8:0:0:ffff::1", *INSIDE) as host,
        Installed(lab["vps"], *here) as old,
        Installed(host, *THERE, "--fastpath", fastpath) as new,
    ):
        host.sysctl({"ipv6/conf/all/forwarding": 1})
        tell(old, lab["vps"], "add", prefix)
        with traffic(lab) as lost_s:
            wait_until(lambda: entry(lab) == VPS_LLADDR, 5, "the router's entry")
            tell(new, host, "add", prefix, "--announce")
            tell(old, lab["vps"], "remove", prefix)
            wait_until(lambda: entry(lab) == SECOND_HOST, 2 * LOST_S, "the router to hear of the other host")
            time.sleep(0.5)
        assert lost_s() <= LOST_S


def test_a_narrow_prefix_is_taken_over_from_a_host_that_is_gone(labs):
    lab = labs()
    with second_host(lab, *INSIDE) as host, Installed(host, *THERE) as new:
        with Installed(lab["vps"], "-i", "uplink", "-n", "2001:db8::/118", "-a", "never"):
            assert lab.ping("inet", CONTAINER)
            assert entry(lab) == VPS_LLADDR
        tell(new, host, "add", "2001:db8::/118", "--announce")
        wait_until(lambda: entry(lab) == SECOND_HOST, 2 * LOST_S, "the router to hear of the other host")


def test_what_somebody_solicits_is_announced_to_all(labs):
    lab = labs()
    with second_host(lab, *INSIDE) as host, Installed(host, *THERE) as new:
        lab["rtr"].ip(f"neigh replace {CONTAINER} lladdr {VPS_LLADDR} dev lan0 nud reachable")
        tell(new, host, "add", CONTAINER_PREFIX, "--announce")
        time.sleep(0.5)
        assert entry(lab) == VPS_LLADDR  # nobody knows yet that it is in use
        lab["vps"].ip(f"route add {CONTAINER}/128 dev uplink")
        try:
            lab.ping("vps", CONTAINER)  # a neighbor of the router's
            wait_until(lambda: entry(lab) == SECOND_HOST, LOST_S, "the router to hear of the other host")
        finally:
            lab["vps"].ip(f"route del {CONTAINER}/128 dev uplink")


@pytest.mark.parametrize("take_over", [True, False])
def test_a_reload_that_adds_a_prefix_takes_it_over_where_that_is_set(labs, tmp_path, take_over):
    lab = labs()
    file = tmp_path / "ndpresponder.toml"

    def configure(prefix: str) -> None:
        lines = ("version = 1", "[[interface]]", 'name = "uplink"', f'prefixes = ["{prefix}"]')
        file.write_text("\n".join((*lines, f"take_over = {str(take_over).lower()}", "")))

    configure("2001:db8:9::/64")
    with second_host(lab, *INSIDE) as host, Installed(host, "-c", str(file)) as new:
        lab["rtr"].ip(f"neigh replace {CONTAINER} lladdr {VPS_LLADDR} dev lan0 nud reachable")
        configure("2001:db8::/118")
        tell(new, host, "reload")
        if take_over:
            wait_until(lambda: entry(lab) == SECOND_HOST, 2 * LOST_S, "the router to hear of the other host")
        else:
            time.sleep(1)
            assert entry(lab) == VPS_LLADDR


def test_without_announce_a_prefix_is_added_as_ever(labs):
    lab = labs()
    with second_host(lab, *INSIDE) as host, Installed(host, *THERE) as new:
        lab["rtr"].ip(f"neigh replace {CONTAINER} lladdr {VPS_LLADDR} dev lan0 nud reachable")
        tell(new, host, "add", "2001:db8::/118")
        time.sleep(1)
        assert entry(lab) == VPS_LLADDR
        assert new.counters("uplink")["sent unsolicited"] == 0
