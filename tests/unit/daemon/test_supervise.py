"""What heals is tried again, with growing pauses; what does not heal passes through."""

import asyncio
import errno
from functools import partial
from typing import Any

import pytest

from ndpresponder.daemon.supervise import contain, on_demand, supervise
from ndpresponder.errors import LinkNotReady, PermissionMissing, SourceUnavailable, SystemRefused


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be moved on, and whose pauses are noted and take no time."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped_s = 0.0
        self.pauses_s: list[float] = []

    def time(self) -> float:
        return super().time() + self.skipped_s

    def call_later(self, delay: float, *call: Any, **context: Any) -> asyncio.TimerHandle:
        self.pauses_s.append(delay)
        return super().call_later(0, *call, **context)


class Failing:
    """Raises each of `failures` in turn, `after_s` seconds into its run, then returns."""

    def __init__(self, *failures: BaseException, after_s: float = 0) -> None:
        self.failures = list(failures)
        self.after_s = after_s
        self.pauses_s: list[float] = []
        self.told: list[tuple[Exception, float]] = []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SkippingLoop)
        loop.skipped_s += self.after_s
        if self.failures:
            raise self.failures.pop(0)

    def supervised(self) -> None:
        def on_failure(error: Exception, pause_s: float) -> None:
            self.told.append((error, pause_s))

        loop = SkippingLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(supervise(self.run, on_failure))
        self.pauses_s = loop.pauses_s


def test_what_returns_is_not_run_again() -> None:
    failing = Failing()
    failing.supervised()
    assert (failing.told, failing.pauses_s) == ([], [])


@pytest.mark.parametrize(
    "failure", [LinkNotReady("not yet"), SourceUnavailable("down"), OSError(errno.ENOMEM, "Cannot allocate memory")]
)
def test_a_failure_that_heals_is_told_and_tried_again(failure: Exception) -> None:
    failing = Failing(failure)
    failing.supervised()
    assert failing.told == [(failure, 0.2)]
    assert failing.pauses_s == [0.2]


def test_pauses_grow_up_to_two_seconds() -> None:
    failing = Failing(*[SourceUnavailable("down")] * 6)
    failing.supervised()
    assert failing.pauses_s == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_after_a_steady_run_pauses_start_over() -> None:
    failing = Failing(*[SourceUnavailable("down")] * 4, after_s=11)
    failing.supervised()
    assert failing.pauses_s == [0.2] * 4


@pytest.mark.parametrize(
    "failure",
    [PermissionMissing("CAP_NET_RAW"), ValueError("a bug"), OSError(errno.EBADF, "a bug"), KeyboardInterrupt()],
)
def test_any_other_exception_passes_through(failure: BaseException) -> None:
    failing = Failing(failure)
    with pytest.raises(type(failure)):
        failing.supervised()
    assert failing.told == []


def test_what_nobody_cancelled_is_tried_again() -> None:
    """A cancelled future raises CancelledError in whoever waits for it: the task would end, and nobody would notice."""
    failing = Failing(asyncio.CancelledError())
    failing.supervised()
    assert [str(error) for error, _ in failing.told] == ["something that it waited for was given up"]


def test_what_is_wanted_again_is_done_again_although_nobody_cancelled_it_the_first_time() -> None:
    wanted, done = asyncio.Event(), list[int]()

    async def act() -> None:
        done.append(len(done))
        if len(done) == 1:
            raise asyncio.CancelledError

    async def main() -> None:
        task = asyncio.create_task(supervise(partial(on_demand, wanted, act), lambda *_: None))
        async with asyncio.timeout(5):
            for count in (1, 2):
                wanted.set()
                while len(done) < count:
                    await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


NO_DESCRIPTOR = OSError(errno.EMFILE, "Too many open files")
TAKEN = OSError(errno.EADDRINUSE, "Address already in use")


def contained(failure: Exception, cause: Exception | None = None) -> Exception:
    """Return what becomes of a failure in a part that answering can do without."""

    async def run() -> None:
        raise failure from cause

    with pytest.raises(Exception) as ended:
        asyncio.run(contain(run))
    return ended.value


def test_a_shortage_is_no_fault_of_ours_and_may_end() -> None:
    for failure in (contained(NO_DESCRIPTOR), contained(SystemRefused("Too many open files"), NO_DESCRIPTOR)):
        assert isinstance(failure, SourceUnavailable)
        assert ("Too many open files" in str(failure), "fault of ours" in str(failure)) == (True, False)


def test_what_the_system_refuses_for_good_passes_and_a_bug_is_told() -> None:
    assert isinstance(contained(SystemRefused("taken"), TAKEN), SystemRefused)
    assert "fault of ours" in str(contained(TAKEN))


def test_cancelling_ends_a_pause() -> None:
    async def run() -> None:
        raise SourceUnavailable("down")

    async def main() -> None:
        failed = asyncio.Event()
        task = asyncio.create_task(supervise(run, lambda *_: failed.set()))
        await failed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
