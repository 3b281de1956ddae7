"""A throw-away Debian with its stock kernel, as people run it: its modules, its drivers and its verifier.

`run` boots it in about 5 s (qemu's own emulation, no hardware help needed), runs one script as root and gives back what
it printed. The script finds in its directory the files that it was given, `ndpresponder` of this checkout on the PATH,
and for Python this checkout, what it imports, `tests` and pytest. Nothing outside can be reached, nothing is kept. As a
boot costs more than most cases, one script should try many:

    result = vm.run("bookworm", "modprobe 8021q && ip link add link lo name lo.5 type vlan id 5 && echo vlan: made")
    assert result.exit_code == 0 and "vlan: made" in result.output

    result = vm.run("trixie", Path("cases.py").read_text(), files={"case.json": b"{}"})  # it begins with #!/usr/bin/...

The whole system is an initial RAM disk: the suite's, built once in less than a minute and kept below `.cache`, with the
job's files behind it. So there is no disk, and an interrupted run leaves nothing behind.
"""

import importlib.metadata
import os
import platform
import re
import secrets
import select
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from debian_roots import Recipe
from requirements import require

SUITES: Final = {"bookworm": "6.1", "trixie": "6.12"}  # and what their kernels are
PACKAGES: Final = "ethtool,iproute2,iputils-ping,kmod,libcap2-bin,nftables,procps,python3,tcpdump,util-linux"
KERNEL: Final = "linux-image-cloud-amd64"
# Fetched to /kernel, not installed: that would make an initial RAM disk and ask for a boot loader.
FETCH_KERNEL: Final = f"""chroot "$1" sh -ec '
mkdir /kernel && cd /kernel
image=$(apt-cache depends {KERNEL} | sed -n "s/.*Depends: \\(linux-image[^ ]*\\).*/\\1/p")
apt-get -qq -o APT::Sandbox::User=root download "$image"'"""
# Run in the root file system, with what FETCH_KERNEL left. Only modules that concern networks are kept.
UNPACK_KERNEL: Final = """
set -e
dpkg-deb --extract kernel/linux-image-*.deb kernel/unpacked
mv kernel/unpacked/boot/vmlinuz-* ../vmlinuz
modules=$(dirname "$(find kernel/unpacked -name modules.builtin)")
for part in "$modules"/kernel/* "$modules"/kernel/drivers/* "$modules"/kernel/drivers/net/*; do
  case ${part#"$modules"/kernel/} in
    arch | crypto | drivers | lib | net | drivers/net | drivers/ptp | drivers/virtio) ;;
    drivers/net/ethernet | drivers/net/wireless) rm -rf "$part" ;;
    drivers/net/*) ;;
    *) rm -rf "$part" ;;
  esac
done
mkdir -p usr/lib/modules
mv "$modules" usr/lib/modules/
chroot . depmod "$(basename "$modules")"
rm -rf kernel
"""
UNNEEDED: Final = ("boot", "var/lib/apt", "var/cache", "usr/share/zoneinfo", "usr/lib/x86_64-linux-gnu/gconv")
SLOWER: Final = 4  # than this machine, without its processor's help; for deadlines
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT: Final = f"""#!/bin/sh
export PATH={PATH} HOME=/root LC_ALL=C.UTF-8 PYTHONPATH=/checkout:/checkout/tests/support:/python PYTHONUNBUFFERED=1
export NDPRESPONDER_SLOWER={SLOWER}
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts pts /dev/pts
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
cd /job
stty -F /dev/ttyS0 raw -echo
./.script </dev/null >/dev/ttyS0 2>&1
status=$?
echo "$(cat .end) $status" >/dev/ttyS0
echo o >/proc/sysrq-trigger
sleep 60
"""
COMMAND: Final = '#!/bin/sh\nexec python3 -m ndpresponder "$@"\n'
CHECKOUT: Final = ("ndpresponder", "systemd", "tests", "pyproject.toml")
DISTRIBUTIONS: Final = ("ndpresponder", "pytest")
MEMORY_MIB: Final = 1280
DEADLINE_S: Final = 120.0
CONSOLE_LINES: Final = 30
ALIGNED: Final = 4  # to which the parts of an archive are filled up
NEEDED: Final = ("qemu-system-x86_64", "mmdebstrap", "dpkg-deb")


