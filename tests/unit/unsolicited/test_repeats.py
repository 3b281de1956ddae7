"""What is said again and again goes on, whatever one attempt ends in; and who could not listen tries again."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fake_engine import until
from frames import packed, solicited_node
from sample_link import LINK
from sample_responder import addresses, prefixes, uplink_state
from sample_uplink import uplink_context

from ndpresponder.config import InterfaceConfig
from ndpresponder.errors import LinkNotReady
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.packet import listener as listening
from ndpresponder.policy.requester import Policy
from ndpresponder.policy.responder import Responder
from ndpresponder.policy.table import TargetTable
from ndpresponder.unsolicited import announcements, mld_reports, multicast_router, owner_search
from ndpresponder.unsolicited.mld_reports import MldReports
from ndpresponder.unsolicited.moved_targets import MovedTargets
from ndpresponder.unsolicited.multicast_router import MulticastRouter
from ndpresponder.unsolicited.owner_search import OwnerSearch
from ndpresponder.unsolicited.unsolicited import Unsolicited
from ndpresponder.wire.layout import ICMP_TYPE, NEIGHBOR_ADVERTISEMENT

STATE = uplink_state()
TARGET = "2001:db8::c1"
GROUPS = frozenset({solicited_node(TARGET)})
Send = Callable[[list[bytes]], None]


def report(send: Send) -> Any:
    reporter = MldReports(send, "global")
    reporter.follow_link(LINK, GROUPS)
    return reporter


def report_in_version_1(send: Send) -> Any:
    reporter = MldReports(send, "global")
    reporter._version_1_until_s = float("inf")
    reporter.follow_link(LINK, frozenset(solicited_node(f"2001:db8::{number:x}") for number in range(400)))
    return reporter


def pass_for_a_router(send: Send) -> Any:
    router = MulticastRouter(send, "linklocal")
    router.follow_link(LINK, True)
    return router


def announce_live_targets(send: Send) -> Any:
    def send_announcements(frames: list[bytes]) -> None:
        send([frame for frame in frames if frame[ICMP_TYPE] == NEIGHBOR_ADVERTISEMENT])

    unsolicited = Unsolicited(
        uplink_context(send_announcements), InterfaceConfig("eth0", mld_router="never"), Responder(Policy()), list
    )
    unsolicited.set_table(TargetTable.build(addresses(TARGET)))
    unsolicited.follow_link(LINK, STATE)
    return unsolicited


def announce_a_prefix(send: Send) -> Any:
    responder = Responder(Policy())
    responder.set_state(uplink_state())
    moves = MovedTargets(uplink_context(send), responder)
    moves.configure(silent=False, speaks=True, takes_over=True)
    moves.follow_link(LINK, STATE)
    moves.set_table(TargetTable.build(claimed=prefixes("2001:db8:5::/122")))
    return moves


BEGINNINGS = (report, report_in_version_1, pass_for_a_router, announce_live_targets, announce_a_prefix)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (mld_reports, "_INTERVAL_S"),
        (mld_reports, "_REPEAT_S"),
        (multicast_router, "_FIRST_INTERVAL_S"),
    ):
        monkeypatch.setattr(module, name, 0.02)
    monkeypatch.setattr(announcements, "INTERVAL_S", 0.02)


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_one_attempt_that_fails_is_not_the_last(begin: Callable[[Send], Any]) -> None:
    attempts = list[int]()

    def send(frames: list[bytes]) -> None:
        if frames:
            attempts.append(len(frames))
            if len(attempts) == 2:
                raise ZeroDivisionError

    async def run() -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        speaker = begin(send)
        await until(lambda: len(attempts) >= 3, "the third attempt", 2)
        speaker.close()
        return told

    told = asyncio.run(run())
    assert [type(each["exception"]) for each in told] == [ZeroDivisionError]


class Refusing:
    """Stands in for `Listener`: refused twice, like one without a free descriptor."""

    refusals = 2

    def __init__(self, *_: object) -> None:
        if Refusing.refusals:
            Refusing.refusals -= 1
            raise LinkNotReady("too many open files")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("begin", [report, pass_for_a_router])
def test_who_could_not_listen_tries_again(begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusing, "refusals", 2)
    watched = list[object]()
    monkeypatch.setattr(listening, "Listener", Refusing)
    monkeypatch.setattr(listening, "watch", lambda listener, *_: watched.append(listener))
    monkeypatch.setattr(asyncio.SelectorEventLoop, "remove_reader", lambda *_: None)

    async def run() -> None:
        speaker = begin(lambda _: None)
        await until(lambda: watched, "a listener", 2)
        speaker.close()

    asyncio.run(run())


@pytest.mark.parametrize("refusals", [2, 1000])
def test_of_what_nobody_can_be_heard_nothing_is_taken_for_nobodys(
    refusals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that another host owns would be announced as moved here."""
    monkeypatch.setattr(Refusing, "refusals", refusals)
    monkeypatch.setattr(listening, "Listener", Refusing)
    monkeypatch.setattr(listening, "watch", lambda *_: None)
    monkeypatch.setattr(owner_search, "_AGAIN_S", 0.01, raising=False)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_reader", lambda *_: None)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "remove_reader", lambda *_: None)
    asked, nobodys = list[bytes](), list[bytes]()

    async def run(link: Link) -> None:
        searching = OwnerSearch(asked.extend)
        searching.begin(link, [packed(TARGET)], (0.0,), nobodys.extend)
        task = searching._task
        assert task is not None
        async with asyncio.timeout(5):
            await task

    asyncio.run(run(LINK))
    heard = refusals == 2
    assert (bool(asked), nobodys) == (heard, [packed(TARGET)] if heard else [])
