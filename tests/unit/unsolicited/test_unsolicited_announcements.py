"""Gateways that come and go cannot make an uplink announce everything for ever; what the wire shows is in netns/."""

import asyncio
import dataclasses
import errno

import pytest
from fake_engine import until
from frames import packed, solicited_node
from sample_link import LINK
from sample_responder import addresses, uplink_state
from sample_uplink import uplink_context
from structlog.testing import capture_logs

from ndpresponder.config import InterfaceConfig
from ndpresponder.linux.netlink import MAX_SERVED_GATEWAYS
from ndpresponder.linux.packet.memberships import Memberships
from ndpresponder.policy.table import TargetTable
from ndpresponder.unsolicited import unsolicited
from ndpresponder.unsolicited.unsolicited import Unsolicited

STATE = uplink_state()
TARGET = "2001:db8::c1"
ICMP_TYPE, ASKED_FOR, ADVERTISEMENT = 54, slice(62, 78), 136


def speaker(frames: list[bytes]) -> Unsolicited:
    """Return what announces, but reports and joins nothing."""
    return Unsolicited(uplink_context(frames.extend), InterfaceConfig("eth0"), lambda: 0)


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
    assert len(frames) == 1 + MAX_SERVED_GATEWAYS


def test_what_the_kernel_refused_to_join_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsolicited, "_REJOIN_S", 0.01)
    refusals = [errno.ENOMEM, errno.ENOMEM]
    tried: list[frozenset[bytes]] = []

    class Refusing(Memberships):
        def change(self, most: int) -> int:
            tried.append(frozenset(self._to_join))
            self._to_join.clear()
            return refusals.pop() if tried[-1] and refusals else 0

    monkeypatch.setattr(unsolicited, "Memberships", Refusing)
    wanted = frozenset({solicited_node(TARGET)})

    def joins() -> list[frozenset[bytes]]:
        return [groups for groups in tried if groups]

    async def run() -> None:
        uplink = speaker([])
        uplink.follow_link(LINK, STATE)
        uplink.set_table(TargetTable.build(addresses(TARGET)))
        await until(lambda: joins() == [wanted] * 3, "a third attempt")  # refused, refused, joined
        with pytest.raises(AssertionError, match="another attempt"):
            await until(lambda: len(joins()) > 3, "another attempt", 0.05)
        uplink.close()

    with capture_logs() as logs:
        asyncio.run(run())
    assert [line["event"] for line in logs] == ["cannot join all solicited-node groups"]
