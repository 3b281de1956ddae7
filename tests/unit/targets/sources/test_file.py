"""A file of addresses: what it says is ours from the moment it says so, and a bad line costs nobody the others."""

import asyncio
import contextlib
import gc
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TextIO

import pytest
import structlog.testing
from daemon_process import within
from sample_responder import addresses, prefixes

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux import inotify
from ndpresponder.targets.source import TargetSet
from ndpresponder.targets.sources import file
from ndpresponder.targets.sources.file import FileSource

DEADLINE_S = 5.0
C1, C2 = "2001:db8::c1", "2001:db8::c2"


def targets(*live: str, claimed: tuple[str, ...] = ()) -> TargetSet:
    return TargetSet(addresses(*live), frozenset(prefixes(*claimed)))


class Following:
    """A source at work, and what it has published."""

    def __init__(self, path: Path) -> None:
        self.source = FileSource(str(path))
        self.published: list[TargetSet] = []
        self._changed = asyncio.Event()

    def publish(self, targets: TargetSet) -> None:
        self.published.append(targets)
        self._changed.set()

    async def until(self, expected: TargetSet) -> None:
        """Wait until `expected` is what was said last."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.published or self.published[-1] != expected:
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def following(path: Path) -> AsyncIterator[Following]:
    """Let a source follow `path` for the time of the block."""
    follower = Following(path)
    task = asyncio.create_task(follower.source.run(follower.publish))
    try:
        yield follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def read_once(path: Path, source: FileSource | None = None) -> TargetSet:
    """Return the first set that a source says of `path`.

    Raises:
        SourceUnavailable: as the source does.
    """
    said: asyncio.Future[TargetSet] = asyncio.get_running_loop().create_future()
    run = asyncio.create_task((source or FileSource(str(path))).run(said.set_result))
    try:
        await asyncio.wait({run, said}, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        return said.result() if said.done() else run.result()  # type: ignore[func-returns-value]
    finally:
        run.cancel()
        await asyncio.wait({run})


def said_of(path: Path, data: bytes) -> tuple[TargetSet, list[str]]:
    """Return what a file of these octets makes ours, and the warnings."""
    path.write_bytes(data)
    with structlog.testing.capture_logs() as logs:
        found = asyncio.run(read_once(path))
    return found, [log.get("why", str(log.get("count"))).removeprefix(f"{path}:") for log in logs]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "addresses"


def test_an_address_is_live_and_a_prefix_is_claimed(path: Path) -> None:
    text = b"""\
# the containers
2001:db8::c1
  2001:db8::c2/128   # written as a prefix

