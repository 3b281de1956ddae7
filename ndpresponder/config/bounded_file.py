"""Read the octets of a configuration file, whatever kind of file the path names, in bounded time.

A path may name a pipe: `--config <(make-configuration)` and `--config /dev/stdin` are what people write. To open a
named pipe waits until somebody writes to it, and so does to read one: both are done without waiting, until a deadline.
"""

import os
import select
import stat
import time
from collections.abc import Callable
from typing import Final

MAX_BYTES: Final = 1 << 20  # far above any real file, far below what /dev/zero would give
PATIENCE_S: Final = 4.0  # for a pipe; less than a reload allows a disk, so that the reason is told
_READ: Final = 1 << 16


class NothingWritten(OSError):
    """A pipe or a terminal did not say all of it in time."""


def read_octets(name: str, monotonic: Callable[[], float] = time.monotonic) -> bytes:
    """Return what the file holds, at most one octet more than `MAX_BYTES`.

    Raises:
        NothingWritten: it is a pipe or a device, and its end did not come in time.
        OSError, ValueError: it cannot be read.
    """
    if "\0" in name:  # each version of Python words it in another way
        raise ValueError("embedded null byte")
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        return _read_until(descriptor, is_pipe, monotonic() + PATIENCE_S, monotonic)
    finally:
        os.close(descriptor)


def _read_until(descriptor: int, is_pipe: bool, end_s: float, monotonic: Callable[[], float]) -> bytes:
    found = bytearray()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(found) <= MAX_BYTES:
        try:
            piece = os.read(descriptor, min(_READ, MAX_BYTES + 1 - len(found)))
        except BlockingIOError:  # somebody has it open for writing, and is silent
            ended = False
        else:
            found += piece
            if piece:
                continue
            ended = bool(found) or not is_pipe or _had_a_writer(poll)
        if ended:
            break
        rest_s = end_s - monotonic()
        if rest_s <= 0:
            raise NothingWritten("its end did not come" if found else "nothing was written to it")
        poll.poll(rest_s * 1000)
    return bytes(found)


def _had_a_writer(poll: select.poll) -> bool:
    """Tell whether somebody had a pipe open for writing and closed it: before that it reads like an ended file."""
    return any(events & select.POLLHUP for _, events in poll.poll(0))
