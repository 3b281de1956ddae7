"""Reports are repeated before a bridge forgets them, whatever else happens; what the wire shows is in netns/."""

import asyncio
import dataclasses
import itertools
from collections.abc import Callable
from typing import Literal

import pytest
from frames import packed, solicited_node
from sample_link import LINK, OWN
from sample_responder import addresses, prefixes, uplink_state
from sample_uplink import uplink_context

from ndpresponder.config import InterfaceConfig
from ndpresponder.policy.responder import Policy, Responder
from ndpresponder.policy.table import TargetTable
from ndpresponder.unsolicited import mld_reports as reporting
from ndpresponder.unsolicited.groups import MAX_GROUPS
from ndpresponder.unsolicited.unsolicited import Unsolicited
from ndpresponder.wire import mld
from ndpresponder.wire.layout import SOURCE

STATE = uplink_state()
MEMBERSHIP_S = 260  # RFC 3810 9.4
RECORD, FIRST_GROUP = 70, slice(74, 90)
TARGET = "2001:db8::c1"


def test_two_reports_may_be_lost_before_a_bridge_forgets() -> None:
    assert 2 * reporting._INTERVAL_S < MEMBERSHIP_S


def test_all_groups_there_can_be_are_reported_in_88_kb() -> None:
    frames: list[bytes] = []

    async def run() -> None:
        reporter = reporting.MldReports(frames.extend, "global")
        reporter.follow_link(LINK, groups)
        reporter.close()

    groups = frozenset(solicited_node(f"2001:db8::{number:x}") for number in range(MAX_GROUPS))
    asyncio.run(run())
    assert 80_000 < sum(map(len, frames)) <= 88_000


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what is sent, by an uplink whose clock runs two thousand times faster."""
    monkeypatch.setattr(reporting, "_INTERVAL_S", 0.05)
    monkeypatch.setattr(reporting, "_REPEAT_S", 0.02)
    return []


def reporter(reports: list[bytes], enough: Callable[[], None] = lambda: None) -> Unsolicited:
    """Return what reports; `enough` is called with the fourth report."""

    def send(frames: list[bytes]) -> None:
        reports.extend(frames)
        if len(reports) >= 4:
            enough()

    return Unsolicited(
        uplink_context(send), InterfaceConfig("eth0", announce="never", mld_source="global"), Responder(Policy()), list
    )


def test_a_group_is_reported_again_and_again(reports: list[bytes]) -> None:
    async def run() -> None:
        four = asyncio.Event()
        speaker = reporter(reports, four.set)
        speaker.set_table(TargetTable.build(addresses(TARGET)))
        assert reports == []
        speaker.follow_link(LINK, STATE)
        await asyncio.wait_for(four.wait(), 5)
        speaker.close()

    asyncio.run(run())
    assert [report[RECORD] for report in reports[:4]] == [mld.TO_EXCLUDE, *[mld.IS_EXCLUDE] * 3]
    assert {report[FIRST_GROUP] for report in reports} == {solicited_node(TARGET)}


def test_changes_that_never_end_do_not_put_the_repeat_off(reports: list[bytes]) -> None:
    async def run() -> None:
        speaker = reporter(reports)
        speaker.follow_link(LINK, STATE)
        for number in itertools.count(1):
            speaker.set_table(TargetTable.build(addresses(TARGET, f"2001:db8::{number:x}")))
            await asyncio.sleep(0.005)
            repeated = [report for report in reports if report[RECORD] == mld.IS_EXCLUDE]
            if len(repeated) > 3:
                break
            assert number < 500
        speaker.close()

    asyncio.run(run())


def test_only_the_difference_is_reported_at_once_and_in_frames_that_fit(reports: list[bytes]) -> None:
    async def run() -> None:
        speaker = reporter(reports)
        speaker.follow_link(LINK, STATE)
        speaker.set_table(TargetTable.build(claimed=prefixes("2001:db8::/120")))
        assert len(reports) == -(-256 // mld.MAX_RECORDS)
        reports.clear()
        speaker.set_table(TargetTable.build(claimed=prefixes("2001:db8::/121")))
        assert {report[RECORD] for report in reports} == {mld.TO_INCLUDE}
        assert len(reports) == -(-128 // mld.MAX_RECORDS)
        speaker.close()

    asyncio.run(run())


def test_a_new_source_reports_everything_anew(reports: list[bytes]) -> None:
    async def run() -> None:
        speaker = reporter(reports)
        speaker.set_table(TargetTable.build(addresses(TARGET)))
        speaker.follow_link(dataclasses.replace(LINK, addresses=addresses("fe80::2")), STATE)
        assert reports == []
        speaker.follow_link(LINK, STATE)
        assert [report[RECORD] for report in reports] == [mld.TO_EXCLUDE]
        speaker.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("mld_source", "sources"), [("linklocal", {packed("fe80::2")}), ("both", {packed("fe80::2"), packed(OWN)})]
)
def test_reports_come_from_the_sources_that_are_asked_for(
    reports: list[bytes], mld_source: Literal["linklocal", "both"], sources: set[bytes]
) -> None:
    async def run() -> None:
        speaker = Unsolicited(
            uplink_context(reports.extend),
            InterfaceConfig("eth0", announce="never", mld_source=mld_source),
            Responder(Policy()),
            list,
        )
        speaker.follow_link(LINK, STATE)
        speaker.set_table(TargetTable.build(addresses(TARGET)))
        assert {report[SOURCE] for report in reports} == sources
        reports.clear()
        # its link-local address is not found unique
        speaker.follow_link(dataclasses.replace(LINK, addresses=addresses(OWN)), STATE)
        assert {report[SOURCE] for report in reports} == sources - {packed("fe80::2")} | {bytes(16)}
        assert {report[FIRST_GROUP] for report in reports} == {solicited_node(TARGET)}
        speaker.close()

    asyncio.run(run())


def test_reports_begin_anew_once_the_source_is_proven(reports: list[bytes]) -> None:
    async def run() -> None:
        speaker = reporter(reports)
        speaker.set_table(TargetTable.build(addresses(TARGET)))
        speaker.follow_link(dataclasses.replace(LINK, unproven=addresses(OWN)), STATE)
        assert reports == []
        speaker.follow_link(LINK, STATE)
        assert [frame[SOURCE] for frame in reports] == [packed(OWN)]
        speaker.close()

    asyncio.run(run())