2001:db8:1::/112\t# for those to come
"""
    assert (targets(C1, C2, claimed=("2001:db8:1::/112",)), []) == said_of(path, text)


FORMS = {
    "nothing": b"",
    "comments only": b"# one\n   # two\n",
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_a_file_that_lists_nothing_is_an_empty_set(path: Path, data: bytes) -> None:
    assert (TargetSet(), []) == said_of(path, data)


ENDS = {"no end of line": b"", "two": b"\n\n", "of another system": b"\r\n", "a comment": b"#"}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "after a byte order mark"])
def test_the_last_line_counts_whatever_ends_it(path: Path, mark: bytes, end: bytes) -> None:
    assert (targets(C1), []) == said_of(path, mark + C1.encode() + end)


WRONG = {
    b"2001:db8::/33 # wide": "2: 2001:db8::/33 is wider than /64; "
    "claim it in the configuration, with allow_wide = true",
    b"container1": "2: 'container1' is not an IPv6 prefix; write one such as \"2001:db8::/112\"",
    b"192.0.2.1": "2: '192.0.2.1' is IPv4; leave it out: IPv4 has ARP, neighbor discovery is IPv6 only",
    b"fe80::1": "2: 'fe80::1' is link-local; write a global or unique local prefix",
    b"::/0": "2: '::/0' is every address there is: no neighbor of this link could keep its own; "
    "write the prefix that is routed to this host or used behind it",
    b"2001:db8::c3 2001:db8::c4": "2: '2001:db8::c3 2001:db8::c4' is more than one word; "
    "write one address or prefix in each line, comments after a #",
    b"2001:db8::\xff": "2: is not UTF-8 text; save the file as UTF-8",
    b"2001:db8::1\x00": "2: '2001:db8::1\\x00' holds a character that cannot be printed; "
    'write it like "2001:db8::/112"',
    b"a" * 100_000: "2: holds 100000 characters; write one address or prefix in each line",
}


@pytest.mark.parametrize(("line", "why"), WRONG.items(), ids=[line[:30].decode(errors="replace") for line in WRONG])
def test_a_wrong_line_is_named_and_the_others_count(path: Path, line: bytes, why: str) -> None:
    assert (targets(C1, C2), [why]) == said_of(path, b"\n".join((C1.encode(), line, C2.encode())))


def test_of_many_wrong_lines_the_first_are_named_and_the_others_counted(path: Path) -> None:
    _, warnings = said_of(path, b"x\n" * 1000)
    assert len(warnings) == file.MAX_NAMED + 1
    assert warnings[-1] == str(1000 - file.MAX_NAMED)


def rewrite(path: Path, text: str) -> None:
    path.write_text(text)


def replace(path: Path, text: str) -> None:
    other = path.with_name("other")
    other.write_text(text)
    other.rename(path)


@pytest.mark.parametrize("change", [rewrite, replace])
def test_a_change_is_followed_within_100_ms(path: Path, change: Callable[[Path, str], None]) -> None:
    async def follow() -> float:
        path.write_text(C1)
        async with following(path) as follower:
            await follower.until(targets(C1))
            start_s = time.monotonic()
            change(path, C2)
            await follower.until(targets(C2))
            return time.monotonic() - start_s

    assert min(asyncio.run(follow()) for _ in range(3)) < 0.1


def begin_anew(path: Path) -> TextIO:
    return path.open("w")


def remove_and_begin_anew(path: Path) -> TextIO:
    path.unlink()
    return path.open("w")


BEGINNINGS = {"truncated": begin_anew, "removed and made": remove_and_begin_anew}


@pytest.mark.parametrize("begin", BEGINNINGS.values(), ids=BEGINNINGS)
def test_while_somebody_writes_the_file_anew_what_it_said_stays(path: Path, begin: Callable[[Path], TextIO]) -> None:
    """A slow program with its output in the file truncates it first; anything beside it has it looked at."""
    path.write_text(f"{C1}\n{C2}\n")

    async def follow() -> None:
        async with following(path) as follower:
            await follower.until(targets(C1, C2))
            with begin(path) as writer:
                for line in ("", f"{C1}\n"):
                    writer.write(line)
                    writer.flush()
                    path.with_name("beside").write_text("an event in this directory")
                    await asyncio.sleep(0.2)
                    assert follower.published[-1] == targets(C1, C2)
            await follower.until(targets(C1))
            path.write_text("")
            await follower.until(targets())

    asyncio.run(follow())


def test_a_shorter_file_that_nobody_closes_counts_in_the_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing tells that another host (NFS) closed it."""
    monkeypatch.setattr(file, "_UNFINISHED_S", 0.2)
    monkeypatch.setattr(inotify, "_LOOK_S", 0.05)
    path.write_text(f"{C1}\n{C2}\n")

    async def follow() -> None:
        async with following(path) as follower:
            await follower.until(targets(C1, C2))
            with path.open("w") as writer:
                writer.write(C1)
                writer.flush()
                await follower.until(targets(C1))

    asyncio.run(follow())


def test_the_swap_of_a_linked_directory_is_followed(tmp_path: Path) -> None:
    """As kubelet updates a ConfigMap: the file is a link through a link that is renamed over."""

    def provide(name: str, text: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "addresses").write_text(text)
        (tmp_path / "..tmp").symlink_to(name)
        (tmp_path / "..tmp").rename(tmp_path / "..data")

    async def follow() -> None:
        provide("..1", C1)
        (tmp_path / "addresses").symlink_to("..data/addresses")
        async with following(tmp_path / "addresses") as follower:
            await follower.until(targets(C1))
            provide("..2", C2)
            await follower.until(targets(C2))
            (tmp_path / "..2/addresses").write_text(C1)
            await follower.until(targets(C1))

    asyncio.run(follow())


def test_a_file_that_is_the_one_read_last_is_not_read_again(path: Path) -> None:
    path.write_text(C1)
    first = file.contents(str(path), None)
    assert first is not None
    assert (C1.encode(), None) == (first.data, file.contents(str(path), first.identity))
    assert file.identity(str(path)) == first.identity
    replace(path, C2)
    second = file.contents(str(path), first.identity)
    assert second is not None
    assert second.data == C2.encode()
    assert file.identity(str(path)) == second.identity


def test_a_wrong_line_is_named_once_for_each_content(path: Path) -> None:
    async def follow() -> None:
        path.write_text("x")
        async with following(path) as follower:
            await follower.until(TargetSet())
            replace(path, "x")
            await follower.until(TargetSet())
            replace(path, f"x\n{C1}")
            await follower.until(targets(C1))

    with structlog.testing.capture_logs() as logs:
        asyncio.run(follow())
    assert len(logs) == 2


def no_file(path: Path) -> None:
    path.unlink(missing_ok=True)


def directory(path: Path) -> None:
    no_file(path)
    path.mkdir()


def pipe(path: Path) -> None:
    no_file(path)
    os.mkfifo(path)


