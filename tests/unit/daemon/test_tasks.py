"""What a configuration asks for is started, kept and ended; what is refused leaves all as it was."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from ndpresponder.daemon.tasks import Life, Run, Task, Tasks
from ndpresponder.errors import SourceUnavailable, SystemRefused
from ndpresponder.targets.sources import Identity

REFUSED = "refused"
SLOW = "slow"


class Served:
    """Remembers which addresses are served now."""

    def __init__(self) -> None:
        self.now: list[str] = []
        self.failures: list[Exception] = []  # of which each attempt takes one

    def at(self, address: str) -> dict[Identity, Task]:
        """Return the tasks of a configuration that asks to be served at `address`; "" is nowhere."""

        def prepare(life: Life) -> Run:
            life.on_failure = life.ready.set
            return lambda: self._serve(address, life.ready.set)

        return {Identity(("endpoint",), address): Task("endpoint", prepare, refusable=True)} if address else {}

    async def _serve(self, address: str, listening: Callable[[], None]) -> None:
        if address == REFUSED:
            raise SystemRefused("taken")
        if address == SLOW:
            await asyncio.Event().wait()
        if self.failures:
            raise self.failures.pop()
        assert self.now == [], "the old address is free before the new one is tried"
        self.now.append(address)
        listening()
        try:
            await asyncio.Event().wait()
        finally:
            self.now.remove(address)


async def reload(tasks: Tasks, wanted: Mapping[Identity, Task], then: Exception | None = None) -> None:
    """Put a configuration into force, unless that fails as `then` says."""
    async with tasks.tried(wanted):
        if then is not None:
            raise then
        tasks.keep(wanted)


def in_tasks(use: Callable[[Tasks], Coroutine[Any, Any, None]]) -> None:
    """Give `use` a table of tasks, and end them."""

    async def run() -> None:
        tasks = Tasks()
        async with tasks.group:
            await use(tasks)
            tasks.stop.set()
            tasks.end_all()

    asyncio.run(run())


def moved(*addresses: str) -> list[list[str]]:
    """Return what is served after each move."""
    served, after = Served(), list[list[str]]()

    async def use(tasks: Tasks) -> None:
        for address in addresses:
            with pytest.raises(SystemRefused) if address == REFUSED else contextlib.nullcontext():
                await reload(tasks, served.at(address))
            await asyncio.sleep(0)  # in which what is given up ends
            await asyncio.sleep(0)
            after.append(list(served.now))

    in_tasks(use)
    assert served.now == []
    return after


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not reached():
            await asyncio.sleep(0)


def test_it_moves_and_ends() -> None:
    assert moved("a", "b", "b", "", "c") == [["a"], ["b"], ["b"], [], ["c"]]


def test_where_it_is_refused_it_stays_as_it_was() -> None:
    assert moved("a", REFUSED, "b") == [["a"], ["a"], ["b"]]
    assert moved(REFUSED, "b") == [[], ["b"]]


def test_what_fails_afterwards_leaves_the_old_address() -> None:
    served = Served()

    async def use(tasks: Tasks) -> None:
        await reload(tasks, served.at("a"))
        for address in ("b", ""):
            with pytest.raises(SystemRefused):
                await reload(tasks, served.at(address), then=SystemRefused("something else"))
            assert served.now == ["a"]

    in_tasks(use)


@pytest.mark.parametrize("turns", [0, 3])
@pytest.mark.parametrize(("wanted", "expected"), [("b", ["b"]), ("", [])])
def test_what_does_not_listen_yet_gives_way_to_what_is_wanted_by_now(
    turns: int, wanted: str, expected: list[str]
) -> None:
    served = Served()

    async def use(tasks: Tasks) -> None:
        tasks.keep(served.at(SLOW))
        pending = asyncio.create_task(tasks.ready(served.at(SLOW), 5))
        for _ in range(turns + 1):
            await asyncio.sleep(0)
        await reload(tasks, served.at(wanted))
        await pending
        assert served.now == expected

    in_tasks(use)


def test_what_fails_for_now_is_told_and_tried_again_while_nobody_waits() -> None:
    served = Served()
    served.failures = [SourceUnavailable("not now")]

    async def use(tasks: Tasks) -> None:
        await reload(tasks, served.at("a"))
        assert served.now == []
        await until(lambda: served.now == ["a"])

    with capture_logs() as logs:
        in_tasks(use)
    told = [(log["event"], log["what"], log["why"], log["pause_s"], log["suppressed"]) for log in logs]
    assert told == [("failed, trying again", "endpoint", "not now", 0.2, 0)]


def test_what_is_refused_although_nobody_waits_for_it_ends_the_process() -> None:
    served = Served()

    async def use(tasks: Tasks) -> None:
        tasks.keep(served.at(REFUSED))
        await tasks.stop.wait()

    with pytest.raises(ExceptionGroup) as ended:
        in_tasks(use)
    assert ended.group_contains(SystemRefused)


class Kept:
    """Tells what tasks did."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def asked_for(self, *names: str) -> dict[Identity, Task]:
        return {Identity((name,)): Task(name, lambda life, name=name: self._prepare(name, life)) for name in names}

    def _prepare(self, name: str, life: Life) -> Run:
        self.done.append(f"{name} begins")
        life.at_end.push_async_callback(self._tidy_up, name)
        return asyncio.Event().wait

    async def _tidy_up(self, name: str) -> None:
        await asyncio.sleep(0.01)
        self.done.append(f"{name} ends")


def test_a_task_goes_on_while_its_key_is_asked_for_and_begins_again_once_it_has_tidied_up() -> None:
    kept = Kept()

    async def use(tasks: Tasks) -> None:
        for names in ("ab", "a", "", "a"):
            tasks.keep(kept.asked_for(*names))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await until(lambda: len(kept.done) == 5)

    in_tasks(use)
    assert kept.done == ["a begins", "b begins", "b ends", "a ends", "a begins", "a ends"]


def test_nothing_is_started_once_the_end_has_begun() -> None:
    kept = Kept()

    async def use(tasks: Tasks) -> None:
        tasks.stop.set()
        with pytest.raises(asyncio.CancelledError):
            tasks.keep(kept.asked_for("a"))

    in_tasks(use)
    assert kept.done == []