@dataclass(frozen=True)
class Result:
    """How the script ended, and all that it printed."""

    exit_code: int
    output: str


def run(
    suite: str,
    script: str,
    files: Mapping[str, str | bytes | Path] | None = None,
    deadline_s: float = DEADLINE_S,
    hardware: Sequence[str] = (),
) -> Result:
    """Run a script as root in a fresh machine of a suite; its output is also printed as it comes.

    It is a shell's unless it begins with `#!`. `files` go into its directory: text, octets, or a copy of what is there.
    `hardware` is more of qemu's options, such as those for network devices.
    The calling test is skipped where such a machine cannot be.

    Raises:
        TimeoutError: the deadline passed; the message has what was printed until then.
        RuntimeError: the machine did not come to the script's end, as after a panic.
    """
    require(*NEEDED)
    if platform.machine() != "x86_64":
        pytest.skip(f"emulates an x86_64 only, this is {platform.machine()}")
    image = _image(suite)
    end = f"end of job {secrets.token_hex(8)}:"
    with tempfile.TemporaryDirectory(prefix="ndpresponder-vm-") as scratch:
        memory = Path(scratch, "initrd")
        with memory.open("wb") as archive:
            with (image / "root.cpio").open("rb") as root:
                shutil.copyfileobj(root, archive, 1 << 20)
            archive.writelines(_packed(_job(script, files or {}, end)))
        return _boot(image / "vmlinuz", memory, Path(scratch, "console"), end, deadline_s, hardware)


