"""A file system that hangs when it is told to, as one behind a network does: FUSE, spoken here with the kernel itself.

It holds one file, in its root. Import it as `from hungdisk import HungDisk`.
"""

import contextlib
import ctypes
import os
import select
import stat
import struct
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

# linux/fuse.h
LOOKUP, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT, OPENDIR, RELEASEDIR = 1, 3, 14, 15, 18, 25, 26, 27, 29
FORGET, INTERRUPT, BATCH_FORGET = 2, 36, 42  # nobody waits for an answer
IN_HEADER: Final = struct.Struct("=IIQQIIII")
ROOT, FILE = 1, 2
NOT_THERE, NOT_KNOWN = -2, -38
NAME: Final = "addresses"


class HungDisk:
    """The file system, mounted at a directory for the length of a context."""

    def __init__(self, place: Path, text: str) -> None:
        self._place = place
        self._data = text.encode()
        self._may_answer = threading.Event()

    def __enter__(self) -> Self:
        if not Path("/dev/fuse").exists():
            pytest.skip("needs /dev/fuse")
        self._kernel = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK)
        self._closing, self._close = os.pipe()
        options = f"fd={self._kernel},rootmode=40000,user_id=0,group_id=0,allow_other"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"hung", os.fsencode(self._place), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "mount")
        self._may_answer.set()
        self._answering = threading.Thread(target=self._serve)
        self._answering.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        os.close(self._close)
        self._may_answer.set()
        self._answering.join()
        os.close(self._closing)
        os.close(self._kernel)  # whoever still waits gets an error
        subprocess.run(["umount", "--lazy", self._place], check=True)

    def hang(self) -> None:
        """Answer nobody from now on."""
        self._may_answer.clear()

    def recover(self) -> None:
        """Answer again, also who waits."""
        self._may_answer.set()

    def _serve(self) -> None:
        while True:
            asked, _, _ = select.select([self._kernel, self._closing], [], [])
            self._may_answer.wait()
            if self._closing in asked:
                return
            with contextlib.suppress(BlockingIOError):  # who asked has gone
                self._answer(os.read(self._kernel, 1 << 18))

    def _answer(self, request: bytes) -> None:
        _, operation, unique, node, *_ = IN_HEADER.unpack_from(request)
        if operation in (FORGET, INTERRUPT, BATCH_FORGET):
            return
        error, body = self._result(operation, node, request[IN_HEADER.size :])
        with contextlib.suppress(FileNotFoundError):  # who asked has gone
            os.write(self._kernel, struct.pack("=IiQ", 16 + len(body), error, unique) + body)

    def _result(self, operation: int, node: int, said: bytes) -> tuple[int, bytes]:
        match operation:
            case _ if operation == INIT:
                return 0, struct.pack("=IIIIHHIIHHI7I", 7, 31, 65536, 0, 8, 8, 65536, 1, 0, 0, 0, *(0,) * 7)
            case _ if operation == LOOKUP:
                if said.rstrip(b"\0") != NAME.encode():
                    return NOT_THERE, b""
                return 0, struct.pack("=QQQQII", FILE, 0, 0, 0, 0, 0) + self._attributes(FILE)
            case _ if operation == GETATTR:
                return 0, struct.pack("=QII", 0, 0, 0) + self._attributes(node)
            case _ if operation in (OPEN, OPENDIR):
                return 0, struct.pack("=QII", 0, 1, 0)  # FOPEN_DIRECT_IO: nothing is cached
            case _ if operation == READ:
                _, offset, size = struct.unpack_from("=QQI", said)
                return 0, self._data[offset : offset + size]
            case _ if operation in (RELEASE, RELEASEDIR, FLUSH):
                return 0, b""
        return NOT_KNOWN, b""

    def _attributes(self, node: int) -> bytes:
        mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o644
        size = 0 if node == ROOT else len(self._data)
        return struct.pack("=6Q10I", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 512, 0)
