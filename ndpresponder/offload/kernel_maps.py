"""Keep the targets in the two maps of the kernel's program, changed in place where that is right at every moment.

Targets that left the table leave the maps at once. New ones go in by slices, between which the daemon answers frames.
Until all are there, the program must leave claimed targets to the responder: one of them may be live by now.
"""

import os
from dataclasses import replace
from typing import Final

from ndpresponder.linux.bpf import syscall
from ndpresponder.linux.bpf.syscall import MapType
from ndpresponder.offload import map_entries
from ndpresponder.offload.map_entries import ADDRESS_SIZE, PREFIX_SIZE, VALUE_SIZE, Entries
from ndpresponder.policy.table import TargetTable, changes

SLICE: Final = 2048  # live targets that go in, or out, at once: about 1 ms
_SPARE_ROOM: Final = 4  # a new map has room for a quarter more than there are
_LEAST_ROOM: Final = 256


class TargetMaps:
    """The two maps of one program. Errors are OSError; after one, the next table is told from the beginning."""

    def __init__(self) -> None:
        """Prepare; there are no maps until a table is told."""
        self.descriptors: dict[str, int] = {}  # of the maps, as the program names them
        self._told: TargetTable | None = None
        self._missing: list[bytes] = []  # of its live targets
        self._room = 0

    @property
    def complete(self) -> bool:
        """Whether the maps hold all that they were told."""
        return not self._missing

    def tell(self, table: TargetTable) -> bool:
        """Go a step towards `table`; return whether that took another map, for which the program must be loaded anew.

        With that, nothing is left of what `table` does not say. Take more steps while it is not `complete`.
        """
        told = self._told
        try:
            other_map = told is not table and self._follow(told, table)
            self._add(table)
        except OSError:
            self._told, self._missing = None, []
            raise
        self._told = table
        return other_map

    def close(self) -> None:
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        self.descriptors.clear()
        self._told, self._missing = None, []

    def _follow(self, told: TargetTable | None, table: TargetTable) -> bool:
        same_prefixes = told is not None and replace(told, live=table.live) == table
        if not same_prefixes:
            prefixes = map_entries.prefix_entries(table)
            self._exchange("prefixes", fill(MapType.LPM_TRIE, "prefixes", PREFIX_SIZE, prefixes))
        if told is not None and told.excluded == table.excluded:
            # Never both: of a target that is live no more, the old prefixes could say what neither table does
            kept = self._change(told, table) if same_prefixes else told.live == table.live
            if kept:
                return not same_prefixes
        self._room = max(_LEAST_ROOM, len(table.live) + len(table.live) // _SPARE_ROOM)
        self._exchange("live", syscall.create_map(MapType.HASH, "live", ADDRESS_SIZE, VALUE_SIZE, self._room))
        self._missing = list(table.live)
        return True

    def _change(self, told: TargetTable, table: TargetTable) -> bool:
        """Change the live targets in place if they are few enough; return whether they were."""
        held = told.live.difference(self._missing) if self._missing else told.live
        gone, new = changes(held, table.live)
        if len(gone) > SLICE or len(table.live) > self._room:
            return False
        there = map_entries.live_entries(told, gone)
        syscall.delete_entries(self.descriptors["live"], there.keys, there.number)
        self._missing = list(new)
        return True

    def _add(self, table: TargetTable) -> None:
        entries = map_entries.live_entries(table, self._missing[-SLICE:])
        syscall.set_entries(self.descriptors["live"], entries.keys, entries.values, entries.number)
        del self._missing[-SLICE:]

    def _exchange(self, name: str, descriptor: int) -> None:
        if name in self.descriptors:
            os.close(self.descriptors[name])
        self.descriptors[name] = descriptor


def fill(kind: MapType, name: str, key_size: int, entries: Entries) -> int:
    """Create a map that holds just these entries; return its descriptor."""
    descriptor = syscall.create_map(kind, name, key_size, VALUE_SIZE, entries.number)
    try:
        syscall.set_entries(descriptor, entries.keys, entries.values, entries.number)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
