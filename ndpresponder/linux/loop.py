"""An event loop that answers frames before it does anything else.

A frame's callback runs as soon as epoll returns, inside `select`, not after asyncio has made handles, looked at its
timers and called everything that was ready: on an idle machine that is a third of the time to the answer. One such
callback a turn, so that everything else still gets its share.
"""

import asyncio
import contextlib
import selectors
import socket
from collections.abc import Callable
from typing import Protocol

from ndpresponder.errors import LinkNotReady, SourceUnavailable

Schedule = Callable[..., asyncio.TimerHandle]  # `call_later` of an event loop: delay, callback and its arguments


class HasFileno(Protocol):
    """Something that epoll can watch."""

    def fileno(self) -> int:
        """Return its descriptor."""


class _FrameSelector(selectors.EpollSelector):
    """Calls back for frames itself, and hands on the other events."""

    def __init__(self) -> None:
        super().__init__()
        self.callbacks: dict[int, Callable[[], None]] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        others = []
        for event in super().select(timeout):
            callback = self.callbacks.get(event[0].fd)
            if callback is None:
                others.append(event)
                continue
            try:
                callback()
            except Exception as error:  # as for any callback of the loop: told, and the loop goes on
                context = {"message": "reading frames failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
        return others


class FrameLoop(asyncio.SelectorEventLoop):
    """The event loop of the daemon. Make it with `frame_loop`."""

    def __init__(self) -> None:
        self.frames = _FrameSelector()
        super().__init__(self.frames)


def frame_loop() -> FrameLoop:
    """Return a new event loop; raise OSError if too few descriptors are left for one."""
    with _FrameSelector():  # asyncio leaves behind half a loop, which cannot be closed: so see first whether all fits
        for end in socket.socketpair():
            end.close()
    return FrameLoop()


def read_frames(source: HasFileno, callback: Callable[[], None]) -> None:
    """Call `callback` first of all whenever `source` is readable; raise `LinkNotReady` if epoll(7) refuses it now."""
    selector, descriptor = _running_selector(), source.fileno()
    try:
        if descriptor not in selector.callbacks:
            selector.register(source, selectors.EVENT_READ)
    except OSError as error:
        raise LinkNotReady(f"no frame can be waited for: {error.strerror}") from error
    selector.callbacks[descriptor] = callback


def stop_reading(source: HasFileno) -> None:
    """Undo `read_frames`, if it took the source."""
    selector = _running_selector()
    if selector.callbacks.pop(source.fileno(), None) is not None:
        selector.unregister(source)


def _running_selector() -> _FrameSelector:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FrameLoop)
    return loop.frames


async def wait(event: asyncio.Event, at_most_s: float | None) -> None:
    """Wait until `event` is set, or for so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):  # not wait_for, which may swallow a cancellation before 3.12
            await event.wait()


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
