#!/usr/bin/python3
"""Interfaces on top of the uplink, on a stock kernel: run inside a machine of `vm`, one line for each case.

A frame that belongs to a VLAN, a bond or a macvlan comes to the packet socket of the interface below as well. Each case
is a function; it fails by an exception, and its line says `ok` or why not.
"""

import contextlib
import os
import select
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from daemon_process import COMMAND, Installed
from frames import (
    ROUTER_LLADDR,
    TARGET,
    UPLINK_LLADDR,
    advertisement,
    lladdr,
    option,
    packed,
    solicitation,
    tagged,
)
from peer import MARKER, Peer, Wire, await_running

from ndpresponder.lab import wait_until
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.packet.handover import adopt
from ndpresponder.linux.packet.listener import Listener
from ndpresponder.linux.packet.packet_socket import open_packet_socket
from ndpresponder.wire.filters import ADVERTISEMENTS, SOLICITATIONS

PREFIX = "2001:db8::/112"
FOREIGN = "2001:db8:1::c1"
SERVICE_TAG = b"\x88\xa8"  # 802.1ad
TAPPED_LLADDR = "02:00:00:00:00:33"
LAST = solicitation(MARKER, options=option(14, b"noncen"))  # no fast path overtakes what waits before it
SOL_PACKET, PACKET_AUXDATA = 263, 8  # linux/if_packet.h
TP_STATUS_VLAN_VALID = 0x10
SETTLES_S = 0.3
MODES = ("off", "tcx", "xdp")
CASES: list[Callable[[], None]] = []


def case(act: Callable[[], None]) -> Callable[[], None]:
    CASES.append(act)
    return act


@contextlib.contextmanager
def wired(*lines: str) -> Iterator[tuple[Wire, Peer]]:
    """Lay a wire and prepare its near end."""
    with Wire("above") as wire, Peer(wire.far) as peer:
        peer.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        wire.near.ip(*lines)
        yield wire, peer


def answering(wire: Wire, *uplinks: str, more: tuple[str, ...] = ()) -> Installed:
    flags = [word for uplink in uplinks for word in ("-i", uplink)]
    return Installed(wire.near, *flags, "-n", PREFIX, "--dad", "defend", *more)


def doubly(frame: bytes, outer: int = 100, inner: int = 200) -> bytes:
    """Return a frame with a customer's tag inside a provider's."""
    both = tagged(tagged(frame, inner), outer)
    return both[:12] + SERVICE_TAG + both[14:]


def received(peer: Peer) -> bytes:
    """Return the next frame with the tag that the kernel has taken from it."""
    frame, told, _, _ = peer.socket.recvmsg(4096, 64)
    for _, kind, data in told:
        if kind == PACKET_AUXDATA:
            status, tag, protocol = struct.unpack("=I12xHH", data)
            if status & TP_STATUS_VLAN_VALID:
                return frame[:12] + struct.pack("!HH", protocol, tag) + frame[12:]
    return frame


def replies(peer: Peer, *frames: bytes, last: bytes = LAST) -> list[bytes]:
    """Return every advertisement on the wire, tags and all, that frames caused, and fail unless `last` was answered."""
    peer.send(*frames, last)
    caused: list[bytes] = []
    end = time.monotonic() + 10
    while (now := time.monotonic()) < end:
        if select.select([peer.socket], [], [], end - now)[0]:
            frame = received(peer)
            if frame[-32:-31] == b"\x88" and frame[-86 + 20 : -86 + 21] == b"\x3a":
                caused.append(frame)
                if frame[-24:-8] == packed(MARKER):
                    end = now + SETTLES_S  # another uplink may answer later
    answers = [frame for frame in caused if frame[-24:-8] != packed(MARKER)]
    if len(answers) == len(caused):
        raise TimeoutError(f"the last frame was not answered; before it came {len(caused)}")
    return answers


def is_plain(frame: bytes) -> bool:
    return len(frame) == 86 and frame[12:14] == b"\x86\xdd"


def foreign_frames() -> list[bytes]:
    """Return solicitations of every kind, for what is claimed and for what is not."""
    asked = [(target, more) for target in (TARGET, FOREIGN) for more in ({}, {"destination": target}, {"source": "::"})]
    short = [solicitation(TARGET, slla=None), solicitation(TARGET, options=option(14, b"noncen"))]
    return [*(solicitation(target, **more) for target, more in asked), *short]


def check_silence(wire: Wire, peer: Peer, wrap: Callable[[bytes], bytes], *more: str) -> None:
    """Fail if any frame is answered that does not belong to the uplink itself, or is not counted as such."""
    frames = [wrap(frame) for frame in foreign_frames()]
    with answering(wire, "up0", more=more) as daemon:
        await_answers(peer)
        before = daemon.counters()
        assert replies(peer, *frames) == []
        wait_until(lambda: (daemon.counters() - before)["ignored vlan_tagged"] == len(frames), 10, "all to be counted")
        counted = daemon.counters() - before
        assert [key for key in counted if key.startswith("ignored")] == ["ignored vlan_tagged"], counted
        (answer,) = replies(peer, solicitation())
        assert is_plain(answer)


