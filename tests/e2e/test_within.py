"""Only what belongs on the uplink is made known there: what a container merely happens to have leaves in no frame."""

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from control_client import ask
from daemon_process import Installed
from engine_thread import running
from fake_engine import network
from frames import packed, solicitation
from peer import Peer, Wire
from requirements import OURS, require
from shared_lab import SharedLab
from wireguard_tunnel import tunnel

from ndpresponder.lab import Lab, wait_until

C1 = "2001:db8::c1"
ULA, FOREIGN = "fd00:1::c1", "2001:db8:bad::c1"  # a private address, and another provider's
STRAY = "2001:db8:0:0:5::c1"  # in the provider's prefix, with no route to the bridge
TAKEN = "2001:db8::77"  # another host's on the uplink, and the container's
WATCH_S = 3.5  # announcements are made three times, a second apart
LIVE_S = 5.0


@pytest.fixture(scope="module", params=["off", "tcx"])
def belonging_lab(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, tuple[str, ...]]]:
    """Return a lab whose bridge and container also have foreign addresses, which the router takes to be on-link."""
    require("ip", "nft", "ping")
    with SharedLab(f"{OURS}wi", containers=1) as lab:
        lab["vps"].ip("address add fd00:1::1/64 dev br-ct nodad", "address add 2001:db8:bad::1/64 dev br-ct nodad")
        lab["c1"].ip(
            f"address add {ULA}/64 dev eth0 nodad",
            f"address add {FOREIGN}/64 dev eth0 nodad",
            f"address add {STRAY}/128 dev eth0 nodad",
        )
        lab["rtr"].ip("route add fd00:1::/64 dev lan0", "route add 2001:db8:bad::/64 dev lan0")
        yield lab, ("-i", "uplink", "--fastpath", request.param)


@pytest.fixture
def flags(belonging_lab: tuple[Lab, tuple[str, ...]]) -> tuple[str, ...]:
    return belonging_lab[1]


@pytest.fixture
def lab(belonging_lab: tuple[Lab, tuple[str, ...]]) -> Lab:
    lab = belonging_lab[0]
    lab.reset()
    speak(lab)
    return lab


def speak(lab: Lab) -> None:
    """Have the host learn all addresses of the container."""
    for source, destination in ((C1, "2001:db8::1"), (ULA, "fd00:1::1"), (FOREIGN, "2001:db8:bad::1")):
        argv = ("ping", "-6", "-c1", "-W1", "-I", source, destination)
        wait_until(lambda argv=argv: lab.run("c1", *argv, check=False).returncode == 0, 20, "the container to speak")
    lab["vps"].ip(f"neigh replace {STRAY} lladdr 02:00:00:00:0c:04 dev br-ct nud reachable")


def sourced_from(lab: Lab, addresses: set[str], act: Callable[[], object], watch_s: float = WATCH_S) -> set[str]:
    """Return which of some addresses were the source of a frame from the host while `act` ran and for a while after."""
    wanted = {packed(address): address for address in addresses}
    found: set[str] = set()
    with Peer(lab["rtr"], "lan0") as peer:
        act()
        end_s = time.monotonic() + watch_s
        while select.select([peer.socket], [], [], max(0.0, end_s - time.monotonic()))[0]:
            frame = peer.socket.recv(4096)
            if frame[12:14] == b"\x86\xdd" and frame[22:38] in wanted and frame[6:12] != lab_router():
                found.add(wanted[frame[22:38]])
    return found


def lab_router() -> bytes:
    return bytes.fromhex("020000000001")


def solicit_all(lab: Lab, *addresses: str) -> None:
    with Peer(lab["rtr"], "lan0") as peer:
        peer.send(*map(solicitation, addresses))


def explained(daemon: Installed, target: str) -> dict:
    (uplink,) = ask(daemon.control, "GET", f"/explain?target={target}")[1]["uplinks"]
    return uplink


def live(daemon: Installed, target: str) -> bool:
    return bool(explained(daemon, target)["answered"]) and any(
        "live" in why for why in explained(daemon, target)["why"]
    )


