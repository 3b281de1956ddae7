"""A kernel that does not answer where it forwards says neither that there is a route nor that there is none."""

import asyncio
import errno
import struct
from collections.abc import Callable
from typing import Any

import pytest
from sample_link import LINK
from sample_responder import addresses

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink.forwarding import Forwarding, Way
from ndpresponder.targets.address_conflicts import AddressConflicts
from ndpresponder.targets.admission import Admission
from ndpresponder.targets.board import Entry, TargetBoard
from ndpresponder.targets.source import TargetSet

(TARGET,) = addresses("2001:db8::c1")


class Short:
    """A netlink socket while the kernel is short of memory."""

    def __init__(self, refuse: Callable[[], bytes]) -> None:
        self.refuse = refuse

    def send(self, _: bytes) -> None:
        pass

    def recv(self, _: int) -> bytes:
        return self.refuse()


def refused() -> bytes:
    raise OSError(errno.ENOBUFS, "No buffer space available")


def answered(number: int) -> Callable[[], bytes]:
    return lambda: struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -number) + bytes(16)


def asking(refuse: Callable[[], bytes]) -> Forwarding:
    forwarding: Any = Forwarding.__new__(Forwarding)
    forwarding._socket, forwarding._sequence = Short(refuse), 0
    return forwarding  # type: ignore[no-any-return]


SHORTAGES = {"to send": refused, "to answer": answered(errno.ENOBUFS), "for a route": answered(errno.ENOMEM)}


@pytest.mark.parametrize("refuse", SHORTAGES.values(), ids=SHORTAGES)
def test_no_memory_is_no_route_and_no_refusal(refuse: Callable[[], bytes]) -> None:
    with pytest.raises(SourceUnavailable):
        asking(refuse).way(TARGET, 7)


def test_a_refusal_is_one() -> None:
    assert asking(answered(errno.ENETUNREACH)).way(TARGET, 7) == Way(missing=True)
    assert asking(answered(errno.EACCES)).way(TARGET, 7) == Way()


def test_what_is_not_known_takes_no_live_target_away() -> None:
    class Container:
        kind, name, uplinks = "docker", "web", None

    async def main() -> None:
        call_later = asyncio.get_running_loop().call_later
        board = TargetBoard({"eth0": frozenset()}, lambda *_: None, call_later)
        admission = Admission(board, AddressConflicts(lambda *_: None, call_later, lambda: 0.0))
        entry = Entry(Container())  # type: ignore[arg-type]
        targets = TargetSet(frozenset((TARGET,)), downstream={"lo": frozenset((TARGET,))})
        with pytest.raises(SourceUnavailable):
            await admission._ask(asking(refused), entry, targets, LINK)
        assert admission._unrouted == {}

    asyncio.run(main())


def test_after_events_were_lost_the_kernel_is_asked_for_every_route_again() -> None:
    board: Any = None
    admission = Admission(board, AddressConflicts(lambda *_: None, lambda *_: None, lambda: 0.0))  # type: ignore[arg-type, return-value]
    admission._routes_changed = False
    assert admission._matters(b"")
    assert admission._routes_changed
