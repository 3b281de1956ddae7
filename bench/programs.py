"""The benchmark's programs in C: compiled into .cache/ at the first use, and whenever a source has changed.

The package's bytecode is compiled as well, because a daemon that compiles 300 modules starts in twice the time.

Needs gcc for what runs in user space; clang and libbpf too for what runs in the kernel. It must never run them.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
_BENCH: Final = ROOT / "bench"
_USER: Final = ("gcc", "-O2", "-Wall")
# v3: with 32-bit registers. Types of the kernel's headers differ by the machine that we compile on
_KERNEL: Final = ("-O2", "-g", "-Wall", "-target", "bpf", "-mcpu=v3", "-c")


class BenchError(Exception):
    """Something a person has to put right before anything can be measured."""


def generator() -> Path:
    """Return the program that asks and judges in user space."""
    return _build("generator", _USER, "generator.c")


def responder() -> Path:
    """Return the smallest responders in C."""
    return _build("responder", _USER, "responder.c")


def flood() -> tuple[Path, Path]:
    """Return the program that asks and judges inside the kernel, and the BPF object that it loads."""
    return _build("flood", _USER, "flood.c", "-lbpf"), _build("flood.bpf.o", for_the_kernel(), "flood.bpf.c")


def for_the_kernel(clang: str = "clang") -> tuple[str, ...]:
    """Return the command that compiles what runs in the kernel, up to its arguments."""
    return (clang, *_KERNEL, f"-I/usr/include/{platform.machine()}-linux-gnu")


def bytecode() -> None:
    """Compile the package's modules, as an installer does; those whose source did not change are left alone."""
    command = [sys.executable, "-m", "compileall", "-q", ROOT / "ndpresponder"]
    subprocess.run(command, check=True, env=environment())


def environment() -> dict[str, str]:
    """Return our environment, without what keeps Python from using or writing the bytecode beside the sources."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")}


def can_flood() -> bool:
    """Tell whether the generator inside the kernel can be had; say why not."""
    try:
        flood()
    except BenchError as error:
        print(f"the in-kernel generator is left out: {error}", file=sys.stderr)
        return False
    return True


def _build(name: str, compiler: tuple[str, ...], source: str, *libraries: str) -> Path:
    """Compile unless that was done after the last change.

    Raises:
        BenchError: it cannot be compiled here; says what to install.
    """
    binary = ROOT / ".cache" / name
    newest = max(file.stat().st_mtime for file in (_BENCH / source, *_BENCH.glob("*.h")))
    if binary.exists() and binary.stat().st_mtime > newest:
        return binary
    binary.parent.mkdir(exist_ok=True)
    print(f"{compiler[0]} {source} -> {binary.relative_to(ROOT)}", file=sys.stderr)
    unready = binary.with_name(f"{name}.{os.getpid()}")  # another process may be running, or compiling, the old one
    try:
        subprocess.run([*compiler, "-o", unready, _BENCH / source, *libraries], check=True)
        unready.rename(binary)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        needed = "apt-get install clang gcc libbpf-dev libc6-dev"
        raise BenchError(f"{source} is not compiled: {error}; is all there? {needed}") from None
    return binary
