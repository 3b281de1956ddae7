"""Packet sockets close together: each close waits in the kernel, and those of many uplinks wait at the same time."""

import os
import threading

import pytest

from ndpresponder.linux.packet import fanout, handover
from ndpresponder.linux.packet.closing import close_in_thread, wait_closed
from ndpresponder.linux.packet.fanout import Fanout
from ndpresponder.linux.packet.handover import Handover
from ndpresponder.linux.systemd import Notifier

UPLINKS = 32
DEADLINE_S = 10


class Meeting:
    """Stands in for a socket whose close takes until those of all uplinks have begun to close."""

    def __init__(self) -> None:
        self._all = threading.Barrier(UPLINKS)
        self.closed = 0

    def close(self, _: int = 0) -> None:
        self._all.wait(DEADLINE_S)
        self.closed += 1


def test_the_sockets_of_all_uplinks_close_at_the_same_time() -> None:
    sockets = Meeting()
    for _ in range(UPLINKS):
        close_in_thread(sockets.close)
    wait_closed()
    assert sockets.closed == UPLINKS


def test_the_counters_of_all_uplinks_close_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets = Meeting()
    monkeypatch.setattr(fanout, "_joined", lambda *_: sockets)
    groups = [Fanout("up", number) for number in range(UPLINKS)]
    for group in groups:
        group.grow(1)
    for group in groups:
        close_in_thread(group.close)
    wait_closed()
    assert sockets.closed == UPLINKS


def test_what_was_left_for_nobody_closes_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opened:
        def __init__(self, index: int) -> None:
            self.index = index

        def detach(self) -> int:
            return self.index

    sockets = Meeting()
    left = Handover(Notifier({}), {}, lambda *_: None)
    left.leave()
    for index in range(UPLINKS):
        left.close(Opened(index))  # type: ignore[arg-type]
    assert len(left.to_pass) == UPLINKS
    with monkeypatch.context() as patched:
        patched.setattr(handover.os, "close", sockets.close)
        left.close_left()
        wait_closed()
    assert (sockets.closed, left.to_pass) == (UPLINKS, [])


def test_without_a_thread_a_socket_is_closed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    descriptor = os.open(os.devnull, os.O_RDONLY)
    close_in_thread(lambda: os.close(descriptor))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
