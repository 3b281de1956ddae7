"""An event loop that answers frames before it does anything else.

A frame's callback runs as soon as epoll returns, inside `select`. A wake-up that brings frames only, and after which
nothing is scheduled, needs no turn of asyncio, which makes handles, looks at its timers and calls what is ready: the
selector waits again. One callback for each wait, so that everything else still gets its share.
"""

import asyncio
import contextlib
import select
import selectors
import socket
import time
from collections.abc import Callable
from contextvars import Context
from math import inf
from typing import Protocol, TypeVarTuple

from ndpresponder.errors import LinkNotReady, SourceUnavailable

_Arguments = TypeVarTuple("_Arguments")
Schedule = Callable[..., asyncio.TimerHandle]  # `call_later` of an event loop: delay, callback and its arguments


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class _FrameSelector(selectors.EpollSelector):
    """Calls back for frames itself, and hands on the other events.

    It waits with an epoll of its own for the sockets that bring frames and for the epoll of asyncio (epoll(7): one can
    wait for another).
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            self._everything = select.epoll()
        except OSError:
            super().close()
            raise
        self._everything.register(self.fileno(), select.EPOLLIN)
        self._callbacks: dict[int, Callable[[], None]] = {}
        self.is_turn_due = False  # something was scheduled since asyncio asked
        self.waited_s = 0.0  # in all, for anything to do

    def close(self) -> None:
        self._everything.close()
        super().close()

    def read(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `descriptor` is readable; raise OSError if epoll(7) refuses it now."""
        if descriptor not in self._callbacks:
            self._everything.register(descriptor, select.EPOLLIN)
        self._callbacks[descriptor] = callback

    def stop_reading(self, descriptor: int) -> None:
        """Undo `read`, if it took the descriptor."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._everything.unregister(descriptor)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.is_turn_due = False
        now_s = time.monotonic()
        end_s = inf if timeout is None else now_s + timeout
        while True:
            has_others = False
            ready = self._everything.poll(timeout, 1 + len(self._callbacks))
            self.waited_s += time.monotonic() - now_s
            for descriptor, _ in ready:
                callback = self._callbacks.get(descriptor)
                if callback is None:
                    has_others = True
                    continue
                try:
                    callback()
                except Exception as error:  # as for any callback of the loop: told, and the loop goes on
                    context = {"message": "reading frames failed", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(context)
            if has_others:
                return super().select(0)
            now_s = time.monotonic()
            if self.is_turn_due or now_s >= end_s:
                return []
            if timeout is not None:
                timeout = end_s - now_s


class FrameLoop(asyncio.SelectorEventLoop):
    """The event loop of the daemon. Make it with `frame_loop`."""

    def __init__(self) -> None:
        self.frames = _FrameSelector()
        super().__init__(self.frames)

    def call_soon(
        self, callback: Callable[[*_Arguments], object], *args: *_Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        self.frames.is_turn_due = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*_Arguments], object], *args: *_Arguments, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.frames.is_turn_due = True
        return super().call_at(when, callback, *args, context=context)


def frame_loop() -> FrameLoop:
    """Return a new event loop; raise OSError if too few descriptors are left for one."""
    with _FrameSelector():  # asyncio leaves behind half a loop, which cannot be closed: so see first whether all fits
        for end in socket.socketpair():
            end.close()
    return FrameLoop()


def read_frames(source: HasFileno, callback: Callable[[], None]) -> None:
    """Call `callback` first of all whenever `source` is readable; raise `LinkNotReady` if epoll(7) refuses it now."""
    try:
        _running_selector().read(source.fileno(), callback)
    except OSError as error:
        raise LinkNotReady(f"no frame can be waited for: {error.strerror}") from error


def stop_reading(source: HasFileno) -> None:
    """Undo `read_frames`, if it took the source."""
    _running_selector().stop_reading(source.fileno())


def waited_s() -> float:
    """Return for how long the running loop has had nothing to do, since it was made."""
    return _running_selector().waited_s


def _running_selector() -> _FrameSelector:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FrameLoop)
    return loop.frames


async def wait(event: asyncio.Event, at_most_s: float | None) -> None:
    """Wait until `event` is set, or for so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):  # not wait_for, which may swallow a cancellation before 3.12
            await event.wait()


async def beat(period_s: float, at_least_s: float = 0.0) -> None:
    """Wait until the time of the loop is a multiple of `period_s`, and `at_least_s`.

    So all that happens once in a period wakes the processor once.
    """
    soonest_s = asyncio.get_running_loop().time() + at_least_s
    await asyncio.sleep(at_least_s + period_s - soonest_s % period_s)


def watch(source: HasFileno, callback: Callable[..., object], *arguments: object) -> None:
    """Call `callback` with these arguments whenever `source` is readable; `remove_reader` of the loop undoes it.

    Raises:
        SourceUnavailable: epoll(7) refuses it now.
    """
    try:
        asyncio.get_running_loop().add_reader(source, callback, *arguments)
    except OSError as error:
        raise SourceUnavailable(f"it cannot be waited for: {error.strerror}") from error


class Timer:
    """Calls back once, at the soonest of the times that it was given since."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        """Whether it will call back."""
        return self._handle is not None

    def within(self, delay_s: float) -> None:
        """Call back after `delay_s`, unless it is to do so sooner anyway."""
        loop = asyncio.get_running_loop()
        if self._handle is None or loop.time() + delay_s < self._handle.when():
            self.cancel()
            self._handle = loop.call_later(delay_s, self._ring)

    def cancel(self) -> None:
        """Call back no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        self._callback()
