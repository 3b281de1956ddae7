"""A bell that rings when a file may hold something else: its directory is watched, and those its links lead through.

A watch on the file itself would stay with the old one when another is renamed over it. Whoever hears the bell looks at
the file; what happened is looked at only to know whether somebody still writes it. It must never miss a change that
ends in a new file under the name.
"""

import asyncio
import contextlib
import ctypes
import os
import struct
from collections.abc import AsyncGenerator, Callable, Collection
from functools import partial
from typing import Final

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.loop import watch
from ndpresponder.linux.slow_calls import Patience

# sys/inotify.h. Not IN_MODIFY: who writes in place has not finished before he closes.
_ATTRIB: Final = 0x004
_CLOSE_WRITE: Final = 0x008
_MOVED_FROM: Final = 0x040
_MOVED_TO: Final = 0x080
_CREATE: Final = 0x100
_DELETE: Final = 0x200
_DELETE_SELF: Final = 0x400
_MOVE_SELF: Final = 0x800
_ONLYDIR: Final = 0x0100_0000
_CHANGES: Final = (
    _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
)

_OVERFLOW: Final = 0x4000  # events were lost
_FINISHED: Final = _CLOSE_WRITE | _MOVED_TO | _OVERFLOW
_EVENT: Final = struct.Struct("=iIII")  # watch, mask, cookie, length of the name that follows

_SETTLE_S: Final = 0.02  # a program that writes a file makes several events
_LOOK_S: Final = 10.0  # no event tells of a write by another host (NFS), nor of a file system mounted over
_READ: Final = 65536
_LINKS_MAX: Final = 40  # as many symbolic links as the kernel follows (path_resolution(7))


class Writing:
    """What the events tell of those who write the file itself."""

    def __init__(self) -> None:
        self.begun = False  # it was made, and nobody has closed it yet
        self.finished = False  # somebody closed it, or moved another in its place, since this was set to False

    def take(self, mask: int) -> None:
        """Take an event of the file."""
        if mask & _FINISHED:
            self.begun, self.finished = False, True
        elif mask & _CREATE:
            self.begun = True


async def rings(
    path: str, patience: Patience, writing: Writing | None = None
) -> AsyncGenerator[Callable[[], bool], None]:
    """Yield once at the start, after each change around `path`, and every ten seconds; look at disks with `slow_calls`.

    What is yielded tells whether it will ring again at once, for those who take long over one ring. `writing` is told
    the events of the file itself.

    Close it (`contextlib.aclosing`), or its descriptor stays until it is collected.

    Raises:
        SourceUnavailable: a directory on the way to `path` cannot be watched now, or does not answer.
    """
    rung = asyncio.Event()
    writing, names = writing or Writing(), set[bytes]()
    loop = asyncio.get_running_loop()
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise SourceUnavailable(f"inotify: {os.strerror(ctypes.get_errno())}")
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        watch(descriptor, _drain, descriptor, rung, writing, names)
        stack.callback(loop.remove_reader, descriptor)
        while True:
            names |= await patience.call(partial(_watch, libc, descriptor, path))  # again: a link may lead elsewhere
            yield rung.is_set
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await rung.wait()
            await asyncio.sleep(_SETTLE_S)
            rung.clear()


def _watch(libc: ctypes.CDLL, descriptor: int, path: str) -> frozenset[bytes]:
    """Watch what `directories` names; return the names that the file has in them.

    Late, it may find the descriptor closed, or another bell that then rings more.
    """
    for directory in directories(path):
        if libc.inotify_add_watch(descriptor, os.fsencode(directory), _CHANGES) < 0:
            raise SourceUnavailable(f"{directory}: {os.strerror(ctypes.get_errno())}")
    return frozenset(os.fsencode(os.path.basename(name)) for name in (path, os.path.realpath(path)))


def directories(path: str) -> list[str]:
    """Return the directory of `path` and of each symbolic link on the way to the file behind it."""
    found = [os.path.dirname(os.path.abspath(path))]
    pending = path.split("/")[::-1]
    here = "/" if path.startswith("/") else os.getcwd()
    for _ in range(_LINKS_MAX):
        target = None
        while pending and target is None:
            parent, here = here, os.path.normpath(os.path.join(here, pending.pop()))
            with contextlib.suppress(OSError):  # not a link, or not there
                target = os.readlink(here)
        if target is None:
            found.append(os.path.dirname(here))
            break
        found.append(parent)
        pending.extend(target.split("/")[::-1])
        here = "/" if target.startswith("/") else parent
    return list(dict.fromkeys(directory for directory in found if os.path.isdir(directory)))


def _drain(descriptor: int, rung: asyncio.Event, writing: Writing, names: Collection[bytes]) -> None:
    with contextlib.suppress(BlockingIOError):
        while events := os.read(descriptor, _READ):
            rung.set()
            offset = 0
            while offset < len(events):
                _, mask, _, length = _EVENT.unpack_from(events, offset)
                offset += _EVENT.size + length
                if mask & _OVERFLOW or events[offset - length : offset].rstrip(b"\0") in names:
                    writing.take(mask)
