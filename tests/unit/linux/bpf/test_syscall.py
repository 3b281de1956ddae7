"""The number of bpf(2): that of the process, whatever kernel it runs on."""

import platform
import re
import struct
from pathlib import Path

import pytest

from ndpresponder.linux.bpf import syscall
from ndpresponder.linux.bpf.syscall import bpf_number

HEADERS = Path("/usr/include/x86_64-linux-gnu/asm")

PROCESSES = {
    "64-bit x86": ("x86_64", 8, "x86_64-linux-gnu", 321),
    "32-bit x86": ("i686", 4, "i386-linux-gnu", 357),
    "32-bit x86 on a 64-bit kernel": ("x86_64", 4, "i386-linux-gnu", 357),
    "32-bit x86 of musl on a 64-bit kernel": ("x86_64", 4, "i386-linux-musl", 357),
    "64-bit x86 under `setarch i386`": ("i686", 8, "x86_64-linux-gnu", 321),
    "x32": ("x86_64", 4, "x86_64-linux-gnux32", 0x4000_0000 + 321),
    "64-bit ARM": ("aarch64", 8, "aarch64-linux-gnu", 280),
    "32-bit ARM": ("armv7l", 4, "arm-linux-gnueabihf", 386),
    "old 32-bit ARM": ("armv6l", 4, "arm-linux-gnueabi", 386),
    "32-bit ARM on a 64-bit kernel": ("aarch64", 4, "arm-linux-gnueabihf", 386),
    "32-bit ARM under `setarch linux32`": ("armv8l", 4, "arm-linux-gnueabihf", 386),
    "64-bit ARM under `setarch linux32`": ("armv8l", 8, "aarch64-linux-gnu", 280),
    "64-bit POWER": ("ppc64le", 8, "powerpc64le-linux-gnu", 361),
    "32-bit POWER on a 64-bit kernel": ("ppc64", 4, "powerpc-linux-gnu", 361),
    "s390x": ("s390x", 8, "s390x-linux-gnu", 351),
    "64-bit SPARC": ("sparc64", 8, "sparc64-linux-gnu", 349),
    "64-bit MIPS": ("mips64", 8, "mips64el-linux-gnuabi64", 5315),
    "32-bit MIPS on a 64-bit kernel": ("mips64", 4, "mipsel-linux-gnu", 4355),
    "MIPS n32": ("mips64", 4, "mips64el-linux-gnuabin32", 6319),
    "64-bit RISC-V": ("riscv64", 8, "riscv64-linux-gnu", 280),
    "32-bit RISC-V": ("riscv32", 4, "riscv32-linux-gnu", 280),
    "LoongArch": ("loongarch64", 8, "loongarch64-linux-gnu", 280),
    "a machine to come": ("unheard-of", 8, "", 280),
}


@pytest.mark.parametrize(("machine", "pointer_bytes", "triplet", "number"), PROCESSES.values(), ids=PROCESSES)
def test_the_number_is_that_of_the_process(machine: str, pointer_bytes: int, triplet: str, number: int) -> None:
    assert bpf_number(machine, pointer_bytes, triplet) == number


@pytest.mark.skipif(not HEADERS.is_dir(), reason="the kernel's headers are not installed (linux-libc-dev)")
@pytest.mark.parametrize(
    ("header", "process"), [("unistd_64.h", "64-bit x86"), ("unistd_32.h", "32-bit x86"), ("unistd_x32.h", "x32")]
)
def test_the_kernels_headers_say_so(header: str, process: str) -> None:
    (value,) = re.findall(r"#define __NR_bpf \(?(?:__X32_SYSCALL_BIT \+ )?(\d+)", (HEADERS / header).read_text())
    assert bpf_number(*PROCESSES[process][:3]) & 0xFFFF == int(value)


def test_a_call_is_made_by_the_number_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def number(machine: str) -> int:
        asked.append(machine)
        return -1  # no call has it: ENOSYS

    monkeypatch.setattr(syscall, "bpf_number", number)
    with pytest.raises(OSError, match="not implemented"):
        syscall.create_map(syscall.MapType.HASH, "any", 4, 4)
    assert asked == [platform.machine()]
    assert bpf_number(platform.machine()) == bpf_number(platform.machine(), struct.calcsize("P"))
