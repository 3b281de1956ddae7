"""Octets that outlive a process: those that were written last, whole, whenever the writer ended."""

import os
from collections.abc import Iterator

import pytest

from ndpresponder.linux import memory_file
from ndpresponder.linux.memory_file import MOST


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = os.memfd_create("test")
    yield descriptor
    os.close(descriptor)


def test_what_was_written_last_is_read_by_whoever_comes_next(memory: int) -> None:
    assert memory_file.read(memory) == b""
    for data in (b"one", b"a longer one", b"2", b"", b"x" * MOST, b"last"):
        memory_file.write(memory, data)
        assert memory_file.read(memory) == data


@pytest.mark.parametrize("done", [0, 1])
def test_who_ends_in_the_midst_of_writing_leaves_what_was_there(
    memory: int, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    memory_file.write(memory, b"first")
    memory_file.write(memory, b"before")
    left = [done]

    def killed(descriptor: int, data: bytes, place: int) -> int:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return pwrite(descriptor, data, place)

    pwrite = os.pwrite
    monkeypatch.setattr(memory_file.os, "pwrite", killed)
    with pytest.raises(KeyboardInterrupt):
        memory_file.write(memory, b"after, and longer")
    assert memory_file.read(memory) == b"before"


def test_something_else_than_memory_is_an_error() -> None:
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="seek"):
        memory_file.read(reading)
    os.close(reading)
    os.close(writing)
