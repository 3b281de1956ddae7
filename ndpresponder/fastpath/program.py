"""The program in the kernel: loaded, given its maps, attached, exchanged for another, taken away.

What changes as a whole, the prefixes or the state of the uplink, takes a program of its own with maps of its own; the
link exchanges one for another between two frames. Live targets come and go in their map (`maps`). The link goes with
its descriptor, at the latest with the process. When the kernel refuses, the message tells what to do.
"""

import contextlib
import errno
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ndpresponder.errors import LinkNotReady, PermissionMissing, SystemRefused
from ndpresponder.fastpath.maps import TargetMaps, fill
from ndpresponder.fastpath.tables import ADDRESS_SIZE, COUNT, SETUP, VALUE_SIZE, Entries
from ndpresponder.linux import bpf
from ndpresponder.linux.bpf import Hook, MapType, XdpMode
from ndpresponder.linux.bpf_object import BadObject, Program, read_program
from ndpresponder.targets.table import TargetTable

OBJECT: Final = "responder.bpf.o"
SECTIONS: Final = ((Hook.TCX_INGRESS, "tc"), (Hook.XDP, "xdp"))
_NAME: Final = "ndpresponder"
_CAPABILITIES: Final = ((12, "CAP_NET_ADMIN"), (39, "CAP_BPF"))  # linux/capability.h
_CAP_SYS_ADMIN: Final = 21
_UNLOCKED: Final = (5, 11)  # the Linux since which maps and programs do not count as locked memory


class KernelProgram:
    """The program of one uplink on one hook. Counts go on from one attachment to the next."""

    def __init__(self, name: str, hook: Hook) -> None:
        """Prepare for the interface `name`; nothing is loaded yet."""
        self._name = name
        self._hook = hook
        self._program: Program | None = None
        self._cpus = 0
        self._targets = TargetMaps()
        # descriptors
        self._counts: int | None = None
        self._link: int | None = None

    @property
    def attached(self) -> bool:
        """Whether the kernel runs it."""
        return self._link is not None

    @property
    def complete(self) -> bool:
        """Whether it knows all targets that it was told."""
        return self._targets.complete

    def tell(self, table: TargetTable) -> bool:
        """Go a step towards `table`; return whether that shows only with the next `load`. More while not `complete`.

        Raises:
            PermissionMissing, SystemRefused: the kernel does not take it.
        """
        with self._explained():
            return self._targets.tell(table)

    def load(self, setup: bytes, own: Entries) -> int:
        """Load the program with the targets that it was told, and these settings; return its descriptor.

        Raises:
            PermissionMissing, SystemRefused: the kernel does not take it, or it is not there.
        """
        if self._program is None:
            self._program = read_object(self._hook)
        with self._explained(), contextlib.ExitStack() as unneeded:  # the program keeps what it uses
            if self._counts is None:
                self._cpus = bpf.possible_cpus()  # now: to count must need no descriptor, of which none may be left
                self._counts = bpf.create_map(MapType.PERCPU_ARRAY, "counts", VALUE_SIZE, COUNT.size)
            settings = bpf.create_map(MapType.ARRAY, "setup", VALUE_SIZE, SETUP.size)
            unneeded.callback(os.close, settings)
            bpf.set_entry(settings, bytes(VALUE_SIZE), setup)
            addresses = fill(MapType.HASH, "own", ADDRESS_SIZE, own)
            unneeded.callback(os.close, addresses)
            maps = {"setup": settings, "own": addresses, "counts": self._counts, **self._targets.descriptors()}
            return bpf.load_program(self._hook, _NAME, self._program.link(maps))

    def exchange(self, program: int) -> None:
        """Run `program` instead from the next frame on.

        Raises:
            LinkNotReady: the interface is gone.
            SystemRefused: the driver does not take it.
        """
        assert self._link is not None
        with self._explained():
            bpf.exchange(self._link, program)

    def attach(self, program: int, index: int, native: bool) -> str:
        """Run `program` on the interface with `index`; return what it is attached to.

        `native` insists that the driver runs an XDP program; else it does if it can.

        Raises:
            LinkNotReady: the interface is gone.
            PermissionMissing, SystemRefused: this kernel, or this interface, has no such hook.
        """
        with self._explained():
            if self._hook is Hook.TCX_INGRESS:
                self._link = bpf.create_link(program, index, self._hook)
                return "tcx"
            if bpf.takes_tags_away(self._name):
                raise SystemRefused(
                    f"{self._name} takes VLAN tags away before XDP could see them, so that what belongs to another "
                    f"link would be answered: ethtool -K {self._name} rxvlan off, or use the fast path tcx"
                )
            # What the program of a veth sends back is lost unless its far end runs one as well, which cannot be seen
            if native or bpf.driver(self._name) != "veth":
                try:
                    self._link = bpf.create_link(program, index, self._hook, XdpMode.NATIVE)
                    return "native XDP"
                except OSError as error:
                    if native or error.errno != errno.EOPNOTSUPP:
                        raise
            self._link = bpf.create_link(program, index, self._hook, XdpMode.GENERIC)
            return "generic XDP"

    def counts(self) -> list[tuple[int, int, int]]:
        """Return for each processor how many resolutions and probes were answered, and when the last one.

        That is in nanoseconds of the monotonic clock.
        """
        if self._counts is None:
            return []
        return [COUNT.unpack(row) for row in bpf.per_cpu(self._counts, COUNT.size, self._cpus)]

    def detach(self) -> None:
        """Take it away; when this returns it has answered for the last time."""
        if self._link is not None:
            os.close(self._link)
            self._link = None

    def close(self) -> None:
        """Take it away and give back its maps."""
        self.detach()
        self._targets.close()
        if self._counts is not None:
            os.close(self._counts)
            self._counts = None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ENXIO, errno.ENOLINK):
                raise LinkNotReady(f"{self._name}: {os.strerror(error.errno)}") from error
            if error.errno in (errno.EPERM, errno.EACCES):
                raise PermissionMissing(_what_is_missing(error)) from error
            raise SystemRefused(self._why(error)) from error

    def _why(self, error: OSError) -> str:
        if error.errno == errno.ENOSYS:
            return "this kernel has no bpf(2), which the fast path needs"
        if error.errno == errno.EINVAL and self._hook is Hook.TCX_INGRESS:
            # clsact, its predecessor, would stay behind when we are killed
            return "this kernel has no tcx, which came with Linux 6.6: use the fast path xdp, or none"
        if error.errno in (errno.EBUSY, errno.EEXIST):
            return f"another XDP program is attached to {self._name}: use the fast path tcx, or detach that"
        return f"the kernel refuses the fast path on {self._name}: {error.strerror}"


