"""Make maps, programs and links by the bpf(2) system call, each a descriptor that the caller owns.

Nothing is pinned: all of it ends with its descriptor, at the latest with the process. Errors are OSError; `refusal`
knows what each of them means. The structures are in linux/bpf.h, union bpf_attr.
"""

import contextlib
import ctypes
import errno
import os
import platform
import re
import struct
import sys
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Final

# The number of bpf(2), which libc has no function for. The kernel reads it by the calling convention of the process:
# 357 is bpf(2) for 32-bit x86 and another call for 64-bit x86. `uname -m`, which personality(2) can change, tells the
# family of machines only; the size of a pointer tells the rest.
_NUMBERS: Final[Mapping[str, tuple[int, int]]] = {  # how `uname -m` begins: with 64-bit pointers, with 32-bit ones
    **dict.fromkeys(("x86", "amd64", "i386", "i486", "i586", "i686"), (321, 357)),
    **dict.fromkeys(("arm", "aarch64"), (280, 386)),
    "ppc": (361, 361),
    "s390": (351, 351),
    "sparc": (349, 349),
    "mips": (5315, 4355),
    "parisc": (341, 341),
    "alpha": (515, 515),
    "m68k": (354, 354),
}
_GENERIC: Final = (280, 280)  # asm-generic/unistd.h: every machine that is newer than 2011
# Two conventions have 32-bit pointers on a 64-bit machine. The triplet that the interpreter was built for names them.
_OF_TRIPLETS: Final[Mapping[str, int]] = {"gnux32": 0x4000_0000 + 321, "gnuabin32": 6319}
_POINTER_BYTES: Final = struct.calcsize("P")

# linux/bpf.h, enum bpf_cmd
_MAP_CREATE, _MAP_LOOKUP_ELEM, _MAP_UPDATE_ELEM, _PROG_LOAD = 0, 1, 2, 5
_MAP_LOOKUP_BATCH, _MAP_UPDATE_BATCH, _MAP_DELETE_BATCH, _LINK_CREATE, _LINK_UPDATE = 24, 26, 27, 28, 29
_NO_COMMAND: Final = 1 << 16
_NO_PREALLOC: Final = 1  # BPF_F_NO_PREALLOC: a trie knows no other way
_LOG_SIZE: Final = 1 << 20
_INSTRUCTION_SIZE: Final = 8
_STEP: Final = re.compile(r"(\d+): ")  # a line of the verifier's log about an instruction
_NO_REASON: Final = ("from ", "; ", "processed ", "verification time ", "stack depth ")  # other lines that it has


class MapType(IntEnum):
    """The kinds of maps that are used here (enum bpf_map_type)."""

    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6
    LPM_TRIE = 11


class Hook(IntEnum):
    """Where a program can be attached: enum bpf_attach_type."""

    XDP = 37
    TCX_INGRESS = 46


class VerifierRefused(OSError):
    """The kernel's verifier objects to a program: `reason` in its words, `instruction` where, -1 if it does not say."""

    def __init__(self, error: OSError, reason: str, instruction: int) -> None:
        where = f", at instruction {instruction}" if instruction >= 0 else ""
        super().__init__(error.errno, f"{error.strerror}: {reason}{where}")
        self.reason = reason
        self.instruction = instruction


class XdpMode(IntEnum):
    """Who runs an XDP program: the driver, or the kernel on its behalf (XDP_FLAGS_*)."""

    GENERIC = 1 << 1
    NATIVE = 1 << 2


def bpf_number(machine: str, pointer_bytes: int = _POINTER_BYTES, triplet: str | None = None) -> int:
    """Return the number of bpf(2) where `uname -m` is `machine`; a `triplet` is such as x86_64-linux-gnu."""
    convention = getattr(sys.implementation, "_multiarch", "") if triplet is None else triplet
    for end, number in _OF_TRIPLETS.items():
        if convention.endswith(end) and pointer_bytes == 4:
            return number
    wide, narrow = next((numbers for start, numbers in _NUMBERS.items() if machine.startswith(start)), _GENERIC)
    return wide if pointer_bytes == 8 else narrow


def call(command: int, attribute: "ctypes.Array[ctypes.c_char]") -> int:
    """Make one bpf(2) call, which may write into `attribute`; return what it returns, or raise OSError."""
    number = bpf_number(platform.machine())
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    result: int = syscall(ctypes.c_long(number), ctypes.c_int(command), attribute, ctypes.c_uint(len(attribute)))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def may_call() -> bool:
    """Tell whether a call gets as far as bpf(2), by one that asks for nothing it knows."""
    try:
        _bpf(_NO_COMMAND, bytes(8))
    except OSError as error:
        return error.errno == errno.EINVAL
    return True


def _bpf(command: int, attribute: bytes) -> int:
    return call(command, _buffer(attribute))


def _buffer(octets: bytes) -> "ctypes.Array[ctypes.c_char]":
    return ctypes.create_string_buffer(octets, len(octets))


