"""Load the fast path's program into the kernel, attach it, exchange it, and take it away.

Another state of the uplink, or other prefixes, take another program with maps of its own: the link exchanges the two
between two frames. Live targets come and go in their map (`kernel_maps`). The link ends with its descriptor, at the
latest with the process. When the kernel refuses, the message says what helps.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ndpresponder.errors import SystemRefused
from ndpresponder.linux import interface
from ndpresponder.linux.bpf import syscall
from ndpresponder.linux.bpf.object import BadObject, Program, read_program
from ndpresponder.linux.bpf.syscall import Hook, MapType, XdpMode
from ndpresponder.offload import map_entries
from ndpresponder.offload.kernel_maps import TargetMaps, fill
from ndpresponder.offload.map_entries import COUNT, RECENT, RECENT_PLACES, VALUE_SIZE, Entries
from ndpresponder.offload.refusal import explain
from ndpresponder.policy.table import TargetTable

OBJECT: Final = "responder.bpf.o"
SECTIONS: Final = ((Hook.TCX_INGRESS, "tc"), (Hook.XDP, "xdp"))
_NAME: Final = "ndpresponder"
_DROPPED: Final = re.compile(r"rx_queue_\d+_xdp_tx_errors|tx_queue_\d+_xdp_tx_drops")  # of veth, of virtio_net


class KernelProgram:
    """The program of one uplink on one hook. Counts go on from one attachment to the next."""

    def __init__(self, name: str, hook: Hook) -> None:
        """Prepare for the interface `name`; nothing is loaded yet."""
        self._name = name
        self._hook = hook
        self._program: Program | None = None
        self._cpus = 0
        self._targets = TargetMaps()
        self._kept: dict[str, int] = {}  # descriptors of the maps that go on from one program to the next, by name
        self._link: int | None = None  # its descriptor
        self._dropped_before: int | None = None  # by the driver, while or since that runs the program

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
            if "counts" not in self._kept:
                self._cpus = syscall.possible_cpus()  # now: to count must need no descriptor, of which none may be left
                self._kept["counts"] = syscall.create_map(MapType.PERCPU_ARRAY, "counts", VALUE_SIZE, COUNT.size)
            if "recent" not in self._kept:
                recent = syscall.create_map(MapType.ARRAY, "recent", VALUE_SIZE, 2 * RECENT.size, RECENT_PLACES)
                self._kept["recent"] = recent
            settings = syscall.create_map(MapType.ARRAY, "settings", VALUE_SIZE, map_entries.SETUP.size)
            unneeded.callback(os.close, settings)
            syscall.set_entry(settings, bytes(VALUE_SIZE), setup)
            addresses = fill(MapType.HASH, "own", map_entries.ADDRESS_SIZE, own)
            unneeded.callback(os.close, addresses)
            maps = {"settings": settings, "own": addresses, **self._kept, **self._targets.descriptors}
            if not {name for _, name in self._program.maps} <= maps.keys():
                raise SystemRefused("the fast path was compiled from another source: install ndpresponder again")
            return syscall.load_program(self._hook, _NAME, self._program.link(maps))

    def exchange(self, program: int) -> None:
        """Run `program` instead from the next frame on.

        Raises:
            LinkNotReady: the interface is gone.
            SystemRefused: the driver does not take it.
        """
        assert self._link is not None
        with self._explained(attaching=True):
            syscall.exchange(self._link, program)

    def attach(self, program: int, index: int, native: bool) -> str:
        """Run `program` on the interface with `index`; return what it is attached to.

        `native` insists that the driver runs an XDP program; else it does if it can.

        Raises:
            LinkNotReady: the interface is gone.
            PermissionMissing, SystemRefused: this kernel, or this interface, has no such hook.
        """
        with self._explained(attaching=True):
            if self._hook is Hook.TCX_INGRESS:
                self._link = syscall.create_link(program, index, self._hook)
                return "tcx"
            if interface.strips_vlan_tags(self._name):
                raise SystemRefused(
                    f"{self._name} takes VLAN tags away before XDP could see them, so that what belongs to another "
                    f"link would be answered: ethtool -K {self._name} rxvlan off, or use the fast path tcx"
                )
            # A veth loses what the program sends back unless its far end, which cannot be seen, has one too, or GRO
            if native or interface.driver(self._name) != "veth":
                try:
                    dropped = self._dropped()
                    self._link = syscall.create_link(program, index, self._hook, XdpMode.NATIVE)
                    self._dropped_before = dropped
                    return "native XDP"
                except OSError as error:
                    if native or error.errno != errno.EOPNOTSUPP:
                        raise
            self._link = syscall.create_link(program, index, self._hook, XdpMode.GENERIC)
            self._dropped_before = None
            return "generic XDP"

    def counts(self) -> list[tuple[int, int, int]]:
        """Return for each processor how many resolutions and probes were answered, and when the last one.

        That is in nanoseconds of the monotonic clock.
        """
        if "counts" not in self._kept:
            return []
        try:
            rows = syscall.per_cpu(self._kept["counts"], COUNT.size, self._cpus)
        except OSError:  # no memory to copy them now: they only grow, and the next time tells
            return []
        return [COUNT.unpack(row) for row in rows]

    def lost(self) -> int:
        """Return how many answers since the last call the driver did not send, as far as it counts them."""
        if self._dropped_before is None:
            return 0
        dropped = self._dropped()
        if dropped is None:  # the driver does not say now: what it counts since then it says later
            return 0
        before, self._dropped_before = self._dropped_before, dropped
        return max(0, dropped - before)  # less: another interface has the name

    def _dropped(self) -> int | None:
        counted = interface.driver_counters(self._name)
        if counted is None:
            return None
        return sum(number for name, number in counted.items() if _DROPPED.fullmatch(name))

    def recent(self) -> list[bytes]:
        """Return the claimed targets that were answered lately, the latest first."""
        if "recent" not in self._kept:
            return []
        return map_entries.recent_targets(syscall.array(self._kept["recent"], 2 * RECENT.size, RECENT_PLACES))

    def detach(self) -> None:
        """Take it away; when this returns it has answered for the last time."""
        if self._link is not None:
            os.close(self._link)
            self._link = None

    def close(self) -> None:
        """Take it away and give back its maps."""
        self.detach()
        self._targets.close()
        for kept in self._kept.values():
            os.close(kept)
        self._kept.clear()

    @contextlib.contextmanager
    def _explained(self, attaching: bool = False) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise explain(error, self._name, self._hook, attaching) from error


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