def await_answers(peer: Peer) -> None:
    """Wait until the uplink answers and nothing is left to be answered, what is not ours is counted by the kernel's
    program, and the fast path answers.
    """
    peer.await_answer(deadline_s=20, every_s=0.05)
    time.sleep(0.5)
    peer.drain()


def modes(wire: Wire, xdp: bool = False) -> Iterator[tuple[str, ...]]:
    """Yield the flags of each way to answer that this kernel has; `xdp`: that too, as the uplink leaves it the tags."""
    for mode in MODES:
        if mode == "tcx" and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 6):
            continue
        if mode == "xdp":
            if not xdp:
                continue
            wire.ready_for_xdp()
        yield ("--fastpath", mode) if mode != "off" else ()


@case
def vlan_on_the_uplink_is_silent_and_counted() -> None:
    with wired("link add link up0 name up0.100 type vlan id 100", "link set up0.100 up") as (wire, peer):
        for flags in modes(wire, xdp=True):
            check_silence(wire, peer, lambda frame: tagged(frame, 100), *flags)


@case
def vlan_without_a_device_and_priority_tags_are_as_before() -> None:
    with wired("link add link up0 name up0.100 type vlan id 100", "link set up0.100 up") as (wire, peer):
        check_silence(wire, peer, lambda frame: tagged(frame, 5))
        with answering(wire, "up0"):
            await_answers(peer)
            assert len(replies(peer, tagged(solicitation(), 0))) == 1


@case
def vlan_as_the_uplink_answers_there_only() -> None:
    with wired("link add link up0 name up0.100 type vlan id 100", "link set up0.100 up") as (wire, peer):
        for flags in modes(wire):
            with answering(wire, "up0.100", more=flags):
                time.sleep(0.5)
                (answer,) = replies(peer, solicitation(), tagged(solicitation(), 100), last=tagged(LAST, 100))
                assert answer[12:16] == b"\x81\x00\x00\x64", answer.hex()


@case
def both_as_uplinks_answer_once_each() -> None:
    lines = "link add link up0 name up0.100 type vlan id 100", "link set up0.100 up"
    with wired(*lines) as (wire, peer), answering(wire, "up0", "up0.100"):
        await_answers(peer)
        caused = replies(peer, solicitation(), tagged(solicitation(), 100))
        assert sorted(map(len, caused)) == [86, 90], [frame.hex() for frame in caused]


QINQ = (
    "link add link up0 name up0.100 type vlan proto 802.1ad id 100",
    "link set up0.100 up",
    "link add link up0.100 name up0.100.200 type vlan id 200",
    "link set up0.100.200 up",
)


@case
def qinq_is_silent_below() -> None:
    with wired(*QINQ) as (wire, peer):
        for flags in modes(wire):
            check_silence(wire, peer, doubly, *flags)
        wire.near.ip("link del up0.100.200")
        check_silence(wire, peer, doubly)


@case
def qinq_as_the_uplink_answers() -> None:
    with wired(*QINQ) as (wire, peer), answering(wire, "up0.100.200"):
        time.sleep(0.5)
        (answer,) = replies(
            peer, solicitation(), tagged(solicitation(), 200), doubly(solicitation()), last=doubly(LAST)
        )
        assert (answer[12:16], answer[16:20]) == (b"\x88\xa8\x00\x64", b"\x81\x00\x00\xc8"), answer.hex()


BOND = (
    "link add bond0 type bond mode active-backup miimon 10",
    "link set up0 down",
    "link set up0 master bond0",
    f"link set bond0 address {UPLINK_LLADDR}",
    "link set bond0 up",
)


@case
def bond_as_the_uplink_answers() -> None:
    with wired(*BOND) as (wire, peer):
        await_running(wire.near, "bond0")
        for flags in modes(wire):
            with answering(wire, "bond0", more=flags):
                await_answers(peer)
                assert list(map(len, replies(peer, solicitation(), solicitation(destination=TARGET)))) == [86, 86]


@case
def port_of_a_bond_as_the_uplink_is_silent() -> None:
    with wired(*BOND) as (wire, peer):
        await_running(wire.near, "bond0")
        with answering(wire, "up0") as daemon:
            wait_until(lambda: asked_in_vain(peer, daemon), 20, "a solicitation to be counted")


def asked_in_vain(peer: Peer, daemon: Installed) -> bool:
    """Solicit once, and tell whether that was counted as another link's; fail if it was answered."""
    peer.send(solicitation())
    assert peer.collect(1, 0.2) == []
    return daemon.counters()["ignored vlan_tagged"] > 0


