"""The number of bpf(2) for this process, which libc has no function for.

The kernel reads a number by the calling convention of the process, not by its own machine: 357 is bpf(2) for 32-bit x86
and another call for 64-bit x86. `uname -m` names the kernel's machine, or whatever personality(2) was told to say, so
that it tells the family only; the size of a pointer tells the rest.
"""

import struct
import sys
from collections.abc import Mapping
from typing import Final

# arch/*/kernel/syscalls: family -> (with pointers of 64 bits, with those of 32 bits)
_NUMBERS: Final[Mapping[str, tuple[int, int]]] = {
    "x86": (321, 357),
    "arm": (280, 386),
    "powerpc": (361, 361),
    "s390": (351, 351),
    "sparc": (349, 349),
    "mips": (5315, 4355),
    "parisc": (341, 341),
    "alpha": (515, 515),
    "m68k": (354, 354),
}
_GENERIC: Final = 280  # asm-generic/unistd.h: every machine that is newer than 2011
_FAMILIES: Final[Mapping[str, str]] = {  # what the names of `uname -m` begin with
    "x86": "x86",
    "amd64": "x86",
    "i386": "x86",
    "i486": "x86",
    "i586": "x86",
    "i686": "x86",
    "arm": "arm",
    "aarch64": "arm",
    "ppc": "powerpc",
    "s390": "s390",
    "sparc": "sparc",
    "mips": "mips",
    "parisc": "parisc",
    "alpha": "alpha",
    "m68k": "m68k",
}
# Two conventions have 32-bit pointers on a 64-bit machine: they show in the triplet that the interpreter was built for.
_OF_TRIPLETS: Final[Mapping[str, int]] = {"gnux32": 0x4000_0000 + 321, "gnuabin32": 6319}

POINTER_BYTES: Final = struct.calcsize("P")


def bpf_number(machine: str, pointer_bytes: int = POINTER_BYTES, triplet: str | None = None) -> int:
    """Return the number of bpf(2) for a process on a kernel whose `uname -m` is `machine`.

    `triplet` names the convention the interpreter was built for, such as x86_64-linux-gnu.
    """
    convention = _triplet() if triplet is None else triplet
    for end, number in _OF_TRIPLETS.items():
        if convention.endswith(end) and pointer_bytes == 4:
            return number
    family = next((family for start, family in _FAMILIES.items() if machine.startswith(start)), None)
    if family is None:
        return _GENERIC
    wide, narrow = _NUMBERS[family]
    return wide if pointer_bytes == 8 else narrow


def _triplet() -> str:
    return getattr(sys.implementation, "_multiarch", "")
