"""The lab is what it claims to be: its links, its filters and its uplinks, seen with the kernel alone."""

import socket
import struct
import subprocess
import time
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from ndpresponder.lab import FILTERS, AdvertisementWatch, Lab, wait_until
from ndpresponder.lab.namespace import processes
from ndpresponder.lab.topology import CONTAINER, GATEWAY, ROUTER_LLADDR, VPS, VPS_LLADDR

UPLINKS = ("veth", "macvlan")
C2 = "2001:db8::c2"
PACKET_MR_ALLMULTI = 2


def namespaces(lab: Lab) -> list[str]:
    return sorted(path.name for path in Path("/run/netns").glob(f"{lab.name}-*"))


def solicited_node_lladdr(target: str) -> bytes:
    return b"\x33\x33\xff" + socket.inet_pton(socket.AF_INET6, target)[13:]


def hears_solicitation(lab: Lab, target: str, membership: int | None = None) -> bool:
    """Tell whether a packet socket on the uplink sees the router solicit for `target`."""
    with lab["vps"].enter():
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        index = socket.if_nametoindex("uplink")
    with listener:
        if membership is not None:
            listener.setsockopt(263, 1, struct.pack("iHH8s", index, membership, 0, b""))  # PACKET_ADD_MEMBERSHIP
        listener.bind(("uplink", 0x86DD))
        listener.setblocking(False)
        lab.forget(target)
        lab.ping("inet", target, deadline=0.5)
        while True:
            try:
                frame = listener.recv(2048)
            except BlockingIOError:
                return False
            if frame.startswith(solicited_node_lladdr(target)) and frame[54] == 135:
                return True


@pytest.mark.parametrize("uplink", UPLINKS)
def test_frames_pass_as_soon_as_the_lab_is_up(make_lab, uplink):
    lab = make_lab(uplink)
    assert lab.ping("inet", VPS)
    assert lab.ping("vps", CONTAINER)
    assert lab.ping("vps", C2)
    assert lab.ping("vps", GATEWAY)


def test_up_takes_little_time(make_lab):
    start = time.monotonic()
    make_lab()
    assert time.monotonic() - start < 3  # 0.1 s on an idle machine; a second more for each link-watch delay


def test_up_on_top_of_a_lab_of_the_same_name_starts_over(make_lab):
    lab = make_lab(containers=3)
    crashed = lab.popen("vps", "sleep", "1000")
    wait_until(lambda: processes([lab["vps"]]) == [crashed.pid], 5, "the process to enter its namespace")
    again = Lab(lab.name, containers=1)
    with again:
        assert [f"{lab.name}-{host}" for host in ("c1", "hv", "inet", "rtr", "vps")] == namespaces(lab)
        assert crashed.wait(5) == -9
        assert again.ping("inet", VPS)
    assert namespaces(lab) == []


def test_down_ends_every_process_and_can_be_repeated(make_lab):
    lab = make_lab()
    child = lab.popen("c1", "sh", "-c", "sleep 1000 & sleep 1000 & wait", stdout=subprocess.PIPE)
    wait_until(lambda: len(processes([lab["c1"]])) == 3, 5, "three processes")
    lab.down()
    assert child.returncode == -9
    assert child.stdout.closed
    assert namespaces(lab) == []
    lab.down()


def test_down_leaves_labs_of_similar_names_alone(make_lab):
    lab = make_lab()
    with Lab(f"{lab.name}-b") as other:
        Lab(lab.name).down()
        assert other.ping("inet", VPS)


