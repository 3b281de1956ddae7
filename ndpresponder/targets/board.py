"""Merge the sets of all sources into one immutable table for each uplink, and swap a table when it changed.

Of the targets that a source found, only those in the scope of an uplink count there; configured ones always do. A
source that fails keeps its last set. Bursts are coalesced: the first change after a quiet while is in force at once,
and those that follow together, `COALESCE_S` after it.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ndpresponder.linux.loop import Schedule
from ndpresponder.policy.table import EMPTY, Match, Prefix, TargetTable
from ndpresponder.targets.scope import EVERYTHING, NOWHERE, Cause, Counted, Scope, Withheld, count, prefix_of
from ndpresponder.targets.source import NOTHING, Source, TargetSet

COALESCE_S: Final = 0.05
_AGAIN_S: Final = 1.0  # until a table that an uplink could not take is handed over again


@dataclass(slots=True, eq=False)
class Entry:
    """One source, its last set, and the part of it that counts."""

    source: Source
    within: Scope | None = None  # only there its targets count; None: in the scope of each uplink
    targets: TargetSet = field(default=NOTHING, init=False)
    up: bool = field(default=False, init=False)
    last_sync_s: float = field(default=0.0, init=False)  # Unix time; 0: never
    resyncs: dict[str, int] = field(default_factory=dict, init=False)  # cause -> count
    withheld: dict[str, Withheld] = field(default_factory=dict, init=False)  # by uplink
    counted: dict[str, Counted] = field(default_factory=dict, init=False)  # by uplink

    @property
    def configured(self) -> bool:
        """Whether a person configured these targets."""
        return self.within is EVERYTHING

    def serves(self, uplink: str) -> bool:
        """Tell whether this source's targets are answered on `uplink`."""
        return self.source.uplinks is None or uplink in self.source.uplinks


class TargetBoard:
    """Holds the last set of every source and hands each uplink its table."""

    def __init__(
        self,
        excluded: Mapping[str, frozenset[Prefix]],
        set_table: Callable[[str, TargetTable], None],
        call_later: Schedule,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve the uplinks named in `excluded`, which maps each to the prefixes it must never answer for."""
        self._excluded = excluded
        self._set_table = set_table
        self._call_later = call_later
        self._clock = clock
        self._monotonic = monotonic
        self._on_change: list[Callable[[], None]] = []
        self._tables = dict.fromkeys(excluded, EMPTY)
        self._pending = False
        self._rebuilt_s = -COALESCE_S
        self.scopes: Mapping[str, Scope] = {}  # by uplink, from the next `rebuild` on; without, no found target counts
        self.entries: list[Entry] = []
        self.generation = 0  # how often a table was swapped

    def configured(self, uplink: str) -> Scope:
        """Return the prefixes that a person configured for an uplink."""
        sets = [each.targets for each in self.entries if each.configured and each.serves(uplink)]
        hosts = frozenset(prefix_of(target) for targets in sets for target in targets.live)
        return Scope(hosts.union(*(targets.claimed for targets in sets)))

    def exchange(
        self, excluded: Mapping[str, frozenset[Prefix]], gone: AbstractSet[Entry], new: Iterable[Entry]
    ) -> None:
        """Serve other uplinks, exclude other prefixes, drop some sources and add others: all of it at once, now."""
        self._excluded = excluded
        self._tables = {uplink: self._tables.get(uplink, EMPTY) for uplink in excluded}
        self.entries = [*(entry for entry in self.entries if entry not in gone), *new]
        self.rebuild()

    def publish(self, entry: Entry, targets: TargetSet) -> None:
        """Take the complete set of a source."""
        cause = "start" if entry.last_sync_s == 0 else "change" if entry.up else "recovery"
        entry.resyncs[cause] = entry.resyncs.get(cause, 0) + 1
        entry.up = True
        entry.last_sync_s = self._clock()
        if targets != entry.targets:
            entry.targets = targets
            self.request_rebuild()

    def request_rebuild(self) -> None:
        """Have the tables rebuilt soon."""
        if not self._pending:
            self._pending = True
            # in a turn of its own even when at once: among thousands of targets it takes milliseconds
            pause_s = max(0.0, self._rebuilt_s + COALESCE_S - self._monotonic())
            self._call_later(pause_s, self.rebuild)

    def fail(self, entry: Entry) -> None:
        """Note that a source cannot be read now. Its last set stays in force."""
        entry.up = False

    def rebuild(self) -> None:
        """Build the tables now and hand over those that changed."""
        self._pending = False
        failed: Exception | None = None
        for uplink, excluded in self._excluded.items():
            scope = self.scopes[uplink] | self.configured(uplink) if uplink in self.scopes else NOWHERE
            serving = [self._count(entry, uplink, scope) for entry in self.entries if entry.serves(uplink)]
            table = TargetTable.build(
                live=_union([counted.live for counted in serving]),
                claimed=frozenset().union(*(counted.claimed for counted in serving if not counted.targets.refused)),
                excluded=excluded,
                divided=((each.claimed, each.targets.refused) for each in serving if each.targets.refused),
                strange=frozenset().union(*(counted.strange for counted in serving)),
            )
            if table != self._tables[uplink]:
                try:
                    self._set_table(uplink, table)
                except Exception as error:  # whatever it is: no uplink must keep an old table for ever
                    failed = error
                    continue
                self._tables[uplink] = table
                self.generation += 1
        self._rebuilt_s = self._monotonic()
        for tell in self._on_change:
            tell()
        if failed is not None:
            self._call_later(_AGAIN_S, self.request_rebuild)
            raise failed

    def _count(self, entry: Entry, uplink: str, scope: Scope) -> Counted:
        # A configured target counts at once; one that was found only after the kernel was asked where it leads
        withheld = entry.withheld.get(uplink, {} if entry.configured else None)
        before = entry.counted.get(uplink)
        entry.counted[uplink] = counted = count(entry.targets, entry.within or scope, withheld, before)
        return counted

    def claimers(self, uplink: str, prefix: Prefix) -> str:
        """Name the sources that claim `prefix` on `uplink`."""
        claiming = [each.source for each in self.entries if each.serves(uplink) and prefix in each.targets.claimed]
        return ", ".join(f"{source.kind} {source.name}".rstrip() for source in claiming)

    def on_change(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Call `tell` each time after the tables were rebuilt, whether or not any differs; return what ends that."""
        self._on_change.append(tell)
        return partial(self._on_change.remove, tell)

    def downstream(self) -> dict[bytes, str]:
        """Return the interface of each live target that is answered for, or will be as soon as it has a route."""
        found: dict[bytes, str] = {}
        for entry in self.entries:
            if entry.targets.downstream:
                live: set[bytes] = set()
                for uplink, table in self._tables.items():
                    if entry.serves(uplink):
                        live |= table.answered_live()
                        live |= {
                            each
                            for each, cause in (entry.withheld.get(uplink) or {}).items()
                            if cause is Cause.WIRING
                            and table.match(each, int.from_bytes(each, "big")) is not Match.EXCLUDED
                        }
                for interface, targets in entry.targets.downstream.items():
                    found.update(dict.fromkeys(targets & live, interface))
        return found


def _union(sets: Iterable[frozenset[bytes]]) -> frozenset[bytes]:
    """Return the union; a set that is the only one with members is not copied, as it can have 100,000."""
    return next(iter(some)) if len(some := [each for each in sets if each]) == 1 else frozenset().union(*some)
