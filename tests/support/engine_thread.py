"""A container engine's API without an engine, served by a thread."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from fake_engine import StandIn, network, socket_path


@contextlib.contextmanager
def running() -> Iterator[tuple[StandIn, asyncio.AbstractEventLoop]]:
    """Run the engine, whose network has no container yet, on a loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(coroutine) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

    try:
        with socket_path() as path:
            engine = StandIn(path, network("web"))
            call(engine.__aenter__())
            try:
                yield engine, loop
            finally:
                call(engine.__aexit__())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
