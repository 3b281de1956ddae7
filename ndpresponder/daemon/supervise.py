"""Decide whether a failed task is tried again or ends the process; nothing else decides that."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NoReturn

from ndpresponder.errors import LinkNotReady, NdpresponderError, SourceUnavailable, is_shortage

_FIRST_PAUSE_S: Final = 0.2
_LAST_PAUSE_S: Final = 2.0
_STEADY_S: Final = 10.0  # after running this long a failure counts as a first one again


async def supervise(run: Callable[[], Awaitable[None]], on_failure: Callable[[Exception, float], None]) -> None:
    """Run `run` until it returns, again after each failure that can heal; any other exception passes through.

    A shortage of memory or descriptors can heal. So can a CancelledError although this task was not cancelled: a future
    that it waited for was. A TaskGroup would not notice that the task ended by it.

    `on_failure` is told the failure and the pause in seconds before the next attempt.
    """
    loop = asyncio.get_running_loop()
    pause_s = _FIRST_PAUSE_S
    while True:
        started_s = loop.time()
        try:
            return await run()
        except (LinkNotReady, SourceUnavailable, OSError) as error:
            if isinstance(error, OSError) and not is_shortage(error):
                raise
            failure: Exception = error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failure = SourceUnavailable("something that it waited for was given up")
        if loop.time() - started_s > _STEADY_S:
            pause_s = _FIRST_PAUSE_S
        on_failure(failure, pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LAST_PAUSE_S)


async def contain(run: Callable[[], Awaitable[None]]) -> None:
    """Run a part that answering can do without: a shortage, or a fault of ours, is tried again and told as any failure.

    Raises:
        SourceUnavailable: there was one.
    """
    try:
        await run()
    except Exception as error:
        if is_shortage(error):
            raise SourceUnavailable(str(error)) from error
        if isinstance(error, NdpresponderError):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        raise SourceUnavailable(f"a fault of ours, please report it: {error!r} at {where}") from error


async def on_demand(wanted: asyncio.Event, act: Callable[[], Awaitable[object]]) -> NoReturn:
    """Act whenever `wanted` is set, and once more if it was set again meanwhile."""
    while True:
        await wanted.wait()
        wanted.clear()
        await act()