def test_up_that_fails_leaves_nothing(make_lab, monkeypatch):
    name = make_lab().name
    lab = Lab(name)
    monkeypatch.setattr(lab, "_links_are_up", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        lab.up()
    assert namespaces(lab) == []


def test_a_failing_command_says_why(lab):
    with pytest.raises(subprocess.CalledProcessError) as failure:
        lab.run("vps", "ip", "link", "show", "nowhere")
    assert failure.value.__notes__ == ['Device "nowhere" does not exist.']


def test_entering_a_namespace_is_over_after_the_block(lab):
    home = Path("/proc/thread-self/ns/net").readlink()
    with lab["vps"].enter():
        assert Path("/proc/thread-self/ns/net").readlink() != home
        assert socket.if_nametoindex("uplink")
    assert Path("/proc/thread-self/ns/net").readlink() == home
    with pytest.raises(OSError, match="uplink"), lab["vps"].enter():
        Path("/proc/sys/net/ipv6/conf/uplink/nothing").read_text()
    assert Path("/proc/thread-self/ns/net").readlink() == home


def test_a_container_is_unreachable_when_nothing_answers(lab):
    with AdvertisementWatch(lab) as watch:
        assert not lab.ping("inet", CONTAINER)
        assert watch.take(CONTAINER) == []
    assert lab.neighbour()["state"] in (["INCOMPLETE"], ["FAILED"])


def test_a_forwarded_ping_makes_the_router_solicit_from_link_local(lab):
    lab.kernel_proxy()
    with AdvertisementWatch(lab) as watch:
        assert lab.ping("inet", CONTAINER)
        (advertisement,) = watch.take(CONTAINER)
    # The kernel answers from the scope it was asked from, not from the target.
    assert advertisement.destination == "fe80::1"
    assert advertisement.source == "fe80::ff:fe00:2"
    assert (advertisement.lladdr_source, advertisement.lladdr_destination) == (VPS_LLADDR, ROUTER_LLADDR)
    assert advertisement.flags == ("Solicited",)
    assert lab.neighbour()["lladdr"] == VPS_LLADDR


def test_a_ping_of_the_router_itself_makes_it_solicit_from_its_global_address(lab):
    lab.kernel_proxy()
    with AdvertisementWatch(lab) as watch:
        assert lab.ping("rtr", CONTAINER)
        (advertisement,) = watch.take(CONTAINER)
    assert IPv6Address(GATEWAY) == IPv6Address(advertisement.destination)
    assert IPv6Address(VPS) == IPv6Address(advertisement.source)


@pytest.mark.parametrize("host", ["inet", "rtr"])
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.needs("ebtables")
def test_a_filter_drops_advertisements_from_link_local_only(lab, name, host):
    lab.filter(name)
    lab.resolve_gateway()
    lab.kernel_proxy()
    with AdvertisementWatch(lab) as watch:
        reached = lab.ping(host, CONTAINER)
        assert watch.take(CONTAINER)
    assert (host == "rtr" or name == "none") == bool(reached)


@pytest.mark.parametrize(
    ("name", "resolved"), [("none", True), ("na", True), ("strict", False), ("strict-pre", False), ("ebtables", False)]
)
@pytest.mark.needs("ebtables")
def test_a_strict_filter_hides_the_gateway_from_forwarded_traffic(lab, name, resolved):
    lab.filter(name)
    lab.kernel_proxy()  # the router asks for the container from its global address, and learns it
    assert resolved == bool(lab.ping("c1", GATEWAY))
    lab.resolve_gateway()
    assert lab.ping("c1", GATEWAY)


@pytest.mark.parametrize("name", [name for name in FILTERS if name not in ("none", "na")])
@pytest.mark.needs("ebtables")
def test_a_strict_filter_drops_frames_of_another_lladdr(fresh_lab, name):
    fresh_lab.filter(name)
    assert fresh_lab.ping("vps", GATEWAY)
    fresh_lab["vps"].ip("link set uplink address 02:00:00:00:00:99")
    fresh_lab["rtr"].ip("neigh flush dev lan0")
    assert not fresh_lab.ping("vps", GATEWAY)


@pytest.mark.needs("ebtables")
def test_one_filter_replaces_the_other(lab):
    lab.kernel_proxy()
    for name in (*FILTERS, *reversed(FILTERS)):
        lab.filter(name)
    assert lab.run("hv", "nft", "list", "ruleset").stdout == ""
    assert lab.ping("inet", CONTAINER)


@pytest.mark.parametrize(
    ("uplink", "membership", "heard"),
    [("veth", None, True), ("macvlan", None, False), ("macvlan", PACKET_MR_ALLMULTI, True)],
)
def test_a_macvlan_uplink_drops_multicast_nobody_asked_for(make_lab, uplink, membership, heard):
    assert heard == hears_solicitation(make_lab(uplink), CONTAINER, membership)


def test_snooping_holds_back_solicitations_for_groups_nobody_joined(lab):
    assert hears_solicitation(lab, CONTAINER)
    lab.snooping(True)
    assert not hears_solicitation(lab, CONTAINER, PACKET_MR_ALLMULTI)
    lab.kernel_proxy(C2)  # joins the solicited-node group
    assert lab.ping("inet", C2, count=5)
    lab.snooping(False)
    assert hears_solicitation(lab, CONTAINER)


def test_a_reset_lab_is_like_a_new_one(fresh_lab):
    lab = fresh_lab
    lab.filter("strict")
    lab.kernel_proxy()
    lab.popen("vps", "sleep", "1000")
    assert lab.ping("vps", GATEWAY)
    lab.reset()
    assert lab.run("hv", "nft", "list", "ruleset").stdout == ""
    assert processes(lab[host] for host in lab.hosts) == []
    for host in ("rtr", "vps"):
        assert lab.run(host, "ip", "neigh").stdout == ""
    assert not lab.ping("inet", CONTAINER)
    assert lab.ping("inet", VPS)
    assert lab.ping("vps", CONTAINER)