def test_no_frame_from_an_address_that_a_container_merely_has_leaves_the_uplink(lab, flags):
    with contextlib.ExitStack() as stack:

        def begin() -> None:
            daemon = stack.enter_context(Installed(lab["vps"], *flags, "-b", "br-ct"))
            wait_until(lambda: live(daemon, C1), LIVE_S, "the container's own address")
            solicit_all(lab, ULA, FOREIGN, STRAY, C1)
            stack.callback(check, daemon)

        def check(daemon: Installed) -> None:
            (warning,) = daemon.lines("on-link at, or routed to, the uplink")
            assert 'prefixes="2001:db8:bad::/64, fd00:1::/64"' in warning
            assert "bridge br-ct" in warning
            (warning,) = daemon.lines("would not forward packets for it")
            assert "2001:db8::/64" in warning
            for target, why in ((ULA, "on-link at"), (FOREIGN, "on-link at"), (STRAY, "would not forward")):
                said = explained(daemon, target)
                assert not said["answered"]
                assert any(why in line for line in said["why"]), said

        assert sourced_from(lab, {ULA, FOREIGN, STRAY, C1}, begin) == {C1}


def test_within_names_what_belongs_there_too(lab, flags):
    with Installed(lab["vps"], *flags, "-b", "br-ct", "--within", "fd00:1::/64,2001:db8::/64") as daemon:
        wait_until(lambda: live(daemon, ULA) and live(daemon, C1), LIVE_S, "what lies within")
        assert sourced_from(lab, {ULA, FOREIGN, C1}, lambda: solicit_all(lab, ULA, FOREIGN, C1), 1) == {ULA, C1}
        assert any("`within`" in line for line in explained(daemon, FOREIGN)["why"])


def test_a_configured_prefix_belongs_there(lab, flags):
    with Installed(lab["vps"], *flags, "-b", "br-ct", "-n", "fd00:1::/64") as daemon:
        wait_until(lambda: live(daemon, ULA), LIVE_S, "what lies in the configured prefix")
        ask(daemon.control, "POST", "/prefixes", prefix="2001:db8:bad::/64", lifetime_s=60)
        wait_until(lambda: live(daemon, FOREIGN), LIVE_S, "what lies in the temporary prefix")


def test_a_prefix_that_becomes_on_link_makes_its_targets_live_and_one_that_goes_takes_them_along(lab, flags):
    with Installed(lab["vps"], *flags, "-b", "br-ct") as daemon:
        for add, remove, target in (
            ("route add fd00:1::/64 dev uplink metric 9999", "route del fd00:1::/64 dev uplink metric 9999", ULA),
            (
                "address add 2001:db8:bad::2/128 dev uplink nodad",
                "address del 2001:db8:bad::2/128 dev uplink",
                FOREIGN,
            ),
        ):
            assert not live(daemon, target)
            lab["vps"].ip(add)
            wait_until(lambda target=target: live(daemon, target), LIVE_S, "the prefix to belong there")
            lab["vps"].ip(remove)
            wait_until(lambda target=target: not live(daemon, target), LIVE_S, "the prefix to be foreign again")
            assert sourced_from(lab, {target}, lambda target=target: solicit_all(lab, target), 1) == set()


def test_a_target_counts_once_its_route_leads_to_it_and_no_longer_when_it_leads_elsewhere(lab, flags):
    with Installed(lab["vps"], *flags, "-b", "br-ct") as daemon:
        assert not live(daemon, STRAY)
        lab["vps"].ip(f"route add {STRAY} dev br-ct")
        wait_until(lambda: live(daemon, STRAY), LIVE_S, "the route")
        lab["vps"].ip(f"route del {STRAY} dev br-ct")
        wait_until(lambda: not live(daemon, STRAY), LIVE_S, "no route")
        lab["vps"].run("ip", "-6", "rule", "add", "iif", "uplink", "lookup", "99", "priority", "999")
        try:
            lab["vps"].ip(f"route add {STRAY} dev br-ct table 99")
            wait_until(lambda: live(daemon, STRAY), LIVE_S, "the rule")
        finally:
            lab["vps"].run("ip", "-6", "route", "flush", "table", "99")
            lab["vps"].run("ip", "-6", "rule", "del", "iif", "uplink", "lookup", "99", "priority", "999")


def test_what_a_neighbor_on_the_uplink_has_is_never_live_behind_it(lab, flags):
    lab["rtr"].ip(f"address add {TAKEN}/64 dev lan0 nodad")
    lab["c1"].ip(f"address add {TAKEN}/112 dev eth0 nodad")
    try:
        lab.run("rtr", "ping", "-6", "-c1", "-W1", "-I", TAKEN, "2001:db8:0:0:ffff::2", check=False)
        assert TAKEN in lab.run("vps", "ip", "-6", "neigh", "show", "dev", "uplink").stdout
        lab.run("c1", "ping", "-6", "-c1", "-W1", "-I", TAKEN, "2001:db8::1")
        with contextlib.ExitStack() as stack:

            def begin() -> None:
                daemon = stack.enter_context(Installed(lab["vps"], *flags, "-b", "br-ct", "--exclude", "2001:db8::76"))
                wait_until(lambda: live(daemon, C1), LIVE_S, "the container's own address")
                daemon.await_line("a neighbor on the uplink has this address")

            assert sourced_from(lab, {TAKEN}, begin) == set()
    finally:
        lab["rtr"].ip(f"address del {TAKEN}/64 dev lan0")
        lab["c1"].ip(f"address del {TAKEN}/112 dev eth0")


