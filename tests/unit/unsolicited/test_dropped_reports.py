"""Whether a filter is the reason for silence is asked once, and not before it can be; the wire is in e2e/."""

import asyncio
import dataclasses

import pytest
from fake_engine import until
from frames import packed
from sample_link import LINK
from structlog.testing import capture_logs

from ndpresponder.errors import LinkNotReady
from ndpresponder.linux.netlink import Link
from ndpresponder.observe.logs import get_logger
from ndpresponder.unsolicited import dropped_reports
from ndpresponder.unsolicited.dropped_reports import DroppedReports

LOCAL = packed("fe80::2")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_LOOK_S", 0.01), ("_SILENCE_S", 0.02), ("_ANSWER_S", 0.01)):
        monkeypatch.setattr(dropped_reports, name, value)
    monkeypatch.setattr(dropped_reports, "_is_queried", lambda _: True)


def watch(link: Link) -> DroppedReports:
    return DroppedReports(lambda: link, lambda: 0, lambda: True, lambda _: None, get_logger())


def test_a_gateway_that_comes_late_is_asked_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    links = [dataclasses.replace(LINK, gateways=frozenset())] * 10
    asked = list[bytes]()

    async def is_answered(_: DroppedReports, __: Link, source: bytes, ___: list[bytes]) -> bool:
        asked.append(source)
        return source != LOCAL

    async def main() -> None:
        watching = DroppedReports(
            lambda: links.pop() if links else LINK, lambda: 0, lambda: True, lambda _: None, get_logger()
        )
        task = asyncio.create_task(watching.run())
        await until(lambda: logs, "the warning", 2)
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    monkeypatch.setattr(DroppedReports, "_is_answered", is_answered)
    with capture_logs() as logs:
        asyncio.run(main())
    assert (len(logs), len(asked)) == (1, 2)


def test_who_cannot_listen_has_not_heard_that_nobody_answers() -> None:
    async def main() -> None:
        async with asyncio.timeout(5):
            await watch(dataclasses.replace(LINK, device="nowhere")).run()

    with pytest.raises(LinkNotReady):
        asyncio.run(main())
