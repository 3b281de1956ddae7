"""Tell when a file may have changed, by watches on its directory and on those that its symbolic links lead through.

A watch on the file itself would stay with the old one when another is renamed over it. The caller looks at the file;
events only tell whether a program still writes it. No change may be missed that ends in a new file under the name.
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
from ndpresponder.linux.loop import wait, watch
from ndpresponder.linux.slow_calls import SlowCalls

# sys/inotify.h. Not IN_MODIFY: a program that writes in place has not finished before it closes.
_ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x004, 0x008, 0x040, 0x080
_CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF, _ONLYDIR = 0x100, 0x200, 0x400, 0x800, 0x0100_0000
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
    """How far a program is with writing the file itself, by the events."""

    def __init__(self) -> None:
        self.begun = False  # it was made, and no program has closed it yet
        self.finished = False  # a program closed it, or moved another in its place, since this was set to False

    def take(self, mask: int) -> None:
        if mask & _FINISHED:
            self.begun, self.finished = False, True
        elif mask & _CREATE:
            self.begun = True


async def changes(
    path: str, slow_calls: SlowCalls, writing: Writing | None = None
) -> AsyncGenerator[Callable[[], bool], None]:
    """Yield once at the start, after each change around `path`, and every ten seconds; look at disks by `slow_calls`.

    The yielded function tells whether another change has come, for a caller that takes long over one. `writing` takes
    the events of the file itself.

    Close it (`contextlib.aclosing`), or its descriptor stays until it is collected.

    Raises:
        SourceUnavailable: a directory on the way to `path` cannot be watched now, or does not answer.
    """
    changed = asyncio.Event()
    writing, names = writing or Writing(), set[bytes]()
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise SourceUnavailable(f"inotify: {os.strerror(ctypes.get_errno())}")
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        watch(descriptor, _drain, descriptor, changed, writing, names)
        stack.callback(asyncio.get_running_loop().remove_reader, descriptor)
        while True:
            names |= await slow_calls.call(partial(_watch, libc, descriptor, path))  # again: a link may lead elsewhere
            yield changed.is_set
            await wait(changed, _LOOK_S)
            await asyncio.sleep(_SETTLE_S)
            changed.clear()


def _watch(libc: ctypes.CDLL, descriptor: int, path: str) -> frozenset[bytes]:
    """Watch the directories on the way to `path`; return the names that the file has in them.

    A call that returns late may find the descriptor closed, or of another file, which is then looked at more often.
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


def _drain(descriptor: int, changed: asyncio.Event, writing: Writing, names: Collection[bytes]) -> None:
    with contextlib.suppress(BlockingIOError):
        while events := os.read(descriptor, _READ):
            changed.set()
            offset = 0
            while offset < len(events):
                _, mask, _, length = _EVENT.unpack_from(events, offset)
                offset += _EVENT.size + length
                if mask & _OVERFLOW or events[offset - length : offset].rstrip(b"\0") in names:
                    writing.take(mask)
