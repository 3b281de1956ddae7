"""What lies behind a downstream interface, as the kernel knows it: needs no container engine, and works with any.

The prefixes of the interface's addresses are claimed. Its learned neighbors are live; behind a bridge only while a
port knows their link-layer address, because the kernel keeps a neighbor long after its port has gone. It must never
make anything of an interface that leads to the uplink.
"""

import asyncio
from collections.abc import Callable, Iterable
from ipaddress import IPv6Network
from typing import Final

from ndpresponder.linux.netlink.changes import Changes
from ndpresponder.linux.netlink.downstream import GROUPS, Downstream, ask_downstream, removes
from ndpresponder.observe.logs import get_logger
from ndpresponder.policy.table import Prefix
from ndpresponder.targets.source import NOTHING, TargetSet

WIDEST: Final = 64  # a link's prefix: an interface with a wider one says nothing about where its addresses are
_HEARD_MAX: Final = 1024  # then it is cheaper to ask again


class BridgeSource:
    """One downstream interface, which may appear, vanish and be renumbered at any time."""

    kind = "bridge"
    uplinks: frozenset[str] | None = None

    def __init__(self, name: str, uplinks: Iterable[str]) -> None:
        self.name = name
        self._uplinks = frozenset(uplinks)
        self._link_names = frozenset(word.encode() for word in (name, *self._uplinks))
        self._known: Downstream | None = None
        self._heard: list[bytes] | None = None  # events while we ask
        self._log = get_logger(source=self.kind, name=name)
        self._said: object = None

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        """Follow the interface until cancelled; see `Source.run`."""
        changes = Changes(GROUPS, self._matters)

        async def look() -> None:
            if await self._ask(publish):
                changes.notify()

        await changes.follow(look)

    async def _ask(self, publish: Callable[[TargetSet], None]) -> bool:
        """Publish what is there now; return whether it changed while we asked."""
        heard = self._heard = []
        before = self._known
        try:
            self._known = await ask_downstream(self.name, self._uplinks)
        finally:
            self._heard = None
        if lacks(self._known, before) and any(map(removes, heard)):
            return True  # the kernel may have passed over some that are still there, when others were removed
        self._tell(self._known)
        targets = targets_behind(self.name, self._known)
        await asyncio.sleep(0)  # of thousands of neighbors each step takes a millisecond or two
        publish(targets)
        return any(map(self._matters, heard))

    def _matters(self, event: bytes) -> bool:
        """Tell whether we have to ask again; neighbors change their state all the time, mostly without consequence."""
        if self._heard is not None and len(self._heard) < _HEARD_MAX:  # judged when the answer is there
            self._heard.append(event)
            return False
        return self._heard is not None or self._known is None or self._known.can_change_by(event, self._link_names)

    def _tell(self, downstream: Downstream | None) -> None:
        """Log what a person has to know, once."""
        wide = frozenset(_networks(downstream, wide=True)) if downstream else frozenset()
        said = (downstream is not None, downstream.uplink if downstream else "", wide)
        before, self._said = self._said, said
        if said == before:
            return
        if downstream is None:
            self._log.warning("waiting for the interface to appear")
        elif downstream.uplink:
            self._log.error("leads to an uplink: nothing behind it is ours", uplink=downstream.uplink)
        else:
            self._log.info("following", index=downstream.index, bridge=downstream.bridge)
        for prefix in wide:
            network = str(IPv6Network((prefix.value, prefix.length)))
            self._log.warning(f"a prefix wider than /{WIDEST} is not claimed: write it as --prefix", prefix=network)


def targets_behind(name: str, downstream: Downstream | None) -> TargetSet:
    """Return what the interface called `name` makes ours."""
    if downstream is None or downstream.uplink:
        return NOTHING
    claimed = set(_networks(downstream))
    if not downstream.bridge:
        live = frozenset(downstream.neighbors)
    else:
        confirmed = downstream.lladdrs | {b""}
        live = frozenset(address for address, lladdr in downstream.neighbors.items() if lladdr in confirmed)
        # A bridge forgets who is silent for long. In our prefixes that makes no difference; elsewhere the address must
        # stay ours as long as the kernel has the entry, or nobody could ever reach it again
        values = (int.from_bytes(address, "big") for address in downstream.neighbors.keys() - live)
        silent = [value for value in values if not any(value >> 128 - n == v >> 128 - n for v, n in claimed)]
        claimed.update(Prefix(value, 128) for value in silent)
    return TargetSet(live, frozenset(claimed), {name: live})


def lacks(downstream: Downstream | None, before: Downstream | None) -> bool:
    """Tell whether any neighbor or station of `before` is there no more, although the interface is."""
    if downstream is None or before is None or downstream.index != before.index:
        return False
    return not (before.neighbors.keys() <= downstream.neighbors.keys() and before.lladdrs <= downstream.lladdrs)


def _networks(downstream: Downstream, wide: bool = False) -> Iterable[Prefix]:
    """Yield the prefixes of the interface that can be claimed, or those that are too wide."""
    for address, length in downstream.addresses:
        if (length < WIDEST) == wide:
            shift = 128 - length
            yield Prefix(int.from_bytes(address, "big") >> shift << shift, length)
