"""The addresses and prefixes that a file lists, one in each line: read again whenever the file changes.

A line that is wrong is named, with its number, and costs nobody the other lines. While the file is missing, cannot be
read or is too large, what it said last stays in force. It must never hold up the loop, however long the file or however
long its disk takes.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from ipaddress import IPv6Network
from socket import AF_INET6, inet_pton
from typing import Final

from ndpresponder.config import values
from ndpresponder.config.judge import WIDEST
from ndpresponder.config.problem import Wrong, printable
from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux import inotify
from ndpresponder.linux.patience import Patience
from ndpresponder.observe.logs import get_logger
from ndpresponder.targets.source import TargetSet
from ndpresponder.targets.sources.static import as_prefix

MAX_BYTES: Final = 4 << 20  # some 100,000 lines
MAX_NAMED: Final = 20  # wrong lines that are named each; the others are counted
_LINES_PER_TURN: Final = 100  # about 2 ms, then the event loop gets its turn
_LONGEST: Final = 200  # octets of a line without its comment; no address is near that
_UTF8_MARK: Final = b"\xef\xbb\xbf"


class FileSource:
    """The targets one file lists: a bare address, or a /128, is live; anything wider is claimed."""

    kind = "file"

    def __init__(self, path: str) -> None:
        self.name = path
        self.uplinks: frozenset[str] | None = None
        self._log = get_logger(file=path)
        self._patience = Patience(path)
        self._seen: tuple[int, ...] | None = None  # which file was read last, and in which version
        self._digest = b""
        self._targets: TargetSet | None = None

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        """Publish what the file says now and after every change.

        Raises:
            SourceUnavailable: it is missing, cannot be read, does not answer or is too large.
        """
        self._seen = None  # say once more what it says, even if it is the same: it can be read again
        async with contextlib.aclosing(inotify.rings(self.name, self._patience)) as rings:
            async for _ in rings:
                if await self._read() and self._targets is not None:
                    publish(self._targets)

    async def _read(self) -> bool:
        """Read the file unless it is the one read last; return whether it was read."""
        data, seen = await self._patience.call(partial(contents, self.name, self._seen))
        if data is None:
            return False
        digest = blake2b(data).digest()
        if digest != self._digest:
            self._targets = await self._parse(data)
        self._seen, self._digest = seen, digest
        return True

    async def _parse(self, data: bytes) -> TargetSet:
        live: set[bytes] = set()
        claimed: set[IPv6Network] = set()
        wrong = 0
        for number, line in enumerate(data.removeprefix(_UTF8_MARK).splitlines(), 1):
            if number % _LINES_PER_TURN == 0:
                await asyncio.sleep(0)
            if address := plain_address(line):
                live.add(address)
                continue
            try:
                network = parse_line(line)
            except Wrong as fault:
                wrong += 1
                if wrong <= MAX_NAMED:
                    where = printable(f"{self.name}:{number}")
                    self._log.warning("a line is ignored", why=f"{where}: {fault.message}; {fault.hint}")
                continue
            if network is None:
                continue
            if network.prefixlen == 128:
                live.add(network.network_address.packed)
            else:
                claimed.add(network)
        if wrong > MAX_NAMED:
            self._log.warning("more lines are ignored", count=wrong - MAX_NAMED)
        return TargetSet(frozenset(live), frozenset(map(as_prefix, claimed)))


def plain_address(line: bytes) -> bytes | None:
    """Return the address of a line with nothing but a global unicast address (RFC 3587 3), as in any long file.

    That takes a small part of the time of `parse_line`, which says the same and has to judge all other lines.
    """
    try:
        address = inet_pton(AF_INET6, line.strip().decode("ascii"))
    except (OSError, ValueError):
        return None
    return address if address[0] >> 5 == 0b001 else None


def parse_line(line: bytes) -> IPv6Network | None:
    """Return what one line lists, None when it is empty or a comment.

    Raises:
        Wrong: it is neither.
    """
    word = line.partition(b"#")[0].strip()
    if not word:
        return None
    if len(word) > _LONGEST:
        raise Wrong(f"holds {len(word)} octets", "write one address or prefix in each line")
    try:
        text = word.decode()
    except UnicodeDecodeError:
        raise Wrong("is not UTF-8 text", "save the file as UTF-8") from None
    if len(text.split()) > 1:
        raise Wrong(f"{text!r} is more than one word", "write one address or prefix in each line, comments after a #")
    network = values.prefix(text)
    if network.prefixlen < WIDEST:
        raise Wrong(f"{network} is wider than /{WIDEST}", "claim it in the configuration, with allow_wide = true")
    return network


def contents(path: str, seen: tuple[int, ...] | None) -> tuple[bytes | None, tuple[int, ...]]:
    """Return the octets of the file, None if it is the one `seen` last, and which one it is."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SourceUnavailable(f"{path} is not a file")
            identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if identity == seen:
                return None, identity
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceUnavailable(f"{path}: {reason}") from error
    if len(data) > MAX_BYTES:
        raise SourceUnavailable(f"{path} is larger than {MAX_BYTES >> 20} MiB")
    return data, identity


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would make us wait for its writer
