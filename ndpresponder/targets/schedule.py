"""What keeps time for those who are passed it."""

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """What `call_later` of an event loop returns."""

    def cancel(self) -> None:
        """Call no more."""


class Schedule(Protocol):
    """`call_later` of an event loop."""

    def __call__(self, delay: float, callback: Callable[..., object], /, *args: object) -> Timer:
        """Call `callback` in `delay` seconds."""
