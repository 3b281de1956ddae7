"""Start, keep and end the tasks of the daemon, in one table.

A configuration declares its tasks. The key of a task holds everything that it depends on, so that a reload keeps a task
whose key is asked for again. A task begins once the ended ones about the same subject have tidied up. Nothing is
started once the end of the process has begun.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from ndpresponder.daemon.supervise import contain, supervise
from ndpresponder.errors import NdpresponderError
from ndpresponder.observe.logs import RateLimiter, get_logger
from ndpresponder.targets.sources import Identity

_RETRY_LOG_S: Final = 60.0

Run = Callable[[], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Life:
    """One task from its start to its end."""

    task: "Task"
    work: asyncio.Task[None] = field(init=False)
    ready: asyncio.Event = field(default_factory=asyncio.Event)  # it works, or has ended
    on_failure: Callable[[], None] = lambda: None  # called when it is tried again
    at_end: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    awaited: bool = False  # a reload waits until it is ready, and is refused if it is
    refused: NdpresponderError | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task that a configuration asks for."""

    name: str  # in the log, when it fails
    prepare: Callable[[Life], Run]  # called once, at the beginning; its result is run, and again after a failure
    refusable: bool = False  # a reload takes effect only once it is ready
    needs_net_admin: str = ""  # the setting for which it needs CAP_NET_ADMIN
    vital: bool = False  # a fault of ours in it ends the process


class Tasks:
    """Every task of the daemon."""

    def __init__(self) -> None:
        self.group = asyncio.TaskGroup()
        self.stop = asyncio.Event()  # the end of the process has begun
        self._limiter = RateLimiter(_RETRY_LOG_S)
        self._lives: dict[Identity, Life] = {}
        self._ending: dict[asyncio.Task[None], tuple[str, ...]] = {}
        self._all: set[asyncio.Task[Any]] = set()

    def start(self, part: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `part`, which is in no table, until it returns or the process ends."""
        if self.stop.is_set():  # `end_all` would miss it
            part.close()
            raise asyncio.CancelledError
        task = self.group.create_task(part)
        self._all.add(task)
        task.add_done_callback(self._all.discard)
        return task

    def end_all(self) -> None:
        for task in self._all:
            task.cancel()

    def lacking(self, wanted: Iterable[Identity]) -> list[Identity]:
        """Return the keys of which no task was begun."""
        return [key for key in wanted if key not in self._lives]

    def begin(self, key: Identity, task: Task) -> Life:
        """Begin a task, beside one about the same subject that goes on."""
        life = Life(task)
        before = [each for each, subject in self._ending.items() if subject == key.subject]
        life.work = self.start(self._run(life, before))
        life.work.add_done_callback(lambda _: life.ready.set())
        self._lives[key] = life
        return life

    def end(self, keys: Iterable[Identity]) -> None:
        """End the tasks under `keys`, as far as there are any."""
        for key in list(keys):
            if (life := self._lives.pop(key, None)) is not None:
                life.work.cancel()
                self._ending[life.work] = key.subject
                life.work.add_done_callback(self._ending.pop)

    def keep(self, wanted: Mapping[Identity, Task]) -> None:
        """Keep the `wanted` tasks, begin the lacking ones, end all others."""
        self.end(self._lives.keys() - wanted.keys())
        for key in self.lacking(wanted):
            self.begin(key, wanted[key])

    @contextlib.asynccontextmanager
    async def tried(self, wanted: Mapping[Identity, Task]) -> AsyncIterator[None]:
        """Begin the refusable tasks, each in place of the one about the same subject; undo that if anything fails.

        Raises:
            NdpresponderError: a task is refused, or needs a capability that is missing.
        """
        new = {key: wanted[key] for key in self.lacking(wanted)}
        for setting in {task.needs_net_admin: None for task in new.values() if task.needs_net_admin}:
            from ndpresponder.linux.netlink.own_entries import require_net_admin

            await require_net_admin(setting)
        new = {key: task for key, task in new.items() if task.refusable}
        subjects = {key.subject for key in new}
        before = {key: life.task for key, life in self._lives.items() if key.subject in subjects}
        try:
            await self._exchange(before, new)
            yield
        except BaseException:
            await self._exchange(new, before)
            raise

    async def _exchange(self, old: Iterable[Identity], new: Mapping[Identity, Task]) -> None:
        """End `old` tasks, since an address may contain another, then begin `new` ones and wait until they work."""
        self.end(old)
        for key, task in new.items():
            life = self.begin(key, task)
            life.awaited = True
            await life.ready.wait()
            if life.refused is not None:
                raise life.refused

    async def ready(self, keys: Iterable[Identity], within_s: float) -> None:
        """Wait until the tasks under `keys` are ready, or for `within_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                for life in [self._lives[key] for key in keys if key in self._lives]:
                    await life.ready.wait()

    async def _run(self, life: Life, before: Collection[asyncio.Task[None]]) -> None:
        log = get_logger()

        def failed(error: Exception, pause_s: float) -> None:
            life.on_failure()
            name, why = life.task.name, str(error)
            if (held_back := self._limiter.admit(name, time.monotonic())) is not None:
                log.warning("failed, trying again", what=name, why=why, pause_s=pause_s, suppressed=held_back)

        if before:
            await asyncio.wait(before)
        async with life.at_end:
            run = life.task.prepare(life)
            try:
                await supervise(run if life.task.vital else partial(contain, run), failed)
            except NdpresponderError as error:
                if not life.awaited or life.ready.is_set():
                    raise
                life.refused = error
