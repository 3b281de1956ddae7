"""An address that is served, and may be exchanged for another, or given up, while the process runs.

The new address is tried only once the old one is free, since the one may contain the other; if the system refuses it,
the old one is served again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from ndpresponder.daemon.supervise import contain, supervise
from ndpresponder.errors import NdpresponderError

Serve = Callable[[str, Callable[[], None]], Awaitable[None]]


class Endpoint:
    """One thing that is served at one address at a time."""

    def __init__(
        self,
        serve: Serve,
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        on_failure: Callable[[Exception, float], None],
    ) -> None:
        """Serve with `serve`, which is told the address and whom to call once it listens, in tasks made by `start`.

        `on_failure` is told what is tried again, and after which pause in seconds.
        """
        self._on_failure = on_failure
        self._serve = serve
        self._start = start
        self._address = ""
        self._task: asyncio.Task[None] | None = None

    async def move(self, address: str) -> None:
        """Serve at `address` from now on; "" is nowhere.

        Raises:
            SystemRefused: the system does not allow that; what was served before still is.
        """
        before = self._address
        if address == before:
            return
        await self.close()
        try:
            await self._open(address)
        except NdpresponderError:
            await self.close()
            await self._open(before)
            raise

    async def close(self) -> None:
        """Serve no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._task, self._address = None, ""

    async def _open(self, address: str) -> None:
        if address:
            opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._address = address  # from now on: who wants another meanwhile ends this
            self._task = self._start(self._run(address, opened))
            self._task.add_done_callback(lambda _: opened.cancel())
            await opened

    async def _run(self, address: str, opened: "asyncio.Future[None]") -> None:
        def listening() -> None:
            if not opened.done():
                opened.set_result(None)

        def failed(error: Exception, pause_s: float) -> None:
            listening()  # nobody is to wait for it
            self._on_failure(error, pause_s)

        try:
            await supervise(partial(contain, partial(self._serve, address, listening)), failed)
        except NdpresponderError as error:
            if opened.done():
                raise
            opened.set_exception(error)