def huge(path: Path) -> None:
    with path.open("w") as opened:
        opened.truncate(file.MAX_BYTES + 1)


UNREADABLE = {
    "No such file or directory": no_file,
    "is not a file": pipe,
    "is larger than 4 MiB": huge,
    "Is a directory|is not a file": directory,
}


@pytest.mark.parametrize(("why", "spoil"), UNREADABLE.items())
def test_a_file_that_cannot_be_read_is_said_to_be_so_and_read_when_it_can(
    path: Path, why: str, spoil: Callable[[Path], None]
) -> None:
    async def follow() -> None:
        path.write_text(C1)
        source = FileSource(str(path))
        assert targets(C1) == await read_once(path, source)
        spoil(path)
        with pytest.raises(SourceUnavailable, match=why):
            await read_once(path, source)
        if path.is_dir():
            path.rmdir()
        no_file(path)
        path.write_text(C1)
        assert targets(C1) == await read_once(path, source)

    asyncio.run(follow())


LONG = {
    "ten thousand addresses": b"\n".join(b"2001:db8::%x" % number for number in range(1, 10_001)),
    "empty lines": b"\n" * file.MAX_BYTES,
    "empty lines of another system": b"\r\n" * (file.MAX_BYTES // 2),
    "empty lines of an old system": b"\r" * file.MAX_BYTES,
    "one line": b"1" * file.MAX_BYTES,
    "one comment": b"#" * file.MAX_BYTES,
    "comments": b"#\n" * (file.MAX_BYTES // 2),
    "wrong words": b"x\n" * (file.MAX_BYTES // 2),
    "colons": b":\n" * (file.MAX_BYTES // 2),
    "the unspecified address": b"::\n" * (file.MAX_BYTES // 3),
    "too wide": b"2::/9\n" * (file.MAX_BYTES // 6),
    "wrong text": b"\xff\n" * (file.MAX_BYTES // 2),
    "zeros in place of a length": (b"2001:db8::/" + b"0" * 2000 + b"\n") * (file.MAX_BYTES // 2012),
}
LONGEST_TURN_S = 0.02  # of processor time, and a disturbed machine has caches to fill


@pytest.mark.parametrize("data", LONG.values(), ids=LONG)
def test_a_long_file_holds_up_the_loop_for_milliseconds_at_most(path: Path, data: bytes) -> None:
    path.write_bytes(data)

    async def longest_turn_s() -> float:
        longest_s = 0.0
        async with following(path) as follower:
            end_s = time.thread_time() + 0.4  # of a file of wrong lines the first moment tells
            while not follower.published and time.thread_time() < end_s:
                start_s = time.thread_time()
                await asyncio.sleep(0)
                longest_s = max(longest_s, time.thread_time() - start_s)
            start_s = time.thread_time()
        return max(longest_s, time.thread_time() - start_s)

    gc.collect()
    within(LONGEST_TURN_S, lambda: asyncio.run(longest_turn_s()))


@pytest.mark.parametrize("line", [b"x", b"::", b":", b"2::/9", b"y z"])
def test_the_next_version_counts_at_once_however_long_the_one_before_takes(path: Path, line: bytes) -> None:
    async def follow() -> float:
        path.write_bytes(C2.encode())
        async with following(path) as follower:
            await follower.until(targets(C2))
            replace(path, ((line + b"\n") * (file.MAX_BYTES // (len(line) + 1))).decode("latin-1"))
            await asyncio.sleep(0.3)
            assert len(follower.published) == 1, "the long one is being read"
            start_s = time.monotonic()
            replace(path, C1)
            await follower.until(targets(C1))
            assert len(follower.published) == 2
            return time.monotonic() - start_s

    within(0.3, lambda: asyncio.run(follow()))


def test_two_million_wrong_lines_are_read_in_seconds_and_counted(path: Path) -> None:
    count = file.MAX_BYTES // 2 - 20
    path.write_bytes(b"x\n" * count + C1.encode())

    async def follow() -> None:
        async with asyncio.timeout(60), following(path) as follower:  # alone it takes three seconds
            while not follower.published:
                await asyncio.sleep(0.1)
            assert [targets(C1)] == follower.published

    began_s = time.thread_time()
    with structlog.testing.capture_logs() as logs:
        asyncio.run(follow())
    assert time.thread_time() - began_s < 12
    assert logs[-1]["count"] == count - file.MAX_NAMED


def test_each_wrong_line_has_its_number_whatever_ends_the_lines(path: Path) -> None:
    lines = [b"# " + b"c" * (number * 37 % 5000) for number in range(60)]
    lines[7] = lines[29] = lines[59] = b"x"
    for end in (b"\n", b"\r\n", b"\r"):
        _, warnings = said_of(path, end.join(lines))
        assert [int(warning.partition(":")[0]) for warning in warnings] == [8, 30, 60]