def _boot(kernel: Path, memory: Path, console: Path, end: str, deadline_s: float, hardware: Sequence[str]) -> Result:
    accelerator, processor = ("kvm", "host") if _has_kvm() else ("tcg,thread=multi", "max")
    # No mitigations=off, which would be quicker: the verifier is laxer then than it is where people run it.
    command_line = "console=ttyS1 8250.nr_uarts=2 panic=-1 quiet loglevel=4 net.ifnames=0"
    command = ["qemu-system-x86_64", "-accel", accelerator, "-cpu", processor, "-smp", "2", "-m", str(MEMORY_MIB)]
    command += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"]
    command += ["-kernel", str(kernel), "-initrd", str(memory), "-append", command_line]
    command += ["-serial", "stdio", "-serial", f"file:{console}", *hardware]
    deadline = time.monotonic() + deadline_s
    printed = b""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as qemu:
        assert qemu.stdout is not None
        try:
            while select.select([qemu.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                new = os.read(qemu.stdout.fileno(), 1 << 16)
                if not new:
                    break
                sys.stdout.write(new.decode(errors="replace"))
                printed += new
            else:
                raise TimeoutError(f"no end after {deadline_s} s\n{printed.decode(errors='replace')}{_tail(console)}")
        finally:
            qemu.kill()
    output, found, status = printed.decode(errors="replace").rpartition(end)
    if not found:
        raise RuntimeError(f"the machine failed\n{printed.decode(errors='replace')}{_tail(console)}")
    return Result(int(status), output)


def _has_kvm() -> bool:
    """Tell whether the processor helps; a /dev/kvm without these flags boots no stock kernel."""
    flags = re.search(r"^flags\s*:.*\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return flags is not None and os.access("/dev/kvm", os.R_OK | os.W_OK)


def _tail(console: Path) -> str:
    lines = console.read_text(errors="replace").splitlines() if console.exists() else []
    return "\n".join(["the last lines of the console:", *lines[-CONSOLE_LINES:]])


def _image(suite: str) -> Path:
    """Return the directory with a suite's `vmlinuz` and `root.cpio`."""
    recipe = Recipe(suite, PACKAGES, (f"--customize-hook={FETCH_KERNEL}",))
    distributions = _imported(DISTRIBUTIONS)

    def finish(directory: Path) -> None:
        directory.mkdir()
        root = directory / "root"
        recipe.debootstrap(root)
        subprocess.run(["sh", "-c", UNPACK_KERNEL], cwd=root, check=True)
        for unneeded in UNNEEDED:
            shutil.rmtree(root / unneeded, ignore_errors=True)
        _install(distributions, root / "python")
        # Emulated, the machine would take longer for this than for all the rest
        subprocess.run(["chroot", root, "python3", "-m", "compileall", "-q", "/python"], check=True)
        with (directory / "root.cpio").open("wb") as archive:
            archive.writelines(_packed(_tree(root, "")))
        shutil.rmtree(root)

    versions = sorted(f"{found.name} {found.version}" for found in distributions)
    return recipe.cached("vm", finish, UNPACK_KERNEL, *UNNEEDED, *versions)


def _imported(names: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """Return distributions of this interpreter and all that they need."""
    found: dict[str, importlib.metadata.Distribution] = {}
    wanted, seen = list(names), set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another Python, or another system
        requirements = [line for line in found[name].requires or () if "extra ==" not in line]
        wanted += [match[0] for line in requirements if (match := re.match(r"[\w.-]+", line))]
    return list(found.values())


def _install(distributions: Iterable[importlib.metadata.Distribution], place: Path) -> None:
    """Copy distributions to where Python will look for them, but for what they have compiled and links to us."""
    for distribution in distributions:
        for file in distribution.files or ():
            if ".." not in file.parts and file.suffix not in (".pth", ".pyc") and "__editable__" not in file.name:
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), place / file)


@dataclass(frozen=True)
class _Entry:
    name: str
    mode: int
    data: bytes = b""
    modified: int = 0
    device: int = 0


def _job(script: str, files: Mapping[str, str | bytes | Path], end: str) -> Iterator[_Entry]:
    yield _Entry("init", stat.S_IFREG | 0o755, INIT.encode())
    yield _Entry("usr/bin/ndpresponder", stat.S_IFREG | 0o755, COMMAND.encode())
    for directory in ("checkout", "job"):
        yield _Entry(directory, stat.S_IFDIR | 0o755)
    for name in CHECKOUT:
        yield from _tree(Path(__file__).parents[2] / name, f"checkout/{name}")
    yield _Entry(
        "job/.script", stat.S_IFREG | 0o755, (script if script[:2] == "#!" else f"#!/bin/sh\n{script}").encode()
    )
    yield _Entry("job/.end", stat.S_IFREG | 0o644, end.encode())
    for name, content in files.items():
        yield from _directories(f"job/{name}")
        if isinstance(content, Path):
            yield from _tree(content, f"job/{name}")
        else:
            data = content.encode() if isinstance(content, str) else content
            yield _Entry(f"job/{name}", stat.S_IFREG | 0o755, data)


def _directories(name: str) -> Iterator[_Entry]:
    """Make what a file stands in; what is there already stays."""
    for above in reversed(Path(name).parents[:-1]):
        yield _Entry(str(above), stat.S_IFDIR | 0o755)


def _tree(top: Path, name: str) -> Iterator[_Entry]:
    """Yield a file, or a directory and all below it."""
    found = top.lstat()
    kind, modified = stat.S_IFMT(found.st_mode), int(found.st_mtime)
    if kind == stat.S_IFLNK:
        yield _Entry(name, found.st_mode, os.readlink(top).encode(), modified)
    elif kind == stat.S_IFREG:
        yield _Entry(name, found.st_mode, top.read_bytes(), modified)
    elif kind == stat.S_IFDIR:
        if name:
            yield _Entry(name, found.st_mode, b"", modified)
        for below in sorted(top.iterdir()):
            yield from _tree(below, f"{name}/{below.name}".lstrip("/"))
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        yield _Entry(name, found.st_mode, b"", modified, found.st_rdev)


def _packed(entries: Iterable[_Entry]) -> Iterator[bytes]:
    """Write an archive as the kernel unpacks it (driver-api/early-userspace/buffer-format); all belongs to root."""
    number = 0
    for number, entry in enumerate(entries, 1):
        yield _header(number, entry)
        yield entry.data + bytes(-len(entry.data) % ALIGNED)
    yield _header(number + 1, _Entry("TRAILER!!!", 0))


def _header(number: int, entry: _Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    fields = [number, entry.mode, 0, 0, 1, entry.modified, len(entry.data), 0, 0]
    fields += [os.major(entry.device), os.minor(entry.device), len(name), 0]
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    return header + bytes(-len(header) % ALIGNED)
