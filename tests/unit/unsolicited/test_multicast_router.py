"""Multicast router discovery, octet for octet as scapy builds it (RFC 4286), and when it is said."""

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import pytest
from frames import UPLINK_LLADDR, lladdr, packed
from sample_link import LINK, OWN
from sample_responder import addresses
from scapy.layers.inet6 import (
    ICMPv6MRD_Advertisement,
    ICMPv6MRD_Termination,
    IPv6,
    IPv6ExtHdrHopByHop,
    PadN,
    RouterAlert,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from ndpresponder.linux.netlink import Link
from ndpresponder.unsolicited import multicast_router
from ndpresponder.unsolicited.multicast_router import MulticastRouter
from ndpresponder.wire import mld
from ndpresponder.wire.layout import ICMP, SOURCE
from ndpresponder.wire.mld import ROUTER_ADVERTISEMENT as ADVERTISEMENT
from ndpresponder.wire.mld import ROUTER_TERMINATION as TERMINATION

LOCAL = "fe80::2"
KIND = ICMP + 8  # behind the Hop-by-Hop Options


def of_scapy(source: str, message: Packet) -> bytes:
    """Return what scapy makes of it, checksum and all."""
    return bytes(
        Ether(src=UPLINK_LLADDR, dst="33:33:00:00:00:6a")
        / IPv6(src=source, dst="ff02::6a", hlim=1)
        / IPv6ExtHdrHopByHop(options=[RouterAlert(value=0), PadN(optdata=b"")])
        / message
    )


def test_an_advertisement_is_what_scapy_builds() -> None:
    expected = of_scapy(LOCAL, ICMPv6MRD_Advertisement(advinter=20, queryint=0, robustness=0))
    assert mld.advertise_router(lladdr(UPLINK_LLADDR), packed(LOCAL), 20) == expected


def test_a_termination_is_what_scapy_builds() -> None:
    assert mld.terminate_router(lladdr(UPLINK_LLADDR), packed(LOCAL)) == of_scapy(LOCAL, ICMPv6MRD_Termination())


def said(
    act: Callable[[MulticastRouter], None], source: Literal["linklocal", "global", "both"] = "linklocal"
) -> list[tuple[int, str]]:
    """Return which messages were said while `act` was done, and from which kind of address."""
    frames: list[bytes] = []

    async def run() -> None:
        router = MulticastRouter(frames.extend, source)
        act(router)
        router.close()

    asyncio.run(run())
    return [(frame[KIND], "local" if frame[SOURCE] == packed(LOCAL) else "routed") for frame in frames]


@pytest.mark.parametrize(
    ("source", "link", "sources"),
    [
        ("linklocal", LINK, ["local"]),
        ("global", LINK, ["routed"]),
        ("both", LINK, ["local", "routed"]),
        ("linklocal", dataclasses.replace(LINK, addresses=addresses(OWN)), ["routed"]),
        ("linklocal", dataclasses.replace(LINK, unproven=addresses(LOCAL)), []),
        ("global", dataclasses.replace(LINK, addresses=addresses(LOCAL)), []),
    ],
)
def test_the_source_follows_that_of_the_reports(
    source: Literal["linklocal", "global", "both"], link: Link, sources: Sequence[str]
) -> None:
    assert said(lambda router: router.follow_link(link, True), source) == [(ADVERTISEMENT, each) for each in sources]


def test_what_is_wanted_no_more_is_terminated_once() -> None:
    def act(router: MulticastRouter) -> None:
        router.follow_link(LINK, True)
        router.follow_link(LINK, True)
        router.follow_link(LINK, False)
        router.follow_link(LINK, False)
        router.terminate()

    assert said(act) == [(ADVERTISEMENT, "local"), (TERMINATION, "local")]


def test_another_link_local_address_ends_the_old_one_first() -> None:
    def act(router: MulticastRouter) -> None:
        router.follow_link(LINK, True)
        router.follow_link(dataclasses.replace(LINK, addresses=addresses(OWN, "fe80::3")), True)

    assert said(act) == [
        (ADVERTISEMENT, "local"),
        (TERMINATION, "local"),
        (ADVERTISEMENT, "routed"),
    ]


def test_a_link_that_goes_down_is_told_nothing_and_told_anew_when_it_is_up() -> None:
    def act(router: MulticastRouter) -> None:
        router.follow_link(LINK, True)
        router.follow_link(None, True)
        router.terminate()
        router.follow_link(LINK, True)

    assert said(act) == [(ADVERTISEMENT, "local")] * 2


def test_three_follow_each_other_soon_and_the_others_as_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multicast_router, "_INTERVAL_S", 0.2)
    monkeypatch.setattr(multicast_router, "_JITTER_S", 0.01)
    monkeypatch.setattr(multicast_router, "_FIRST_INTERVAL_S", 0.02)
    monkeypatch.setattr(mld, "advertise_router", lambda *_: b"")
    times: list[float] = []

    async def run() -> None:
        loop, five = asyncio.get_running_loop(), asyncio.Event()

        def send(_: list[bytes]) -> None:
            times.append(loop.time())
            if len(times) == 5:
                five.set()

        router = MulticastRouter(send, "linklocal")
        router.follow_link(LINK, True)
        await asyncio.wait_for(five.wait(), 5)
        router.close()

    asyncio.run(run())
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(pauses[:2]) < 0.19 <= min(pauses[2:])
