"""The prefixes that a person adds to the running daemon: each counts until its lifetime ends or it is removed.

They survive a reload, and the end of the process as text that the daemon keeps elsewhere. Their number is bounded.
"""

import asyncio
import json
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import IPv6Network
from typing import Final

from ndpresponder.config import InterfaceConfig, values
from ndpresponder.config.checks import WIDEST, too_wide
from ndpresponder.config.problem import Wrong, nearest
from ndpresponder.linux.loop import Schedule
from ndpresponder.targets.source import Source, TargetSet, as_prefix, of_prefixes

MAX_PREFIXES: Final = 1024
LONGEST_S: Final = 366 * 86400


@dataclass(frozen=True, slots=True)
class Temporary:
    """One prefix, on one uplink or, with an empty name, on all."""

    network: IPv6Network
    uplink: str = ""


def uplink_named(raw: object, interfaces: Collection[InterfaceConfig]) -> str:
    """Return the name of the uplink that a person means, an empty one for None: all uplinks.

    Raises:
        Wrong: none of these `interfaces` has that name.
    """
    names = [interface.name for interface in interfaces]
    name = "" if raw is None else values.interface_name(raw)
    if name and name not in names:
        near = nearest(name, names)
        hint = f"did you mean {near}?" if near else f"there is {', '.join(names)}"
        raise Wrong(f"{name!r} is not an uplink here", hint)
    return name


def check(network: IPv6Network, uplink: object, interfaces: Collection[InterfaceConfig]) -> Temporary:
    """Return the prefix on `uplink` (None: on all), if a configuration of these `interfaces` allows it.

    Raises:
        Wrong: there is no such uplink, or it takes no prefix as wide as this one.
    """
    name = uplink_named(uplink, interfaces)
    if network.prefixlen < WIDEST:
        for interface in interfaces:
            if name in ("", interface.name) and not interface.allow_wide:
                raise Wrong(*too_wide(network, f"set allow_wide for {interface.name} in the configuration"))
    return Temporary(network, name)


class TemporaryPrefixes:
    """All prefixes that were added and are still in force."""

    def __init__(
        self, call_later: Schedule, clock: Callable[[], float], keep: Callable[[bytes], None] = lambda _: None
    ) -> None:
        """Start without any; `clock` is the schedule's, and `keep` is called with the octets that `restore` takes."""
        self._call_later = call_later
        self._clock = clock
        self._keep = keep
        self._ends: dict[Temporary, asyncio.TimerHandle | None] = {}  # None: it never ends
        self.changed = asyncio.Event()  # is set at the next change, and replaced then

    def restore(self, kept: bytes, interfaces: Collection[InterfaceConfig]) -> list[str]:
        """Put the `kept` prefixes into force that have not ended; return why some may not be on these `interfaces`.

        Raises:
            ValueError: it is something else; nothing was put into force.
        """
        try:
            rows = [(values.network(text), uplink or None, end_s) for text, uplink, end_s in json.loads(kept)]
        except (TypeError, RecursionError) as error:
            raise ValueError(str(error)) from error
        ends = [end_s for _, _, end_s in rows if end_s is not None]
        if not all(isinstance(end_s, float) and math.isfinite(end_s) for end_s in ends):
            raise ValueError("when a lifetime ends is no time")
        now_s = self._clock()
        refused: list[str] = []
        for network, uplink, end_s in rows:
            rest_s = None if end_s is None else min(end_s - now_s, LONGEST_S)
            if rest_s is not None and rest_s <= 0:
                continue
            try:
                if not self._set(check(values.prefix(str(network)), uplink, interfaces), rest_s):
                    refused.append(f"{network}: there are {MAX_PREFIXES} already")
            except Wrong as wrong:
                refused.append(f"{wrong.message}; {wrong.hint}")
        self._tell()
        return refused

    def review(self, interfaces: Collection[InterfaceConfig]) -> list[str]:
        """Remove the prefixes that are too wide for the configuration of these `interfaces`; return why, for each."""
        names = {interface.name for interface in interfaces}
        refused: list[str] = []
        for prefix in list(self._ends):
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
        """Add a prefix, or give it a new lifetime (None: without end); return False when there is no room."""
        added = self._set(prefix, lifetime_s)
        if added:
            self._tell()
        return added

    def remove(self, prefix: Temporary) -> bool:
        """Remove a prefix; return whether it was there."""
        found = self._forget(prefix)
        if found:
            self._tell()
        return found

    def remaining(self) -> dict[Temporary, float | None]:
        """Return each prefix and the seconds it still has; None: without end."""
        now_s = self._clock()
        return {prefix: end.when() - now_s if end else None for prefix, end in self._ends.items()}

    def on(self, uplink: str) -> TargetSet:
        """Return the targets on an uplink."""
        return of_prefixes(as_prefix(prefix.network) for prefix in self._ends if prefix.uplink in ("", uplink))

    def _set(self, prefix: Temporary, lifetime_s: float | None) -> bool:
        if not self._forget(prefix) and len(self._ends) >= MAX_PREFIXES:
            return False
        self._ends[prefix] = self._call_later(lifetime_s, self.remove, prefix) if lifetime_s is not None else None
        return True

    def _forget(self, prefix: Temporary) -> bool:
        if prefix not in self._ends:
            return False
        if end := self._ends.pop(prefix):
            end.cancel()
        return True

    def _tell(self) -> None:
        rows = [(str(prefix.network), prefix.uplink, end and end.when()) for prefix, end in self._ends.items()]
        self._keep(json.dumps(rows).encode())
        self.changed.set()
        self.changed = asyncio.Event()


class TemporarySource(Source):
    """The prefixes for one uplink; a /128 is live, as it is among the configured ones."""

    kind = "temporary"

    def __init__(self, uplink: str, prefixes: TemporaryPrefixes) -> None:
        self.name = uplink
        self.uplinks = frozenset((uplink,))
        self._prefixes = prefixes

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        while True:
            changed = self._prefixes.changed
            publish(self._prefixes.on(self.name))
            await changed.wait()