def create_map(kind: MapType, name: str, key_size: int, value_size: int, room: int = 1) -> int:
    """Create a map for `room` entries; return its descriptor."""
    shape = (kind, key_size, value_size, max(1, room), _NO_PREALLOC if kind is MapType.LPM_TRIE else 0)
    return _bpf(_MAP_CREATE, struct.pack("=IIIIIII16s", *shape, 0, 0, name.encode()))


def set_entry(map_fd: int, key: bytes, value: bytes) -> None:
    keys, values = _buffer(key), _buffer(value)
    _bpf(_MAP_UPDATE_ELEM, struct.pack("=IIQQQ", map_fd, 0, ctypes.addressof(keys), ctypes.addressof(values), 0))


def set_entries(map_fd: int, keys: bytes, values: bytes, count: int) -> None:
    """Set `count` entries, whose keys and whose values stand one behind the other."""
    _batch(_MAP_UPDATE_BATCH, map_fd, count, keys, _buffer(values))


def delete_entries(map_fd: int, keys: bytes, count: int) -> None:
    """Delete `count` entries, whose keys stand one behind the other; all of them are there."""
    _batch(_MAP_DELETE_BATCH, map_fd, count, keys, _buffer(b""))


def array(map_fd: int, value_size: int, count: int) -> bytes:
    """Return the `count` values of an array, one behind the other."""
    values = _buffer(bytes(value_size * count))
    with contextlib.suppress(FileNotFoundError):  # ENOENT: those were all
        _batch(_MAP_LOOKUP_BATCH, map_fd, count, bytes(4 * count), values)
    return values.raw


def _batch(command: int, map_fd: int, count: int, keys: bytes, values: "ctypes.Array[ctypes.c_char]") -> None:
    if count:
        end, all_keys = _buffer(bytes(4)), _buffer(keys)
        places = (ctypes.addressof(each) for each in (end, all_keys, values))
        _bpf(command, struct.pack("=QQQQIIQQ", 0, *places, count, map_fd, 0, 0))


def per_cpu(map_fd: int, value_size: int, cpus: int) -> list[bytes]:
    """Return what each of `possible_cpus` has in entry 0 of a per-CPU array; `value_size` is a multiple of 8."""
    key = ctypes.create_string_buffer(4)
    values = ctypes.create_string_buffer(cpus * value_size)
    _bpf(_MAP_LOOKUP_ELEM, struct.pack("=IIQQQ", map_fd, 0, ctypes.addressof(key), ctypes.addressof(values), 0))
    return [values.raw[start : start + value_size] for start in range(0, len(values), value_size)]


def possible_cpus() -> int:
    """Return how many processors there can ever be; this reads a file."""
    last = Path("/sys/devices/system/cpu/possible").read_text().strip().rpartition(",")[2]
    return int(last.rpartition("-")[2]) + 1


def load_program(hook: Hook, name: str, instructions: bytes) -> int:
    """Have the kernel verify and compile a program; return its descriptor, or raise `VerifierRefused`."""
    code = _buffer(instructions)
    count = len(instructions) // _INSTRUCTION_SIZE
    kind = 3 if hook is Hook.TCX_INGRESS else 6  # BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP
    licence = ctypes.create_string_buffer(b"Dual MIT/GPL")

    def load(log_level: int, log: "ctypes.Array[ctypes.c_char] | None") -> int:
        text = (log_level, len(log), ctypes.addressof(log)) if log is not None else (0, 0, 0)
        where = (ctypes.addressof(code), ctypes.addressof(licence))
        fixed = struct.pack("=IIQQIIQII16sII", kind, count, *where, *text, 0, 0, name.encode(), 0, hook)
        return _bpf(_PROG_LOAD, fixed)

    try:
        return load(0, None)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise
        log = ctypes.create_string_buffer(_LOG_SIZE)
        with contextlib.suppress(OSError):
            return load(1, log)
        reason, instruction = objection(log.value.decode(errors="replace"))
        if not reason:
            raise
        raise VerifierRefused(error, reason, instruction) from error


def objection(log: str) -> tuple[str, int]:
    """Return why the verifier refused a program, "" if its log does not say, and the instruction it was at, or -1.

    The log shows one instruction after another, then the reason, then statistics.
    """
    instruction, reason = -1, ""
    for line in log.splitlines():
        step = _STEP.match(line)
        if step is not None:
            instruction, reason = int(step[1]), ""
        elif line.strip() and not reason and not line.startswith(_NO_REASON):
            reason = line.strip()
    return reason, instruction


def create_link(program_fd: int, index: int, hook: Hook, mode: XdpMode | None = None) -> int:
    """Attach a program to the interface `index`, for as long as the returned descriptor is open.

    On tcx it stands behind all programs that are there already. On XDP it is the only one.
    """
    return _bpf(_LINK_CREATE, struct.pack("=IIII16x", program_fd, index, hook, mode or 0))


def exchange(link_fd: int, program_fd: int) -> None:
    """Have a link run another program from the next frame on."""
    _bpf(_LINK_UPDATE, struct.pack("=IIII", link_fd, program_fd, 0, 0))
