"""A call that hangs holds up neither the loop nor the end, and is tried anew ever more rarely until one returns."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time

import pytest

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux import slow_calls
from ndpresponder.linux.slow_calls import SlowCalls

SHORT_S = 0.01
HANGING = """
import asyncio, time
from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.slow_calls import SlowCalls

async def main():
    try:
        await SlowCalls("a disk", 0.1).call(lambda: time.sleep(60))
    except SourceUnavailable as error:
        print(error)

asyncio.run(main())
"""


def test_a_call_returns_or_raises_what_is_called() -> None:
    async def main() -> None:
        calls = SlowCalls("a disk")
        assert await calls.call(lambda: 1) == 1
        with pytest.raises(ZeroDivisionError):
            await calls.call(lambda: 1 // 0)
        assert await calls.call(threading.get_ident) != threading.get_ident()

    asyncio.run(main())


def test_the_process_ends_though_a_call_hangs() -> None:
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("a disk does not answer: does its disk hang?\n", "")


def test_what_hangs_is_tried_anew_ever_more_rarely() -> None:
    released, tried = threading.Event(), 0

    def hang() -> None:
        nonlocal tried
        tried += 1
        released.wait()

    async def main() -> None:
        calls = SlowCalls("a disk", SHORT_S)
        began_s = time.monotonic()
        while time.monotonic() < began_s + 50 * SHORT_S:
            with pytest.raises(SourceUnavailable):
                await calls.call(hang)
        assert 2 <= tried <= 6  # at 0, 1, 3, 7, 15 and 31 times that, if not later
        found = None
        while found is None:  # another disk is there now
            with contextlib.suppress(SourceUnavailable):
                found = await calls.call(lambda: "a file")
        released.set()
        assert await calls.call(lambda: "at once") == "at once"

    asyncio.run(main())


def test_a_disk_that_hung_for_long_is_tried_again_within_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doubled without end, the pause after a night is as long as the night."""
    monkeypatch.setattr(slow_calls, "_RAREST_S", 4 * SHORT_S)
    released, tried = threading.Event(), 0

    def hang() -> None:
        nonlocal tried
        tried += 1
        released.wait()

    async def main() -> None:
        slow = SlowCalls("a disk", SHORT_S)
        began_s = time.monotonic()
        while tried < 12:
            with pytest.raises(SourceUnavailable):
                await slow.call(hang)
        assert time.monotonic() - began_s < 200 * SHORT_S  # without a bound 4,095 times that
        released.set()

    asyncio.run(main())


def test_what_returns_late_is_nobodys_answer() -> None:
    released = threading.Event()

    async def main() -> None:
        calls = SlowCalls("a disk", SHORT_S)
        with pytest.raises(SourceUnavailable):
            await calls.call(lambda: released.wait() and "late")
        asyncio.get_running_loop().call_later(SHORT_S / 2, released.set)
        assert await calls.call(lambda: "anew") == "anew"

    asyncio.run(main())


@pytest.mark.parametrize("turns", range(6))
def test_a_cancellation_that_comes_as_the_call_returns_is_not_lost(turns: int) -> None:
    async def follow(called: threading.Event) -> None:
        await SlowCalls("a disk").call(called.set)
        await asyncio.Event().wait()

    async def main() -> None:
        before, called = set(threading.enumerate()), threading.Event()
        following = asyncio.create_task(follow(called))
        await asyncio.sleep(0)
        called.wait()
        for thread in set(threading.enumerate()) - before:
            thread.join()  # while the loop does not turn
        for _ in range(turns):
            await asyncio.sleep(0)
        following.cancel()
        ended, _ = await asyncio.wait({following}, timeout=1)
        assert ended

    asyncio.run(main())