def test_a_neighbor_that_went_leaves_its_address_to_who_has_it_now(lab, flags):
    moved = "2001:db8::78"
    lab["rtr"].ip(f"address add {moved}/64 dev lan0 nodad")
    lab.run("rtr", "ping", "-6", "-c1", "-W1", "-I", moved, "2001:db8:0:0:ffff::2", check=False)
    lab["rtr"].ip(f"address del {moved}/64 dev lan0")
    lab["c1"].ip(f"address add {moved}/112 dev eth0 nodad")
    try:
        asking = ("ping", "-6", "-c1", "-W1", "-I", moved, "2001:db8::1")
        wait_until(lambda: lab.run("c1", *asking, check=False).returncode == 0, 10, "an echo")
        with Installed(lab["vps"], *flags, "-b", "br-ct") as daemon:
            wait_until(lambda: live(daemon, moved), 30, "three probes without an answer")
    finally:
        lab["c1"].ip(f"address del {moved}/112 dev eth0")


def test_a_file_and_an_engine_make_nothing_known_that_does_not_belong_there(lab, flags, tmp_path: Path):
    path = tmp_path / "addresses"
    path.write_text(f"{ULA}\n{FOREIGN}\n{C1}\nfd00:1::/64\n2001:db8:bad::/64\n")
    with running() as (engine, loop):
        loop.call_soon_threadsafe(engine.change, network("web", f"{ULA}/64", f"{FOREIGN}/64", "2001:db8::c2/112"))
        docker = ("-N", "*", "--docker-url", f"unix://{engine.path}")
        with contextlib.ExitStack() as stack:

            def begin() -> None:
                daemon = stack.enter_context(Installed(lab["vps"], *flags, "-f", str(path), *docker))
                wait_until(lambda: live(daemon, C1) and live(daemon, "2001:db8::c2"), LIVE_S, "what belongs there")
                solicit_all(lab, ULA, FOREIGN, C1)

            assert sourced_from(lab, {ULA, FOREIGN, C1}, begin) == {C1}


def test_a_wireguard_peer_is_known_outside_by_the_providers_address_only(lab, flags):
    require("wireguard-go", "wg")
    number = os.getpid()
    with (
        tunnel(lab["vps"], f"wgw{number}", "2001:db8::1") as near,
        tunnel(lab["c1"], f"wgx{number}", C1) as far,
        contextlib.ExitStack() as stack,
    ):
        peer = "2001:db8::a:1"
        transit, foreign = "fd00:2::2", "2001:db8:cafe::2"
        near.set("listen-port", "5000")
        for address in (peer, transit, foreign):
            lab["vps"].ip(f"route add {address}/128 dev {near.name}")
        lab["rtr"].ip("route replace fd00:2::/64 dev lan0", "route replace 2001:db8:cafe::/64 dev lan0")
        allowed = f"{peer}/128,{transit}/128,{foreign}/128,fd00:2::/64"
        near.set("peer", far.public, "allowed-ips", allowed)
        endpoint = f"[{near.address}]:5000"
        far.set("peer", near.public, "endpoint", endpoint, "allowed-ips", "::/0", "persistent-keepalive", "1")

        def begin() -> None:
            daemon = stack.enter_context(Installed(lab["vps"], *flags, "--wireguard", near.name))
            wait_until(lambda: live(daemon, peer), 15, "the handshake")
            solicit_all(lab, peer, transit, foreign, "fd00:2::3")

        assert sourced_from(lab, {peer, transit, foreign, "fd00:2::3"}, begin) == {peer}


@pytest.fixture
def two_uplinks() -> Iterator[Wire]:
    """Return a host with two uplinks, each with its prefix, and hosts of both behind it."""
    require("ip")
    with Wire("within", cables=3) as wire:
        wire.near.ip(
            "address add 2001:db8:1::2/64 dev up0 nodad",
            "address add 2001:db8:2::2/64 dev up1 nodad",
            "route add 2001:db8:1::c1 dev up2",
            "route add 2001:db8:2::c1 dev up2",
            "neigh replace 2001:db8:1::c1 lladdr 02:00:00:00:00:51 dev up2 nud permanent",
            "neigh replace 2001:db8:2::c1 lladdr 02:00:00:00:00:51 dev up2 nud permanent",
        )
        yield wire


