"""The daemon's event loop: frames first, and nothing else forgotten."""

import asyncio
import socket

import pytest

from ndpresponder.errors import LinkNotReady, SourceUnavailable
from ndpresponder.linux.loop import FrameLoop, read_frames, stop_reading, watch


def run(main):
    with asyncio.Runner(loop_factory=FrameLoop) as runner:
        return runner.run(main())


def test_frames_are_read_before_what_was_ready_earlier():
    async def main():
        order = []
        near, far = socket.socketpair()
        other, its_far = socket.socketpair()
        with near, far, other, its_far:
            asyncio.get_running_loop().add_reader(other, lambda: order.append("reader") or other.recv(1))
            read_frames(near, lambda: order.append("frame") or near.recv(1))
            its_far.send(b"x")
            far.send(b"x")
            while len(order) < 2:
                await asyncio.sleep(0)
            stop_reading(near)
            asyncio.get_running_loop().remove_reader(other)
        return order

    assert run(main) == ["frame", "reader"]


def test_a_flood_of_frames_leaves_room_for_everything_else():
    async def main():
        near, far = socket.socketpair()
        with near, far:
            far.send(b"x")
            read_frames(near, lambda: None)  # never read: readable for ever
            await asyncio.sleep(0.01)
            stop_reading(near)
        return "slept"

    assert run(main) == "slept"


def test_an_exception_is_told_and_the_loop_goes_on():
    async def main():
        told = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.set_result(context["exception"]))
        near, far = socket.socketpair()
        with near, far:

            def fail():
                near.recv(1)
                raise ValueError("bad")

            read_frames(near, fail)
            far.send(b"x")
            error = await asyncio.wait_for(told, 5)
            stop_reading(near)
        return error

    with pytest.raises(ValueError, match="bad"):
        raise run(main)


def test_what_is_no_longer_read_calls_nobody():
    async def main():
        near, far = socket.socketpair()
        calls = []
        with near, far:
            read_frames(near, lambda: calls.append(1))
            stop_reading(near)
            far.send(b"x")
            for _ in range(3):  # turns of the loop, of which the first would read it
                await asyncio.sleep(0)
            read_frames(near, lambda: calls.append(near.recv(1)))
            while not calls:
                await asyncio.sleep(0)
            stop_reading(near)
        return calls

    assert run(main) == [b"x"]


class Refused:
    """A source that epoll refuses: a file is always ready."""

    def __init__(self, descriptor):
        self._descriptor = descriptor

    def fileno(self):
        return self._descriptor


def test_what_epoll_refuses_is_tried_again_by_who_asked_and_may_be_let_go_all_the_same(tmp_path):
    async def main():
        with (tmp_path / "file").open("wb") as file:
            refused = Refused(file.fileno())
            with pytest.raises(LinkNotReady, match="Operation not permitted"):
                read_frames(refused, lambda: None)
            stop_reading(refused)
            with pytest.raises(SourceUnavailable, match="Operation not permitted"):
                watch(refused, lambda: None)

    run(main)


def test_one_callback_takes_the_place_of_another():
    async def main():
        said = []
        near, far = socket.socketpair()
        with near, far:
            read_frames(near, lambda: said.append("first"))
            read_frames(near, lambda: said.append("second") or near.recv(1))
            far.send(b"x")
            await asyncio.sleep(0.01)
            stop_reading(near)
        return said

    assert run(main) == ["second"]
