"""Make calls that may never return, since a disk or the host behind it hangs, where they hold up nothing.

Each is made in a daemon thread: at its end the interpreter waits for the threads of a pool, but not for these. A
call that does not return is tried anew, since another disk may be there by then. The time until then doubles, up to an
hour, so that few threads are ever under way.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.loop import wait

T = TypeVar("T")

_LONGEST_S: Final = 5.0  # that a disk takes which does not hang
_RAREST_S: Final = 3600.0  # between two tries: another disk may be there after a night


class SlowCalls:
    """Makes one call after the other."""

    def __init__(self, what: str, seconds: float = _LONGEST_S) -> None:
        """Call what is known as `what` to a person, and wait so long for it."""
        self._what = what
        self._seconds = seconds
        self._under_way = 0
        self._again_s = 0.0  # when a call is made though the one before has not returned
        self._returned = asyncio.Event()
        self._returned.set()

    async def call(self, function: Callable[[], T]) -> T:
        """Return what `function` returns, or raise what it raises.

        Raises:
            SourceUnavailable: it, or the call before it, does not return in time, or there is no thread for it.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._again_s:
            await self._wait()
        outcome: Future[T] = Future()
        returned = asyncio.Event()

        def end() -> None:
            self._under_way -= 1
            returned.set()

        def run() -> None:
            try:
                outcome.set_result(function())
            except BaseException as error:  # it is raised where it is waited for
                outcome.set_exception(error)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(end)

        try:
            threading.Thread(target=run, daemon=True).start()
        except RuntimeError as error:
            raise SourceUnavailable(f"{self._what}: {error}") from error
        self._returned = returned
        self._under_way += 1
        self._again_s = loop.time() + min(self._seconds * 2 ** (self._under_way - 1), _RAREST_S)
        await self._wait()
        return outcome.result()

    async def _wait(self) -> None:
        """Wait until the last call returns, no longer than it may take."""
        await wait(self._returned, self._seconds)
        if not self._returned.is_set():
            raise SourceUnavailable(f"{self._what} does not answer: does its disk hang?")