def test_each_of_two_uplinks_gets_only_its_own(two_uplinks: Wire):
    targets = {0: "2001:db8:1::c1", 1: "2001:db8:2::c1"}
    with Installed(two_uplinks.near, "-i", "up0", "-i", "up1", "-b", "up2") as daemon:
        for number, own in targets.items():
            with Peer(two_uplinks.far, f"far{number}") as peer:
                peer.await_answer(own)
                peer.send(*map(solicitation, targets.values()))
                answered = {frame[62:78] for frame in peer.advertisements(1.5)}
                assert answered == {packed(own)}
        for target, uplink in (("2001:db8:1::c1", "up1"), ("2001:db8:2::c1", "up0")):
            uplinks = ask(daemon.control, "GET", f"/explain?target={target}")[1]["uplinks"]
            (said,) = [each for each in uplinks if each["uplink"] == uplink]
            assert not said["answered"]
            assert any("on-link at" in line for line in said["why"])


@pytest.mark.parametrize("setup", ["host route", "unnumbered"])
def test_an_uplink_without_a_prefix_goes_by_the_hosts_own_address(setup: str):
    """As where the provider gives a /128 and a link-local gateway: the /64 is on the bridge alone."""
    with Wire("slash128") as wire:
        wire.plug(1)
        address = ("address add 2001:db8:9::1/128 dev up0 nodad",) if setup == "host route" else ()
        wire.near.ip(
            *address,
            "route add ::/0 via fe80::1 dev up0",
            "address add 2001:db8:9::1/64 dev up1 nodad",
            "address add fd00:9::1/64 dev up1 nodad",
            *(
                f"neigh replace {target} lladdr 02:00:00:00:00:51 dev up1 nud permanent"
                for target in ("2001:db8:9::c1", "fd00:9::c1")
            ),
        )
        with Installed(wire.near, "-i", "up0", "-b", "up1"), Peer(wire.far) as peer:
            peer.await_answer("2001:db8:9::c1")
            peer.await_answer("2001:db8:9::c2")
            peer.send(solicitation("fd00:9::c1"), solicitation("2001:db8:9::c2"))
            answered = {frame[62:78] for frame in peer.advertisements(1.5)}
            assert packed("2001:db8:9::c2") in answered  # claimed: the bridge's prefix
            assert packed("fd00:9::c1") not in answered


@pytest.fixture
def second_prefix() -> Iterator[Wire]:
    """Return a host with a /64 on its uplink and another of the same /48 behind it, as providers give them."""
    require("ip")
    with Wire("second") as wire:
        wire.plug(1)
        wire.near.ip(
            "address add 2001:db8:9:1::2/64 dev up0 nodad",
            "address add 2001:db8:9:2::1/64 dev up1 nodad",
            "address add fd00:9::1/64 dev up1 nodad",
            "neigh replace 2001:db8:9:2::c1 lladdr 02:00:00:00:00:51 dev up1 nud permanent",
            "neigh replace fd00:9::c1 lladdr 02:00:00:00:00:51 dev up1 nud permanent",
        )
        yield wire


def test_another_prefix_of_the_same_site_that_is_routed_inside_belongs_there(second_prefix: Wire):
    with Installed(second_prefix.near, "-i", "up0", "-b", "up1"), Peer(second_prefix.far) as peer:
        peer.await_answer("2001:db8:9:2::c1")


def test_a_reload_changes_what_is_within(second_prefix: Wire, tmp_path: Path):
    def write(within: str) -> None:
        text = f'version = 1\n[[interface]]\nname = "up0"\n[[source.bridge]]\nname = "up1"\nwithin = [{within}]\n'
        path.write_text(text)

    path = tmp_path / "config.toml"
    write('"2001:db8:9:2::/64"')
    with Installed(second_prefix.near, "-c", str(path)) as daemon, Peer(second_prefix.far) as peer:
        peer.await_answer("2001:db8:9:2::c1")
        write('"fd00:9::/64"')
        ask(daemon.control, "POST", "/reload")
        peer.await_answer("fd00:9::c1")
        wait_until(lambda: not live(daemon, "2001:db8:9:2::c1"), LIVE_S, "what is not within any more")
        write("")
        ask(daemon.control, "POST", "/reload")
        wait_until(lambda: live(daemon, "2001:db8:9:2::c1") and not live(daemon, "fd00:9::c1"), LIVE_S, "the default")
