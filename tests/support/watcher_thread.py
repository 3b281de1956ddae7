"""A link watcher at work in a thread of its own inside a namespace, so that a test sees when it says what.

Import it as `from watching import Watching`.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ndpresponder.lab import Namespace
from ndpresponder.linux.netlink import Link, Links, LinkWatcher


class Watching:
    """A watcher that runs inside a namespace, and all that it has published; a context manager."""

    def __init__(self, namespace: Namespace, *names: str) -> None:
        self._namespace = namespace
        self._changed = threading.Condition()
        self._published: list[tuple[float, Links]] = []
        self._thread = threading.Thread(target=self._run)
        self.watcher = LinkWatcher(names or ("up0",), self._publish)
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait(lambda _: True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
        assert self.failure is None

    def _run(self) -> None:
        try:
            with self._namespace.enter():
                asyncio.run(self._watch())
        except asyncio.CancelledError:
            return
        except BaseException as error:
            self.failure = error

    async def _watch(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self.watcher.run())
        await self._task

    def _publish(self, links: Links) -> None:
        with self._changed:
            self._published.append((time.monotonic(), links))
            self._changed.notify_all()

    def block(self, seconds: float) -> None:
        """Keep the loop of the watcher busy with something else for a while."""
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    @property
    def cpu_clock(self) -> int:
        """The clock of the processor time that the watcher has used."""
        ident = self._thread.ident
        assert ident is not None
        return time.pthread_getcpuclockid(ident)

    @property
    def count(self) -> int:
        """How often something was published."""
        return len(self._published)

    def link(self, name: str = "up0") -> Link:
        """Return what is known of a link, which must exist, now."""
        link = self._published[-1][1][name]
        assert link is not None
        return link

    def wait(self, holds: Callable[[Links], bool], deadline_s: float = 10.0) -> float:
        """Wait until what is published last holds; return when that was published."""
        with self._changed:
            last = self._changed.wait_for(
                lambda: self._published and holds(self._published[-1][1]) and self._published[-1], deadline_s
            )
            assert last, f"not within {deadline_s} s: {self._published[-1:]}"
            return last[0]

    def follows(self, act: Callable[[], None], holds: Callable[[Link | None], bool], name: str = "up0") -> float:
        """Do something and return how long after it was done its effect was published."""
        act()
        done = time.monotonic()
        return self.wait(lambda links: holds(links[name])) - done
