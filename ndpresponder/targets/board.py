"""Merges what the sources say into one immutable table for each uplink, and swaps a table when it changed.

Of what a source found, only what belongs to an uplink counts there (`belong`); what a person configured always does.

A source that fails keeps its last set; the board only remembers that it is down. Bursts are coalesced: a change
after a quiet while is in force at once, and those that follow together, `COALESCE_S` after it.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from ndpresponder.linux.netlink.forwarding import Way
from ndpresponder.policy.table import EMPTY, Match, Prefix, TargetTable
from ndpresponder.targets.counted import Astray, Cause, Counted, count
from ndpresponder.targets.schedule import Schedule
from ndpresponder.targets.scope import EVERYTHING, NOWHERE, Scope
from ndpresponder.targets.source import NOTHING, Source, TargetSet

COALESCE_S: Final = 0.05
_AGAIN_S: Final = 1.0  # until a table that an uplink could not take is handed over again


@dataclass(slots=True)
class Entry:
    """What is known of one source."""

    source: Source
    targets: TargetSet = NOTHING
    up: bool = False
    last_sync_s: float = 0.0  # Unix time; 0: never
    resyncs: dict[str, int] = field(default_factory=dict)  # cause -> count
    within: Scope | None = None  # only there its targets count; None: in what belongs to each uplink
    astray: dict[str, Astray] = field(default_factory=dict)  # uplink -> live targets that do not count there, and why
    counted: dict[str, Counted] = field(default_factory=dict)  # uplink -> what counts there
    # What the kernel said: by uplink and interface where packets for each go; by uplink what was asked and is astray
    ways: dict[tuple[int, int], dict[bytes, Way]] = field(default_factory=dict)
    routed: dict[str, tuple[tuple[Any, ...], Mapping[bytes, Cause]]] = field(default_factory=dict)

    @property
    def configured(self) -> bool:
        """Whether a person said that these targets are to be answered for."""
        return self.within is EVERYTHING

    def serves(self, uplink: str) -> bool:
        """Tell whether this source's targets are answered on `uplink`."""
        return self.source.uplinks is None or uplink in self.source.uplinks


class TargetBoard:
    """Holds the last set of every source and hands each uplink its table."""

    def __init__(
        self,
        excluded: Mapping[str, frozenset[Prefix]],
        apply: Callable[[str, TargetTable], None],
        call_later: Schedule,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve the uplinks named in `excluded`, which maps each to what it must never answer for."""
        self._excluded = excluded
        self._apply = apply
        self._call_later = call_later
        self._clock = clock
        self._monotonic = monotonic
        self._on_change: list[Callable[[], None]] = []
        self._tables = dict.fromkeys(excluded, EMPTY)
        self._scopes: Mapping[str, Scope] | None = None
        self._merged: dict[str, Scope] = {}
        self._pending = False
        self._rebuilt_s = -COALESCE_S
        self.entries: list[Entry] = []
        self.generation = 0  # how often a table was swapped

    def belong(self, scopes: Mapping[str, Scope]) -> None:
        """Go by these scopes, which say what belongs to each uplink, from the next `rebuild` on; without, all does."""
        self._scopes = scopes

    def scope(self, entry: Entry, uplink: str) -> Scope:
        """Return where the targets of `entry` count on an uplink."""
        if entry.within is not None or self._scopes is None:
            return entry.within or EVERYTHING
        known = self._scopes.get(uplink)
        if known is None:
            return NOWHERE
        merged = known | self.configured(uplink)
        if merged != self._merged.get(uplink):
            self._merged[uplink] = merged
        return self._merged[uplink]

    def configured(self, uplink: str) -> Scope:
        """Return what a person configured for an uplink."""
        said = [each.targets for each in self.entries if each.configured and each.serves(uplink)]
        hosts = (Prefix(int.from_bytes(target, "big"), 128) for targets in said for target in targets.live)
        return Scope(frozenset(hosts).union(*(targets.claimed for targets in said)))

    def add(self, source: Source) -> Entry:
        """Make room for `source`; what it publishes goes to `publish` with the returned entry."""
        entry = Entry(source)
        self.entries.append(entry)
        return entry

    def exchange(
        self, excluded: Mapping[str, frozenset[Prefix]], gone: Collection[Entry], new: Collection[Entry]
    ) -> None:
        """Serve other uplinks, exclude other prefixes, drop some sources and add others: all of it at once, now."""
        self._excluded = excluded
        self._tables = {uplink: self._tables.get(uplink, EMPTY) for uplink in excluded}
        dropped = {id(entry) for entry in gone}
        self.entries = [entry for entry in self.entries if id(entry) not in dropped]
        self.entries.extend(new)
        self.rebuild()

    def publish(self, entry: Entry, targets: TargetSet) -> None:
        """Take the complete set of a source."""
        cause = "start" if entry.last_sync_s == 0 else "change" if entry.up else "recovery"
        entry.resyncs[cause] = entry.resyncs.get(cause, 0) + 1
        entry.up = True
        entry.last_sync_s = self._clock()
        if targets != entry.targets:
            entry.targets = targets
            self.ring()

    def ring(self) -> None:
        """Have the tables built anew: what counts changed."""
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
            serving = [self._count(entry, uplink) for entry in self.entries if entry.serves(uplink)]
            table = TargetTable.build(
                live=frozenset().union(*(counted.live for counted in serving)),
                claimed=frozenset().union(*(counted.claimed for counted in serving if not counted.targets.refused)),
                excluded=excluded,
                divided=((each.claimed, each.targets.refused) for each in serving if each.targets.refused),
            )
            if table != self._tables[uplink]:
                try:
                    self._apply(uplink, table)
                except Exception as error:  # whatever it is: nobody must go on by the old table for ever
                    failed = error
                    continue
                self._tables[uplink] = table
                self.generation += 1
        self._rebuilt_s = self._monotonic()
        for tell in self._on_change:
            tell()
        if failed is not None:
            self._call_later(_AGAIN_S, self.ring)
            raise failed

    def _count(self, entry: Entry, uplink: str) -> Counted:
        # What a person configured is known at once; of what was found, where it leads and whose it is comes first
        unknown: Astray = {} if entry.configured or self._scopes is None else None
        astray = entry.astray.get(uplink, unknown)
        entry.counted[uplink] = counted = count(
            entry.targets, self.scope(entry, uplink), astray, entry.counted.get(uplink), entry.within is not None
        )
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
        """Return the downstream interface of each live target that is answered for and whose source knows it.

        One that is answered for as soon as it has a route is among them.
        """
        found: dict[bytes, str] = {}
        for entry in self.entries:
            if entry.targets.downstream:
                live = self._live(entry)
                for interface, targets in entry.targets.downstream.items():
                    found.update(dict.fromkeys(targets & live, interface))
        return found

    def _live(self, entry: Entry) -> frozenset[bytes]:
        """Return what is answered for as live on some uplink that `entry` serves."""
        tables = {uplink: table for uplink, table in self._tables.items() if entry.serves(uplink)}
        return frozenset().union(
            *(table.answered_live() for table in tables.values()),
            *(_lacking(entry.astray.get(uplink), table) for uplink, table in tables.items()),
        )


def _lacking(astray: Astray, table: TargetTable) -> Iterator[bytes]:
    for target, cause in (astray or {}).items():
        if cause is Cause.WIRING and table.match(target, int.from_bytes(target, "big")) is not Match.EXCLUDED:
            yield target
