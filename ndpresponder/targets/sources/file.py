"""The addresses and prefixes that a file lists, one in each line: read again whenever the file changes.

The log names a wrong line by its number; the other lines count. While the file is missing, cannot be read, is too
large, or is being written anew after somebody truncated it, its last set stays in force. However long the file is, and
however long its disk takes, the event loop goes on.
"""

import asyncio
import contextlib
import io
import os
import stat
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from ipaddress import IPv6Network
from socket import AF_INET6, inet_pton
from typing import Final, NamedTuple

from ndpresponder.config import values
from ndpresponder.config.checks import WIDEST
from ndpresponder.config.problem import Wrong, printable
from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux import inotify
from ndpresponder.linux.slow_calls import SlowCalls
from ndpresponder.observe.logs import get_logger
from ndpresponder.policy.table import Prefix
from ndpresponder.targets.source import NOTHING, Source, TargetSet

MAX_BYTES: Final = 4 << 20  # some 100,000 lines
MAX_NAMED: Final = 20  # wrong lines that are named each; the others are counted
_LINES_PER_LOOK: Final = 32  # at the clock
_TURN_S: Final = 0.001  # then the event loop gets its turn
_LOOK_S: Final = 0.05  # between looks whether another version is there
_UNFINISHED_S: Final = 60.0  # then a shorter file that nobody has closed or changed is taken for finished
_LONGEST: Final = 200  # characters of a line without its comment; no address is near that
_SIZE: Final = 2  # place in an identity; before it are device and inode
_RESERVED: Final = tuple((int(block[0]), int(block[-1])) for block, _ in values.RESERVED)

_Identity = tuple[int, ...]  # of a file and its version: device, inode, size, times


class Version(NamedTuple):
    """The file as it was read once."""

    identity: _Identity
    data: bytes
    digest: bytes


class FileSource(Source):
    """The targets one file lists: a bare address, or a /128, is live; anything wider is claimed."""

    kind = "file"

    def __init__(self, path: str) -> None:
        self.name = path
        self._log = get_logger(file=path)
        self._slow_calls = SlowCalls(path)
        self._seen: _Identity | None = None  # the version that was read last
        self._digest = b""
        self._targets = NOTHING
        self._writing = inotify.Writing()
        self._unfinished: tuple[_Identity, float] = (), 0.0  # a version, and since when it has been there

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        self._seen = None  # publish even the same set again: the file can be read again
        async with contextlib.aclosing(inotify.changes(self.name, self._slow_calls, self._writing)) as changes:
            async for changed_again in changes:
                while version := await self._slow_calls.call(partial(contents, self.name, self._seen)):
                    finished, self._writing.finished = self._writing.finished, False
                    if not finished and self._is_being_written(version.identity):
                        break
                    if version.digest != self._digest:
                        targets = await self._parse(version, changed_again)
                        if targets is None:  # another version is there
                            continue
                        self._digest, self._targets = version.digest, targets
                    self._seen = version.identity
                    publish(self._targets)
                if not changed_again():  # an event that was nothing new must not vouch for what is written later
                    self._writing.finished = False

    def _is_being_written(self, version: _Identity) -> bool:
        """Tell whether somebody truncated the file, or made it anew, and has not written all of it yet."""
        before = self._seen
        if before is None or version[_SIZE] >= before[_SIZE]:
            return False
        if version[:_SIZE] != before[:_SIZE] and not self._writing.begun:  # another file was put in its place
            return False
        now_s = asyncio.get_running_loop().time()
        if self._unfinished[0] != version:
            self._unfinished = version, now_s
        return now_s - self._unfinished[1] < _UNFINISHED_S

    async def _parse(self, version: Version, changed_again: Callable[[], bool]) -> TargetSet | None:
        """Return the targets of a version; None as soon as another version is there."""
        live: set[bytes] = set()
        claimed: set[Prefix] = set()
        wrong: list[str] = []
        ignored = 0
        now_s = asyncio.get_running_loop().time
        turn_s = look_s = now_s()
        for number, line in enumerate(lines_of(version.data), 1):
            if number % _LINES_PER_LOOK == 0 and now_s() - turn_s > _TURN_S:
                await asyncio.sleep(0)
                if changed_again() and now_s() - look_s > _LOOK_S:
                    if await self._slow_calls.call(partial(identity, self.name)) != version.identity:
                        return None
                    look_s = now_s()
                turn_s = now_s()
            if line == "\n":
                continue
            if (prefix := listed(line)) is None:
                try:
                    ignored += ignored >= MAX_NAMED or parse_line(line) is not None
                except Wrong as fault:
                    ignored += 1
                    wrong.append(f"{printable(f'{self.name}:{number}')}: {fault.message}; {fault.hint}")
            elif prefix.length == 128:
                live.add(prefix.value.to_bytes(16, "big"))
            else:
                claimed.add(prefix)
        for each in wrong:
            self._log.warning("a line is ignored", why=each)
        if ignored > MAX_NAMED:
            self._log.warning("more lines are ignored", count=ignored - MAX_NAMED)
        return TargetSet(frozenset(live), frozenset(claimed))


