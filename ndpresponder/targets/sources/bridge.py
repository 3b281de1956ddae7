"""The targets behind a downstream interface, as the kernel knows them, whichever program made the interface.

The prefixes of the interface's addresses are claimed. Its learned neighbors are live. Behind a bridge they are live
only while a port knows their link-layer address, because the kernel keeps a neighbor long after its port has gone.
Nothing is a target behind an interface that leads to the uplink.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv6Network
from itertools import starmap
from typing import Final

from ndpresponder.config.checks import WIDEST
from ndpresponder.linux.netlink.changes import Changes
from ndpresponder.linux.netlink.downstream import GROUPS, Downstream, ask_downstream, removes
from ndpresponder.observe.logs import get_logger
from ndpresponder.targets.scope import contains, prefix_of
from ndpresponder.targets.source import NOTHING, Source, TargetSet

_EVENTS_MAX: Final = 1024  # then it is cheaper to ask again


class BridgeSource(Source):
    """One downstream interface, which may appear, vanish and be renumbered at any time."""

    kind = "bridge"

    def __init__(self, name: str, uplinks: Iterable[str]) -> None:
        self.name = name
        self._uplinks = frozenset(uplinks)
        self._link_names = frozenset(word.encode() for word in (name, *self._uplinks))
        self._changes = Changes(GROUPS, self._matters)
        self._known: Downstream | None = None
        self._events: list[bytes] | None = None  # those that come while the kernel is asked
        self._log = get_logger(source=self.kind, name=name)
        self._logged: object = None

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        await self._changes.follow(partial(self._look, publish))

    async def _look(self, publish: Callable[[TargetSet], None]) -> None:
        events = self._events = []
        before = self._known
        try:
            self._known = await ask_downstream(self.name, self._uplinks)
        finally:
            self._events = None
        # While others were removed, the kernel's answer may lack neighbors that are still there
        again = lacks(self._known, before) and any(map(removes, events))
        if not again:
            self._log_changes(self._known)
            targets = targets_behind(self.name, self._known)
            await asyncio.sleep(0)  # of thousands of neighbors each step takes a millisecond or two
            publish(targets)
            again = any(map(self._matters, events))
        if again:
            self._changes.notify()

    def _matters(self, event: bytes) -> bool:
        """Tell whether to ask again; neighbors change their state all the time, mostly without consequence."""
        if self._events is not None and len(self._events) < _EVENTS_MAX:  # judged when the answer is there
            self._events.append(event)
            return False
        return self._events is not None or self._known is None or self._known.can_change_by(event, self._link_names)

    def _log_changes(self, downstream: Downstream | None) -> None:
        prefixes = starmap(prefix_of, downstream.addresses if downstream else ())
        wide = frozenset(prefix for prefix in prefixes if prefix.length < WIDEST)
        logged = (downstream is not None, downstream.uplink if downstream else "", wide)
        before, self._logged = self._logged, logged
        if logged == before:
            return
        if downstream is None:
            self._log.warning("waiting for the interface to appear")
        elif downstream.uplink:
            self._log.error("leads to an uplink: nothing behind it is ours", uplink=downstream.uplink)
        else:
            self._log.info("following", index=downstream.index, bridge=downstream.bridge)
        for prefix in wide:
            why = f"a prefix wider than /{WIDEST} is not claimed: write it as --prefix"
            self._log.warning(why, prefix=str(IPv6Network(prefix)))


def targets_behind(name: str, downstream: Downstream | None) -> TargetSet:
    """Return the targets behind the interface called `name`."""
    if downstream is None or downstream.uplink:
        return NOTHING
    claimed = {prefix for prefix in starmap(prefix_of, downstream.addresses) if prefix.length >= WIDEST}
    live = frozenset(downstream.neighbors)
    if downstream.bridge:
        confirmed = downstream.lladdrs | {b""}
        live = frozenset(address for address, lladdr in downstream.neighbors.items() if lladdr in confirmed)
        # A bridge forgets a host that is silent for long. In our prefixes that makes no difference. Elsewhere the
        # address stays ours as long as the kernel has the entry: without answers no frame would reach the host again.
        silent = map(prefix_of, downstream.neighbors.keys() - live)
        claimed.update([host for host in silent if not any(contains(prefix, host) for prefix in claimed)])
    return TargetSet(live, frozenset(claimed), {name: live})


def lacks(downstream: Downstream | None, before: Downstream | None) -> bool:
    """Tell whether the interface is still there, and a neighbor or port address of `before` is not."""
    if downstream is None or before is None or downstream.index != before.index:
        return False
    return not (before.neighbors.keys() <= downstream.neighbors.keys() and before.lladdrs <= downstream.lladdrs)
