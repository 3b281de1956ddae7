"""A change of a file is told, however it is made; the directories to watch are those on the way to it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.inotify import changes, directories
from ndpresponder.linux.slow_calls import SlowCalls

DEADLINE_S = 5.0


@contextlib.asynccontextmanager
async def changing(path: Path) -> AsyncIterator[Callable[[], object]]:
    """Follow `path` past the first change; yield what waits for the next."""
    async with contextlib.aclosing(changes(str(path), SlowCalls(str(path)))) as changed:
        await anext(changed)
        yield lambda: asyncio.wait_for(anext(changed), DEADLINE_S)


def write(path: Path) -> None:
    path.write_text("new")


def rename_over(path: Path) -> None:
    (path.parent / "other").write_text("new")
    (path.parent / "other").rename(path)


def link_over(path: Path) -> None:
    (path.parent / "other").symlink_to("elsewhere")
    (path.parent / "other").rename(path)


CHANGES = {
    "written in place": write,
    "renamed over": rename_over,
    "a link renamed over": link_over,
    "removed": Path.unlink,
    "truncated": lambda path: path.open("w").close(),
    "made readable": lambda path: path.chmod(0o600),
    "its directory renamed": lambda path: path.parent.rename(path.parent.with_name("moved")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_tells_when_the_file_is(tmp_path: Path, change: Callable[[Path], object]) -> None:
    path = tmp_path / "inner" / "file"
    path.parent.mkdir()
    path.write_text("old")

    async def follow() -> None:
        async with changing(path) as changed:
            change(path)
            await changed()

    asyncio.run(follow())


def test_tells_when_a_link_on_the_way_is_swapped_and_again_for_the_file_it_leads_to_then(tmp_path: Path) -> None:
    (tmp_path / "versions/1").mkdir(parents=True)
    (tmp_path / "versions/2").mkdir()
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount/data").symlink_to("../versions/1")
    (tmp_path / "mount/file").symlink_to("data/file")

    async def follow() -> None:
        async with changing(tmp_path / "mount/file") as changed:
            (tmp_path / "mount/new").symlink_to("../versions/2")
            (tmp_path / "mount/new").rename(tmp_path / "mount/data")
            await changed()
            (tmp_path / "versions/2/file").write_text("x")
            await changed()

    asyncio.run(follow())


def test_a_burst_of_changes_is_told_a_few_times(tmp_path: Path) -> None:
    async def follow() -> int:
        count = 0
        async with changing(tmp_path / "file") as changed:
            for number in range(200):
                (tmp_path / f"{number}").touch()
            with contextlib.suppress(TimeoutError):
                while True:
                    await asyncio.wait_for(changed(), 0.2)
                    count += 1
        return count

    assert 1 <= asyncio.run(follow()) <= 3


def test_the_descriptor_goes_with_the_watch(tmp_path: Path) -> None:
    async def follow() -> None:
        async with changing(tmp_path / "file"):
            pass

    before = sorted(os.listdir("/proc/self/fd"))
    asyncio.run(follow())
    assert before == sorted(os.listdir("/proc/self/fd"))


def test_a_directory_that_is_not_there_is_not_watched(tmp_path: Path) -> None:
    assert directories(str(tmp_path / "nowhere/file")) == []


def test_the_directories_are_those_of_the_path_and_of_every_link_on_the_way(tmp_path: Path) -> None:
    for name in ("etc", "mnt", "v1"):
        (tmp_path / name).mkdir()
    (tmp_path / "mnt/data").symlink_to(tmp_path / "v1")
    (tmp_path / "etc/file").symlink_to("../mnt/data/file")
    expected = [str(tmp_path / name) for name in ("etc", "mnt", "v1")]
    assert expected == directories(str(tmp_path / "etc/file"))


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert [str(tmp_path)] == directories(str(tmp_path / "a"))


def test_a_directory_that_may_not_be_watched_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndpresponder.linux.inotify.directories", lambda _: [str(tmp_path / "gone")])

    async def follow() -> None:
        async with changing(tmp_path / "file"):
            raise AssertionError("it began")

    with pytest.raises(SourceUnavailable, match="gone: No such file or directory"):
        asyncio.run(follow())
