"""The one place that decides what a failure means: try again, or let it end the process."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

from ndpresponder.errors import LinkNotReady, NdpresponderError, SourceUnavailable, is_shortage

_RETRY: Final = (LinkNotReady, SourceUnavailable)
_FIRST_PAUSE_S: Final = 0.2
_LAST_PAUSE_S: Final = 2.0
_STEADY_S: Final = 10.0  # after running this long a failure counts as a first one again


async def supervise(
    run: Callable[[], Awaitable[None]],
    on_failure: Callable[[Exception, float], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run `run` until it returns, again after each failure that can heal; any other exception passes through.

    `on_failure` is told the failure and the pause in seconds before the next attempt.
    """
    loop = asyncio.get_running_loop()
    pause_s = _FIRST_PAUSE_S
    while True:
        started_s = loop.time()
        try:
            return await run()
        except _RETRY as error:
            if loop.time() - started_s > _STEADY_S:
                pause_s = _FIRST_PAUSE_S
            on_failure(error, pause_s)
            await sleep(pause_s)
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
        raise SourceUnavailable(
            f"a fault of ours, please report it: {error!r} at {Path(place.filename).name}:{place.lineno}"
        ) from error


async def on_demand(wanted: asyncio.Event, act: Callable[[], Awaitable[object]]) -> None:
    """Act whenever that is wanted, and once more if it was wanted again meanwhile."""
    while True:
        await wanted.wait()
        wanted.clear()
        await act()


def leaves(group: BaseExceptionGroup[NdpresponderError]) -> Iterator[NdpresponderError]:
    """Yield the exceptions themselves that a group, or one in it, holds."""
    for exception in group.exceptions:
        if isinstance(exception, NdpresponderError):
            yield exception
        else:
            yield from leaves(exception)