def read_object(hook: Hook) -> Program:
    """Return the program for `hook` from the object file that the build made.

    Raises:
        SystemRefused: there is none.
    """
    try:
        return read_program(Path(__file__).with_name(OBJECT).read_bytes(), dict(SECTIONS)[hook])
    except FileNotFoundError as error:
        raise SystemRefused(
            "this installation has no fast path, as clang was missing when it was built: install clang, then "
            "ndpresponder again"
        ) from error
    except BadObject as error:
        raise SystemRefused(f"this installation has no fast path for this machine: {error}") from error


def _release() -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))


def _what_is_missing(error: OSError) -> str:
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    missing = [name for number, name in _CAPABILITIES if not effective >> number & 1]
    if effective >> _CAP_SYS_ADMIN & 1 and "CAP_BPF" in missing:
        missing.remove("CAP_BPF")  # of which it was part before Linux 5.8
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if not missing and limit != resource.RLIM_INFINITY and _release() < _UNLOCKED:
        return (
            f"the fast path needs more memory than may be locked, {limit // 1024} kB: LimitMEMLOCK=infinity in the "
            "unit, as ndpresponder-fastpath.conf has it, or ulimit -l unlimited"
        )
    if not missing:
        return (
            f"the system forbids the fast path ({error.strerror}): does the unit's SystemCallFilter= let bpf through, "
            "as ndpresponder-fastpath.conf has it?"
        )
    return (
        f"the fast path needs {' and '.join(missing)}: run as root, install systemd/ndpresponder-fastpath.conf as a "
        "drop-in of the unit, or switch the fast path off"
    )
