"""An uplink that cannot hear, or is of no use otherwise, says so wherever somebody looks, and while it is so only."""

import json
import subprocess
from collections.abc import Iterator

import pytest
import vm
from control_client import ask
from daemon_process import COMMAND, Installed
from frames import advertisement, solicitation
from peer import Peer, Wire

from ndpresponder.lab import wait_until
from ndpresponder.lab.namespace import Namespace

TARGET, PREFIX = "2001:db8::c1", "2001:db8::/112"
FLAGS = ("-i", "up0", "-n", PREFIX)


def make(wire: Wire, kind: str) -> None:
    wire.near.ip(f"link add m0 {'link up0 ' if kind == 'macvtap' else ''}type {kind}", "link set m0 up")


def enslave(wire: Wire) -> None:
    wire.near.ip("link set up0 down", "link set up0 master m0", "link set up0 up")


def free(wire: Wire) -> None:
    wire.near.ip("link set up0 nomaster", "link set up0 up")


def said(namespace: Namespace, *argv: str) -> subprocess.CompletedProcess[str]:
    return namespace.run(COMMAND, *argv, check=False)


@pytest.fixture
def daemon(wire: Wire) -> Iterator[Installed]:
    with Installed(wire.near, *FLAGS) as daemon:
        yield daemon


def state(daemon: Installed) -> dict[str, object]:
    (uplink,) = ask(daemon.control, "GET", "/status")[1]["uplinks"]
    return uplink


def ready(daemon: Installed) -> tuple[int, str]:
    with daemon.connect() as served:
        served.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: served.recv(65536), b"")).decode()
    return int(answer.split()[1]), answer.partition("\r\n\r\n")[2]


def test_a_port_says_everywhere_that_it_hears_nothing_and_whom_to_name(wire, daemon, peer):
    make(wire, "bridge")
    peer.await_answer()
    assert state(daemon)["state"] == "answering"
    enslave(wire)
    daemon.await_line("no solicitation can be heard here")
    wait_until(lambda: state(daemon)["state"] == "deaf", 5, "the state")
    shown = state(daemon)
    assert shown["taken_by"] == "m0"
    assert shown["trouble"] == [
        "nothing can be heard on up0: it is a port of the bridge m0, which takes its frames: name that one, -i m0"
    ]
    status = said(wire.near, "status", "--control", str(daemon.control)).stdout
    assert "uplink up0: deaf" in status
    assert "-i m0" in status
    explained = said(wire.near, "explain", TARGET, "--control", str(daemon.control))
    assert (explained.returncode, "not answered (not_ready)" in explained.stdout) == (1, True)
    assert "-i m0" in explained.stdout
    assert 'ndpresponder_interface_up{interface="up0"} 0' in daemon.scrape()
    number, body = ready(daemon)
    assert (number, "hearing nothing on up0 (it is a port of the bridge m0" in body) == (503, True)

    free(wire)
    daemon.await_line("solicitations can be heard again: answering")
    peer.await_answer()
    assert state(daemon)["state"] == "answering"
    assert state(daemon)["trouble"] == []
    assert ready(daemon)[0] == 200
    assert len(daemon.lines("no solicitation can be heard here")) == 1


def test_what_was_a_port_already_is_found_at_the_start_and_by_check(wire):
    make(wire, "bridge")
    enslave(wire)
    with Installed(wire.near, *FLAGS) as daemon:
        daemon.await_line("nothing can be heard there")
        daemon.await_line("no solicitation can be heard here")
        assert not daemon.lines("event=answering")
        assert state(daemon)["state"] == "deaf"
    checked = said(wire.near, "check", *FLAGS)
    assert checked.returncode == 0
    assert "flag --iface: nothing can be heard on up0; it is a port of the bridge m0" in checked.stderr
    warnings = json.loads(said(wire.near, "check", "--json", *FLAGS).stdout)["warnings"]
    assert [warning for warning in warnings if "-i m0" in warning]
    explained = said(wire.near, "explain", TARGET, *FLAGS)
    assert (explained.returncode, "-i m0" in explained.stdout) == (1, True)


VM = """
import asyncio, subprocess
from ndpresponder.linux.netlink import ask_links
from ndpresponder.linux.suitability import deafness

def sh(command):
    subprocess.run(command, shell=True, check=True)

sh("modprobe -a veth bridge bonding team vrf macvlan macvtap dummy; ip link add p-none type dummy")
for kind in ("bridge", "bond", "team", "vrf table 100", "none"):
    name = kind.split()[0]
    if kind != "none":
        sh(f"ip link add m-{name} type {kind}; ip link add p-{name} type dummy; ip link set p-{name} master m-{name}")
    (link,) = asyncio.run(ask_links([f"p-{name}"])).values()
    print(f"{name}: hears={link.hears} by={link.taken_by} kind={link.taken_kind} {deafness(link)}")
"""


def test_each_kind_of_master_is_told_from_the_others_on_a_stock_kernel():
    """A VRF is the master of its ports as well, and takes no frames."""
    result = vm.run("trixie", "python3 case.py", files={"case.py": VM})
    assert result.exit_code == 0, result.output
    for kind in ("bridge", "bond", "team"):
        taken = (
            f"{kind}: hears=False by=m-{kind} kind={kind} it is a port of the {kind} m-{kind}, which takes its frames"
        )
        assert f"{taken}: name that one, -i m-{kind}" in result.output
    for kind in ("vrf", "none"):
        assert f"{kind}: hears=True by= kind= \n" in result.output.replace("\r", "")


