"""The daemon's event loop: frames first, and nothing else forgotten."""

import asyncio
import socket
import threading

import pytest

from ndpresponder.errors import LinkNotReady, SourceUnavailable
from ndpresponder.linux.loop import FrameLoop, beat, read_frames, stop_reading, watch


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


def test_frames_that_schedule_nothing_take_no_turn_of_asyncio(monkeypatch):
    turns = []

    async def main():
        frames = asyncio.get_running_loop().frames
        select = frames.select
        monkeypatch.setattr(frames, "select", lambda timeout: turns.append(timeout) or select(timeout))
        near, far = socket.socketpair()
        seen = []
        finished = asyncio.Event()

        def read():
            seen.append(near.recv(1))
            if len(seen) == 200:
                finished.set()
            else:
                far.send(b"x")  # the next one comes while this is answered

        with near, far:
            read_frames(near, read)
            turns.clear()
            far.send(b"x")
            await finished.wait()
            stop_reading(near)
        return len(turns)

    assert run(main) < 5


@pytest.mark.parametrize("way", ["soon", "later", "future", "thread", "reader"])
def test_what_a_frame_causes_happens_at_once_while_more_frames_come(way):
    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        other, its_far = socket.socketpair()
        happened, result = asyncio.Event(), loop.create_future()
        result.add_done_callback(lambda _: happened.set())
        loop.add_reader(other, happened.set)
        causes = {
            "soon": lambda: loop.call_soon(happened.set),
            "later": lambda: loop.call_later(0.01, happened.set),
            "future": lambda: result.done() or result.set_result(None),
            "thread": lambda: threading.Thread(target=loop.call_soon_threadsafe, args=(happened.set,)).start(),
            "reader": lambda: its_far.send(b"x"),
        }
        read = []

        def on_frame():  # never read: readable for ever
            if not read:
                causes[way]()
            read.append(1)

        with near, far, other, its_far:
            read_frames(near, on_frame)
            far.send(b"x")
            async with asyncio.timeout(5):
                await happened.wait()
            stop_reading(near)
            loop.remove_reader(other)
        return len(read)

    assert run(main) >= 1


def test_a_timer_is_not_late_while_frames_come():
    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        with near, far:
            far.send(b"x")
            read_frames(near, lambda: None)
            due_s = loop.time() + 0.05
            await asyncio.sleep(0.05)
            stop_reading(near)
        return loop.time() - due_s

    assert 0 <= run(main) < 0.5


def test_what_happens_in_a_beat_happens_together():
    async def main():
        loop, times = asyncio.get_running_loop(), []

        async def each(offset_s):
            await asyncio.sleep(offset_s)
            for _ in range(3):
                await beat(0.1, 0.05)
                times.append(loop.time())

        async with asyncio.TaskGroup() as group:
            for offset_s in (0.0, 0.02, 0.04):
                group.create_task(each(offset_s))
        return times

    times = run(main)
    assert all(-1e-6 < time_s - round(time_s, 1) < 0.05 for time_s in times)
    assert len({round(time_s, 1) for time_s in times}) <= 4  # nine waits
