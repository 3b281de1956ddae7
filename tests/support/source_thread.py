"""A source of targets at work in a thread of its own inside a namespace, so that a test sees what it says and when.

Import it as `from following import Following`.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ndpresponder.lab import Namespace
from ndpresponder.targets.source import Source, TargetSet


class Following:
    """A source that runs inside a namespace, and all that it has published; a context manager."""

    def __init__(self, namespace: Namespace, source: Source) -> None:
        self._namespace = namespace
        self._source = source
        self._changed = threading.Condition()
        self._published: list[tuple[float, TargetSet]] = []
        self._thread = threading.Thread(target=self._run)
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait(lambda _: True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
        assert self.failure is None

    def _run(self) -> None:
        try:
            with self._namespace.enter():
                asyncio.run(self._follow())
        except asyncio.CancelledError:
            return
        except BaseException as error:
            self.failure = error

    async def _follow(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._source.run(self._publish))
        await self._task

    def _publish(self, targets: TargetSet) -> None:
        with self._changed:
            self._published.append((time.monotonic(), targets))
            self._changed.notify_all()

    @property
    def now(self) -> TargetSet:
        """What was published last."""
        return self._published[-1][1]

    @property
    def count(self) -> int:
        """How often something was published."""
        return len(self._published)

    def wait(self, holds: Callable[[TargetSet], bool], deadline_s: float = 5.0) -> float:
        """Wait until what is published last holds; return when that was published."""
        with self._changed:
            last = self._changed.wait_for(
                lambda: self._published and holds(self._published[-1][1]) and self._published[-1], deadline_s
            )
            assert last, f"not within {deadline_s} s: {self._published[-1:]}"
            return last[0]

    def await_failure(self, deadline_s: float = 5.0) -> BaseException:
        """Wait until the source fails, and return with what."""
        self._thread.join(deadline_s)
        failure, self.failure = self.failure, None
        assert failure is not None, f"it did not fail within {deadline_s} s"
        return failure

    def follows(self, act: Callable[[], object], holds: Callable[[TargetSet], bool]) -> float:
        """Do something and return how long after it was done its effect was published."""
        act()
        done = time.monotonic()
        return self.wait(holds) - done
