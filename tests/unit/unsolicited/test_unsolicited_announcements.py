"""Gateways that come and go cannot make an uplink announce everything for ever; what the wire shows is in netns/."""

import asyncio
import dataclasses
from collections.abc import Iterable

import pytest
from fake_engine import until
from frames import packed
from sample_link import LINK
from sample_responder import addresses, uplink_state
from sample_uplink import uplink_context

from ndpresponder.config import InterfaceConfig
from ndpresponder.linux.netlink import MAX_SERVED_GATEWAYS
from ndpresponder.policy.responder import Policy, Responder
from ndpresponder.policy.table import TargetTable
from ndpresponder.unsolicited import groups, unsolicited
from ndpresponder.unsolicited.unsolicited import Unsolicited
from ndpresponder.wire.layout import ICMPV6, NEXT_HEADER

STATE = uplink_state()
TARGET = "2001:db8::c1"
ICMP_TYPE, ASKED_FOR, ADVERTISEMENT = 54, slice(62, 78), 136


def speaker(frames: list[bytes]) -> Unsolicited:
    """Return what announces, but reports and joins nothing."""
    return Unsolicited(uplink_context(frames.extend), InterfaceConfig("eth0"), Responder(Policy()), list)


def test_new_gateways_restart_the_announcements_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    interval_s = 0.2
    monkeypatch.setattr(unsolicited, "_RESTART_INTERVAL_S", interval_s)
    frames: list[bytes] = []

    async def run() -> float:
        loop = asyncio.get_running_loop()
        uplink = speaker(frames)
        uplink.set_table(TargetTable.build(addresses(TARGET)))
        uplink.follow_link(LINK, STATE)
        frames.clear()
        began = loop.time()
        for number in range(0x100, 0x200):
            uplink.follow_link(
                dataclasses.replace(LINK, gateways=LINK.gateways | addresses(f"fe80::{number:x}")), STATE
            )
            await asyncio.sleep(0)
        await until(lambda: any(frame[ASKED_FOR] == packed("fe80::1ff") for frame in frames), "the last gateway")
        uplink.close()
        return loop.time() - began

    took_s = asyncio.run(run())
    announced = sum(frame[ICMP_TYPE] == ADVERTISEMENT for frame in frames)
    assert 2 <= announced <= 1 + took_s / interval_s + took_s  # each restart once, and the repeats of the last


def test_a_target_is_announced_to_so_many_gateways_and_no_more() -> None:
    frames: list[bytes] = []

    async def run() -> None:
        uplink = speaker(frames)
        uplink.set_table(TargetTable.build(addresses(TARGET)))
        crowd = addresses(*(f"fe80::{number:x}" for number in range(256, 512)))
        uplink.follow_link(dataclasses.replace(LINK, gateways=crowd), STATE)
        uplink.close()

    asyncio.run(run())
    assert len([frame for frame in frames if frame[NEXT_HEADER] == ICMPV6]) == 1 + MAX_SERVED_GATEWAYS


def test_between_two_slices_of_many_targets_the_loop_has_its_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "SLICE", 10)
    live = frozenset(number.to_bytes(16, "big") for number in range(1 << 64, (1 << 64) + 95))
    turns = 0
    counted = asyncio.Event()

    class Watched(groups.GroupTable):
        def choose(self, claimed: Iterable[tuple[int, frozenset[int]]]) -> bool:
            counted.set()
            return super().choose(claimed)

    async def run() -> None:
        nonlocal turns
        monkeypatch.setattr(unsolicited, "GroupTable", Watched)
        uplink = speaker([])
        uplink.set_table(TargetTable.build(live))
        while not counted.is_set():
            turns += 1
            await asyncio.sleep(0)
        uplink.close()

    asyncio.run(run())
    assert turns >= len(live) // 10
