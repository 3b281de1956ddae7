"""The fast path's program, run by the kernel on single frames that no interface has seen (BPF_PROG_TEST_RUN).

Import it as `from inkernel import InKernel, require_bpf`.
"""

import array
import ctypes
import os
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pytest
from peer import Wire

from ndpresponder.lab.namespace import Namespace
from ndpresponder.linux.bpf.syscall import Hook, call
from ndpresponder.offload import map_entries
from ndpresponder.offload.kernel_program import KernelProgram, read_object
from ndpresponder.policy.requester import Policy, UplinkState
from ndpresponder.policy.table import TargetTable

PROG_TEST_RUN, PROG_QUERY = 10, 16
# What the program says of a frame: that it goes on as it is, or that it is now the answer and goes back
PASSES = {Hook.TCX_INGRESS: 0xFFFFFFFF, Hook.XDP: 2}
GOES_BACK = {Hook.TCX_INGRESS: 7, Hook.XDP: 3}
SHORTEST = 14  # the kernel makes no frame of less


EVERY_FASTPATH = ("off", "tcx", "xdp", "xdp-native")


def require_bpf() -> None:
    """Skip the calling test unless we may run BPF programs and have the fast path's."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for BPF programs")
    try:
        read_object(Hook.XDP)
    except Exception as error:
        pytest.skip(f"needs the fast path: {error}")


@dataclass(frozen=True)
class Fastpath:
    """A mode of the fast path, or "off"."""

    mode: str

    def flags(self, wire: Wire | None = None) -> tuple[str, ...]:
        """Return the flags of a daemon in this mode, on this wire if there is one, which is then ready for it."""
        if self.mode == "off":
            return ()
        require_bpf()
        if wire is not None and self.mode.startswith("xdp"):
            wire.ready_for_xdp()
        return "--fastpath", self.mode

    def arranged(self, answers: list[bytes]) -> list[bytes]:
        """Return answers in their order as far as that is certain: what the kernel answers overtakes the rest."""
        return answers if self.mode == "off" else sorted(answers)


class InKernel:
    """The program for one hook, with the tables and settings last given; a context manager."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self._program = KernelProgram("none", hook)
        self._loaded: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unload()
        self._program.close()

    def tell(self, table: TargetTable, state: UplinkState | None, policy: Policy, claimed: bool = True) -> None:
        """Load the program for these."""
        self._unload()
        self._program.tell(table)
        while not self._program.complete:
            self._program.tell(table)
        self._loaded = self._program.load(map_entries.setup(state, policy, claimed), map_entries.own_entries(state))

    def _unload(self) -> None:
        if self._loaded is not None:
            os.close(self._loaded)
            self._loaded = None

    def answer(self, frame: bytes) -> bytes | None:
        """Return what the program makes of a frame: an advertisement, or None when it goes on untouched."""
        assert self._loaded is not None
        return answer_of(self._loaded, self.hook, frame)

    def counted(self) -> tuple[int, int]:
        """Return how many resolutions and probes it has counted."""
        rows = self._program.counts()
        return sum(row[0] for row in rows), sum(row[1] for row in rows)

    def recent(self) -> list[bytes]:
        """Return the claimed targets that it says it answered for, the latest first."""
        return self._program.recent()


class Unlinked(KernelProgram):
    """The program with no interface: while it would be attached, it can be asked with frames of ours."""

    def attach(self, program: int, index: int, native: bool) -> str:
        """Answer by `program`."""
        self._link = os.dup(program)
        return "nothing"

    def exchange(self, program: int) -> None:
        """Answer by `program` instead."""
        self.detach()
        self._link = os.dup(program)

    def answer(self, frame: bytes) -> bytes | None:
        """Return the advertisement for a frame, None when it is left to the responder."""
        return None if self._link is None else answer_of(self._link, self._hook, frame)


def answer_of(program: int, hook: Hook, frame: bytes) -> bytes | None:
    """Return what a program makes of a frame: an advertisement, or None when it goes on untouched."""
    given, made = ctypes.create_string_buffer(frame, len(frame)), ctypes.create_string_buffer(4096)
    places = ctypes.addressof(given), ctypes.addressof(made)
    attribute = ctypes.create_string_buffer(
        struct.pack("=IIIIQQIIIIQQII", program, 0, len(frame), len(made), *places, 1, 0, 0, 0, 0, 0, 0, 0)
    )
    result = call(PROG_TEST_RUN, attribute)
    assert result == 0
    _, verdict, _, length = struct.unpack_from("=IIII", attribute)
    octets = made.raw[:length]
    if verdict == GOES_BACK[hook]:
        return octets
    assert verdict == PASSES[hook]
    assert octets == frame
    return None


def attached_programs(namespace: Namespace, interface: str) -> list[int]:
    """Return the numbers of the programs on an interface's tcx ingress."""
    with namespace.enter():
        index = socket.if_nametoindex(interface)
        numbers = array.array("I", [0] * 64)
        attribute = ctypes.create_string_buffer(
            struct.pack("=IIIIQIIQQQQ", index, Hook.TCX_INGRESS, 0, 0, numbers.buffer_info()[0], 64, 0, 0, 0, 0, 0)
        )
        call(PROG_QUERY, attribute)
    return numbers[: struct.unpack_from("=I", attribute, 24)[0]].tolist()
