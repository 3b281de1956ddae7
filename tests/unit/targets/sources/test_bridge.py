"""What the kernel's answer lacks is not always gone, and its refusal is not always the absence of an interface."""

import asyncio
import errno
import struct
from typing import Any

import pytest
from sample_responder import addresses

from ndpresponder.linux.netlink import downstream as asking
from ndpresponder.linux.netlink.asking import LinkEntry, Refused
from ndpresponder.linux.netlink.downstream import Downstream, ask_downstream
from ndpresponder.targets.source import TargetSet
from ndpresponder.targets.sources import bridge
from ndpresponder.targets.sources.bridge import BridgeSource

C1, C2 = sorted(addresses("2001:db8:5::1", "2001:db8:5::2"))
ELSEWHERE = 99
A_NEIGHBOR_ELSEWHERE_IS_GONE = struct.pack("=IHHII", 28, 29, 0, 0, 0) + struct.pack("=BxxxiHBB", 10, ELSEWHERE, 4, 0, 1)


def downstream(*neighbors: bytes) -> Downstream:
    return Downstream(7, False, "", frozenset(), dict.fromkeys(neighbors, b"\2" * 6), frozenset())


@pytest.mark.parametrize("removed", [True, False])
def test_what_an_answer_lacks_is_asked_for_again_if_another_was_removed_meanwhile(
    monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    """The kernel goes on at a number: with one less before it, one that stays is passed over."""
    answers = [downstream(C1, C2), downstream(C2), downstream(C1, C2)]
    source, published = BridgeSource("br0", ()), list[TargetSet]()

    async def answer(*_: object) -> Downstream:
        if len(answers) == 2 and removed:
            source._matters(A_NEIGHBOR_ELSEWHERE_IS_GONE)
        return answers.pop(0)

    async def main() -> None:
        for _ in range(2):
            source._changes.notify()
            while source._changes._changed.is_set():
                source._changes._changed.clear()
                await source._look(published.append)

    monkeypatch.setattr(bridge, "ask_downstream", answer)
    asyncio.run(main())
    assert [targets.live for targets in published] == [{C1, C2}, {C1, C2} if removed else {C2}]


def refusing(number: int, *, by: str, after: int) -> Any:
    """Return what refuses with an errno, once it was asked for so many interfaces."""
    asked = list[str]()

    def link(name: str) -> LinkEntry:
        asked.append(name)
        if by == "link" and len(asked) > after:
            raise Refused(number)
        return LinkEntry(7, 1, 0, name, 0, "", {}, {})

    async def dump(_: int) -> Any:
        if by == "dump":
            raise Refused(number)
        return []

    return link, dump


@pytest.mark.parametrize(
    ("number", "by", "after"),
    [
        (errno.EINVAL, "dump", 9),  # the interface is still there
        (errno.ENOMEM, "link", 1),  # is the uplink one of its ports?
    ],
)
def test_a_refusal_is_not_taken_for_an_interface_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, number: int, by: str, after: int
) -> None:
    link, dump = refusing(number, by=by, after=after)
    monkeypatch.setattr(asking, "find_link", link)
    monkeypatch.setattr(asking, "_addresses", dump)
    monkeypatch.setattr(asking, "_neighbors", dump)
    with pytest.raises(Refused):
        asyncio.run(ask_downstream("br0", ["up0"]))