def test_a_macvtap_hears_nothing_and_the_interface_below_it_does(wire):
    make(wire, "macvtap")
    checked = said(wire.near, "check", "-i", "m0", "-n", PREFIX)
    assert "it is a macvtap, whose frames go to a virtual machine" in checked.stderr
    assert "nothing can be heard" not in said(wire.near, "check", *FLAGS).stderr


@pytest.mark.parametrize("kind", ["macvlan", "macvtap"])
def test_one_in_passthru_mode_on_top_takes_what_an_answer_would_attract(wire, daemon, peer, kind):
    peer.await_answer()
    wire.near.ip(f"link add m0 link up0 type {kind} mode passthru", "link set m0 up")
    daemon.await_line("m0 stands on it, a macvlan in passthru mode")
    wait_until(lambda: state(daemon)["state"] == "deaf", 5, "the state")
    assert "and takes all of its unicast frames" in said(wire.near, "check", *FLAGS).stderr
    wire.near.ip("link del m0")
    daemon.await_line("solicitations can be heard again: answering")
    wire.near.ip(f"link add m0 link up0 type {kind} mode bridge", "link set m0 up")
    peer.await_answer()
    assert state(daemon)["state"] == "answering"


@pytest.mark.parametrize("words", [("check", "-q"), ("run",)])
def test_following_the_bridge_whose_port_the_uplink_is_is_refused(wire, words):
    make(wire, "bridge")
    enslave(wire)
    done = said(wire.near, *words, *FLAGS, "-b", "m0", "--control", "")
    assert done.returncode == 78
    assert "the uplink 'up0' is a port of 'm0', whose neighbors are to be followed" in done.stdout + done.stderr


def test_a_bridge_that_takes_the_uplink_later_ends_nothing_and_is_said(wire, peer):
    make(wire, "bridge")
    with Installed(wire.near, *FLAGS, "-b", "m0") as daemon:
        peer.await_answer()
        enslave(wire)
        daemon.await_line("no solicitation can be heard here")
        reload = said(wire.near, "reload", "--control", str(daemon.control))
        assert (reload.returncode, "is a port of 'm0'" in reload.stderr) == (1, True)
        free(wire)
        peer.await_answer()
        assert said(wire.near, "reload", "--control", str(daemon.control)).returncode == 0


def test_ipv6_that_is_disabled_on_the_uplink_is_said_and_that_it_ended(wire, daemon, peer):
    peer.await_answer()
    wire.near.sysctl({"ipv6/conf/up0/disable_ipv6": 1})
    daemon.await_line("IPv6 is disabled on the interface")
    (trouble,) = state(daemon)["trouble"]
    assert "sysctl net.ipv6.conf.up0.disable_ipv6=0" in trouble
    assert "IPv6 is disabled on up0" in said(wire.near, "check", *FLAGS).stderr
    assert "IPv6 is disabled on up0" in said(wire.near, "explain", TARGET, "--control", str(daemon.control)).stdout
    assert peer.ask(solicitation(TARGET)) == [advertisement(TARGET)], "frames are heard all the same"
    wire.near.sysctl({"ipv6/conf/up0/disable_ipv6": 0})
    wire.near.ip("link set up0 down", "link set up0 up")
    daemon.await_line("IPv6 is enabled on the interface again")
    assert len(daemon.lines("IPv6 is disabled on the interface")) == 1


# What `run` refuses, `check` refuses; what `run` takes, `check` takes


REFUSED = {
    "not Ethernet": (("-i", "lo", "-n", PREFIX), "interface 'lo' is not Ethernet"),
    "one interface by two names": (
        ("-n", f"{PREFIX}@up0", "-n", "2001:db8:1::/64@wan"),
        "interfaces 'up0' and 'wan' are one and the same",
    ),
}


@pytest.mark.parametrize("words", [("check", "-q"), ("check",), ("check", "--json"), ("run", "--control", "")])
@pytest.mark.parametrize(("flags", "why"), REFUSED.values(), ids=REFUSED)
def test_check_ends_as_run_ends(wire, words, flags, why):
    wire.near.ip("link property add dev up0 altname wan")
    done = said(wire.near, *words, *flags)
    assert done.returncode == 78
    assert why in done.stdout + done.stderr


def test_an_alternative_name_is_taken_by_both(wire, peer):
    wire.near.ip("link property add dev up0 altname wan", "address add 2001:db8::2/64 dev up0 nodad")
    flags = ("-i", "wan", "-n", PREFIX)
    checked = said(wire.near, "check", *flags)
    assert checked.returncode == 0
    assert "there is no interface" not in checked.stderr
    assert "covers its own address 2001:db8::2 on 'wan'" in checked.stderr
    with Installed(wire.near, *flags):
        peer.await_answer()
    explained = said(wire.near, "explain", "2001:db8::2", *flags)
    assert "an own address of wan" in explained.stdout


def test_an_interface_that_exists_and_is_not_ethernet_is_not_called_missing(wire, daemon, peer):
    peer.await_answer()
    wire.near.ip("link del up0")
    wait_until(lambda: state(daemon)["state"] == "missing", 5, "the state")
    wire.near.ip("tuntap add up0 mode tun")
    wait_until(lambda: state(daemon)["state"] == "not_ethernet", 5, "the state")
    status = said(wire.near, "status", "--control", str(daemon.control)).stdout
    assert "uplink up0: not Ethernet, nobody solicits neighbors there" in status
    explained = said(wire.near, "explain", TARGET, "--control", str(daemon.control)).stdout
    assert "up0 is not Ethernet" in explained
    wire.near.ip("link del up0")
    wait_until(lambda: state(daemon)["state"] == "missing", 5, "the state")
    wire.plug(0)
    with Peer(wire.far) as again:
        again.await_answer()