def lines_of(data: bytes) -> io.TextIOWrapper:
    """Return the lines of a file, whatever ends them; each takes a moment, and what is not UTF-8 is in surrogates."""
    return io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", "surrogateescape")


def listed(line: str) -> Prefix | None:
    """Return the prefix that a line lists, None when it is empty, a comment or wrong.

    It takes a tenth of the time of `parse_line`, which agrees and explains: a file may have millions of wrong lines.
    """
    address, slash, digits = line.partition("#")[0].strip().partition("/")
    try:
        packed = inet_pton(AF_INET6, address)
    except (OSError, ValueError):
        return None
    value = int.from_bytes(packed, "big")
    if not slash and packed[0] >> 5 == 0b001:  # global unicast (RFC 3587 3), as most lines of a long file
        return Prefix(value, 128)
    if slash and (not (digits.isascii() and digits.isdigit()) or len(line) > _LONGEST):
        return None
    length = int(digits) if slash else 128
    if not WIDEST <= length <= 128:
        return None
    last = value + (1 << 128 - length) - 1
    if value & (last - value) or any(value <= end and last >= start for start, end in _RESERVED):
        return None
    return Prefix(value, length)


def parse_line(line: str) -> IPv6Network | None:
    """Return the prefix that a line lists, None when it is empty or a comment; raise `Wrong` otherwise."""
    word = line.partition("#")[0].strip()
    if not word:
        return None
    if len(word) > _LONGEST:
        raise Wrong(f"holds {len(word)} characters", "write one address or prefix in each line")
    try:
        word.encode()
    except UnicodeEncodeError:
        raise Wrong("is not UTF-8 text", "save the file as UTF-8") from None
    if len(word.split()) > 1:
        raise Wrong(f"{word!r} is more than one word", "write one address or prefix in each line, comments after a #")
    network = values.prefix(word)
    if network.prefixlen < WIDEST:
        raise Wrong(f"{network} is wider than /{WIDEST}", "claim it in the configuration, with allow_wide = true")
    return network


def contents(path: str, seen: _Identity | None) -> Version | None:
    """Return the file, None if `seen` is its version."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SourceUnavailable(f"{path} is not a file")
            version = _identity_of(status)
            if version == seen:
                return None
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceUnavailable(f"{path}: {reason}") from error
    if len(data) > MAX_BYTES:
        raise SourceUnavailable(f"{path} is larger than {MAX_BYTES >> 20} MiB")
    return Version(version, data, blake2b(data).digest())


def identity(path: str) -> _Identity | None:
    """Return the version that is there; None if there is no file."""
    try:
        return _identity_of(os.stat(path))
    except OSError:
        return None


def _identity_of(status: os.stat_result) -> _Identity:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would make us wait for its writer
