"""The prefixes that a person added to the running daemon: each until its lifetime ends, or until it is removed.

They survive a reload, and as text that is kept elsewhere the end of the process. How many there can be is bounded.
"""

import asyncio
import json
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import IPv6Network
from typing import Any, Final

from ndpresponder.config import InterfaceConfig, values
from ndpresponder.config.checks import WIDEST, too_wide
from ndpresponder.config.problem import Wrong, listed, nearest
from ndpresponder.targets.source import Schedule, TargetSet, Timer
from ndpresponder.targets.sources.static import of_networks

MAX_PREFIXES: Final = 1024
LONGEST_S: Final = 366 * 86400


@dataclass(frozen=True, slots=True)
class Temporary:
    """One prefix, on one uplink or, with an empty name, on all."""

    network: IPv6Network
    uplink: str = ""


def check(network: IPv6Network, uplink: object, interfaces: Collection[InterfaceConfig]) -> Temporary:
    """Return the prefix on `uplink`, None for all, as far as a configuration of these `interfaces` allows it.

    Raises:
        Wrong: there is no such uplink, or it takes no prefix as wide as this one.
    """
    names = [interface.name for interface in interfaces]
    name = "" if uplink is None else values.interface_name(uplink)
    if name and name not in names:
        near = nearest(name, names)
        hint = f"did you mean {near}?" if near else f"there is {listed(names)}"
        raise Wrong(f"{name!r} is not an uplink here", hint)
    if network.prefixlen < WIDEST:
        for interface in interfaces:
            if name in ("", interface.name) and not interface.allow_wide:
                raise Wrong(*too_wide(network, f"set allow_wide for {interface.name} in the configuration"))
    return Temporary(network, name)


class TemporaryPrefixes:
    """All that were added and are still in force."""

    def __init__(
        self, call_later: Schedule, clock: Callable[[], float], keep: Callable[[bytes], None] = lambda _: None
    ) -> None:
        """Start without any; `clock` is the schedule's, and `keep` is called with what `restore` takes."""
        self._call_later = call_later
        self._clock = clock
        self._keep = keep
        self._timers: dict[Temporary, Timer | None] = {}
        self._ends_s: dict[Temporary, float] = {}
        self._watchers: dict[asyncio.Event, None] = {}

    def restore(self, kept: bytes, interfaces: Collection[InterfaceConfig]) -> list[str]:
        """Put into force what was `kept`, on this clock, has not ended yet and may be added to these `interfaces`.

        Return why each of the others is not in force.

        Raises:
            ValueError: it is something else; nothing was put into force.
        """
        try:
            rows = [(text, uplink or None, _end(end_s)) for text, uplink, end_s in json.loads(kept)]
            networks = [values.network(text) for text, _, _ in rows]
        except (TypeError, RecursionError) as error:
            raise ValueError(str(error)) from error
        now_s = self._clock()
        refused: list[str] = []
        for network, (_, uplink, end_s) in zip(networks, rows, strict=True):
            rest_s = None if end_s is None else min(end_s - now_s, LONGEST_S)
            if rest_s is not None and rest_s <= 0:
                continue
            try:
                prefix = check(values.prefix(str(network)), uplink, interfaces)
            except Wrong as wrong:
                refused.append(f"{wrong.message}; {wrong.hint}")
                continue
            if prefix in self._timers or len(self._timers) < MAX_PREFIXES:
                self._forget(prefix)
                self._set(prefix, rest_s)
            else:
                refused.append(f"{network}: there are {MAX_PREFIXES} already")
        self._tell()
        return refused

    def review(self, interfaces: Collection[InterfaceConfig]) -> list[str]:
        """Remove what is too wide for the configuration of these `interfaces`; return why, for each."""
        names = {interface.name for interface in interfaces}
        refused: list[str] = []
        for prefix in list(self._timers):
            if prefix.uplink and prefix.uplink not in names:  # in force again when its uplink is back
                continue
            try:
                check(prefix.network, prefix.uplink or None, interfaces)
            except Wrong as wrong:
                self._forget(prefix)
                refused.append(f"{wrong.message}; {wrong.hint}")
        if refused:
            self._tell()
        return refused

    def add(self, prefix: Temporary, lifetime_s: int | None) -> bool:
        """Add a prefix, or give it a new lifetime, None being without end; return False when there is no room."""
        if prefix not in self._timers and len(self._timers) >= MAX_PREFIXES:
            return False
        self._forget(prefix)
        self._set(prefix, lifetime_s)
        self._tell()
        return True

    def remove(self, prefix: Temporary) -> bool:
        """Remove a prefix; return whether it was there."""
        found = self._forget(prefix)
        if found:
            self._tell()
        return found

    def remaining(self) -> dict[Temporary, float | None]:
        """Return each prefix and the seconds it still has, None for without end."""
        now_s = self._clock()
        return {prefix: self._ends_s[prefix] - now_s if prefix in self._ends_s else None for prefix in self._timers}

    def on(self, uplink: str) -> TargetSet:
        """Return what is ours on an uplink."""
        return of_networks(prefix.network for prefix in self._timers if prefix.uplink in ("", uplink))

    def watch(self, changed: asyncio.Event) -> None:
        """Set `changed` after each change from now on."""
        self._watchers[changed] = None

    def unwatch(self, changed: asyncio.Event) -> None:
        """Undo `watch`."""
        self._watchers.pop(changed, None)

    def _set(self, prefix: Temporary, lifetime_s: float | None) -> None:
        self._timers[prefix] = None
        if lifetime_s is not None:
            self._timers[prefix] = self._call_later(lifetime_s, self.remove, prefix)
            self._ends_s[prefix] = self._clock() + lifetime_s

    def _forget(self, prefix: Temporary) -> bool:
        self._ends_s.pop(prefix, None)
        if prefix not in self._timers:
            return False
        timer = self._timers.pop(prefix)
        if timer is not None:
            timer.cancel()
        return True

    def _tell(self) -> None:
        rows = [(str(prefix.network), prefix.uplink, self._ends_s.get(prefix)) for prefix in self._timers]
        self._keep(json.dumps(rows).encode())
        for changed in self._watchers:
            changed.set()


def _end(raw: Any) -> float | None:
    """Return when a lifetime ends, on the clock of the schedule; None: never.

    Raises:
        ValueError: it is no time.
    """
    if raw is None:
        return None
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        raise ValueError(f"{raw!r} is no time")
    return float(raw)


class TemporarySource:
    """Those of them that are for one uplink; a /128 is live, as it is among the configured prefixes."""

    kind = "temporary"

    def __init__(self, uplink: str, prefixes: TemporaryPrefixes) -> None:
        self.name = uplink
        self.uplinks: frozenset[str] | None = frozenset((uplink,))
        self._prefixes = prefixes

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        """Publish what is in force now and after every change."""
        changed = asyncio.Event()
        self._prefixes.watch(changed)
        try:
            while True:
                changed.clear()
                publish(self._prefixes.on(self.name))
                await changed.wait()
        finally:
            self._prefixes.unwatch(changed)