@case
def uplink_in_a_vrf_answers() -> None:
    with wired("link add vrf0 type vrf table 100", "link set vrf0 up", "link set up0 master vrf0") as (wire, peer):
        for flags in modes(wire):
            with answering(wire, "up0", more=flags):
                await_answers(peer)
                asked = solicitation(), solicitation(destination=TARGET), solicitation(source="::")
                assert list(map(len, replies(peer, *asked))) == [86, 86, 86]


MACVTAP = (
    f"link add link up0 name tap0 address {TAPPED_LLADDR} type macvtap mode bridge",
    "link set tap0 up",
)


@case
def below_a_macvtap_only_what_is_ours_is_answered() -> None:
    with wired(*MACVTAP) as (wire, peer), answering(wire, "up0") as daemon:
        await_answers(peer)
        before = daemon.counters()
        to_tap = [
            solicitation(target, destination=target, ethernet_destination=TAPPED_LLADDR) for target in (TARGET, FOREIGN)
        ]
        assert list(map(len, replies(peer, solicitation(), *to_tap))) == [86]
        wait_until(lambda: (daemon.counters() - before)["ignored other_lladdr"] == 2, 10, "the others to be counted")


@case
def macvtap_as_the_uplink_answers() -> None:
    with wired(*MACVTAP) as (wire, peer), answering(wire, "tap0"):
        await_answers(peer)
        to_it = solicitation(destination=TARGET, ethernet_destination=TAPPED_LLADDR)
        answers = replies(peer, solicitation(), to_it)
        assert [answer[6:12] for answer in answers] == [lladdr(TAPPED_LLADDR)] * 2


@case
def vlan_aware_bridge_answers_on_its_vlan_only() -> None:
    lines = (
        f"link add br0 address {UPLINK_LLADDR} type bridge vlan_filtering 1 mcast_snooping 0 forward_delay 0",
        "link set up0 master br0",
        "link set br0 up",
        f"link add link br0 name br0.100 address {UPLINK_LLADDR} type vlan id 100",
        "link set br0.100 up",
    )
    with wired(*lines) as (wire, peer):
        for device, where in (("up0", "master"), ("br0", "self")):
            wire.near.run("bridge", "vlan", "add", "dev", device, "vid", "100", where)
        with answering(wire, "br0.100"):
            time.sleep(0.5)
            (answer,) = replies(peer, solicitation(), tagged(solicitation(), 100), last=tagged(LAST, 100))
            assert answer[12:16] == b"\x81\x00\x00\x64"
        with answering(wire, "br0"):
            await_answers(peer)
            assert list(map(len, replies(peer, solicitation(), tagged(solicitation(), 100)))) == [86]


@case
def what_waits_for_a_successor_is_told_apart_as_well() -> None:
    with (
        wired("link add link up0 name up0.100 type vlan id 100", "link set up0.100 up") as (wire, peer),
        wire.near.enter(),
    ):
        link = Link(
            "up0", "up0", socket.if_nametoindex("up0"), lladdr(UPLINK_LLADDR), 1, True, False, frozenset(), frozenset()
        )
        opened = open_packet_socket("up0", link.index, SOLICITATIONS)
        large = solicitation(options=option(11, bytes(998)))
        asked = [solicitation(), large, solicitation(slla=None)]
        peer.send(*(wrapped for frame in asked for wrapped in (frame, tagged(frame, 100), tagged(frame, 5))))
        time.sleep(0.5)
        kept = os.dup(opened.fileno())
        opened.close()
        with contextlib.closing(adopt(kept, link)) as found:
            assert found.seek()
            assert found.receive() == asked
            assert found.for_others == [frame for frame in asked for _ in (100, 5)]
            found.release()


@case
def who_listens_for_advertisements_hears_none_of_a_vlan() -> None:
    with wired("link add link up0 name up0.100 type vlan id 100", "link set up0.100 up") as (wire, peer):
        said = [
            advertisement(f"2001:db8::{n:x}", ethernet_source=ROUTER_LLADDR, ethernet_destination=UPLINK_LLADDR)
            for n in range(3)
        ]
        with wire.near.enter():
            listener = Listener("up0", ADVERTISEMENTS)
        with contextlib.closing(listener):
            peer.send(tagged(said[0], 100), tagged(said[1], 5), said[2])
            time.sleep(0.5)
            assert listener.receive() == [said[2]]


def main(names: list[str]) -> int:
    """Run the cases with these names, all without any; return how many failed."""
    if not Path(COMMAND).exists():
        Path(COMMAND).symlink_to("/usr/local/bin/ndpresponder")
    failed = 0
    for act in CASES:
        if names and act.__name__ not in names:
            continue
        start = time.monotonic()
        try:
            act()
        except Exception:
            failed += 1
            print(traceback.format_exc())
            print(f"case {act.__name__}: FAILED")
        else:
            print(f"case {act.__name__}: ok, {time.monotonic() - start:.1f} s")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
