"""Octets that outlive a process: those that were written last, whole, whenever the writer ended."""

import os
from collections.abc import Iterator

import pytest

from ndpresponder.linux import memory_file
from ndpresponder.linux.memory_file import MOST, MemoryFile, new_memory


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = new_memory("test")
    yield descriptor
    os.close(descriptor)


def test_what_was_written_last_is_read_by_whoever_comes_next(memory: int) -> None:
    assert MemoryFile(memory).read() == b""
    for data in (b"one", b"a longer one", b"2", b"", b"x" * MOST, b"last"):
        MemoryFile(memory).write(data)
        assert MemoryFile(memory).read() == data


@pytest.mark.parametrize("done", [0, 1])
def test_who_ends_in_the_midst_of_writing_leaves_what_was_there(
    memory: int, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    MemoryFile(memory).write(b"first")
    MemoryFile(memory).write(b"before")
    left = [done]

    def killed(descriptor: int, data: bytes, place: int) -> int:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return pwrite(descriptor, data, place)

    pwrite = os.pwrite
    monkeypatch.setattr(memory_file.os, "pwrite", killed)
    with pytest.raises(KeyboardInterrupt):
        MemoryFile(memory).write(b"after, and longer")
    assert MemoryFile(memory).read() == b"before"


def test_something_else_than_memory_is_an_error() -> None:
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="seek"):
        MemoryFile(reading).read()
    os.close(reading)
    os.close(writing)
