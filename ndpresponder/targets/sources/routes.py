"""The prefixes that the kernel would forward elsewhere than back out of an uplink, as its routes tell.

As for the kernel, the longest prefix decides: within a route that leads behind this host, a longer one that leads back
out of an uplink, or is unreachable, takes its part away. A default route is never claimed, nor, without `within`, a
route wider than a link's prefix: half of the internet behind a tunnel must not take the addresses of the neighbors.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from ndpresponder.config.checks import WIDEST
from ndpresponder.config.settings import RoutesSourceConfig
from ndpresponder.linux.netlink import routes as kernel
from ndpresponder.linux.netlink.changes import Changes
from ndpresponder.observe.logs import get_logger
from ndpresponder.policy.table import Prefix
from ndpresponder.targets.scope import EVERYTHING, Scope, contains
from ndpresponder.targets.source import Source, TargetSet, as_prefix

_LOOKS: Final = 3  # while other routes change
_LOOPBACK: Final = 1  # index of `lo` in every network namespace
_NEVER: Final = (Prefix(0xFE80 << 112, 10), Prefix(0xFF << 120, 8))  # link-local, multicast


class RoutesSource(Source):
    """The routes of this host."""

    kind = "routes"
    name = "kernel"

    def __init__(self, config: RoutesSourceConfig, uplinks: Iterable[str]) -> None:
        self._config = config
        self._uplinks = frozenset(uplinks)
        self._within = Scope(frozenset(map(as_prefix, config.within))) if config.within else EVERYTHING
        shortest = 1 if config.within else WIDEST
        self._wanted = kernel.Wanted(frozenset(config.tables), shortest, tuple(self._within.prefixes))
        self._tables = config.tables  # in their order
        self._unread: set[int] = set()
        self._log = get_logger(source=self.kind)
        self._changes = Changes(kernel.GROUPS, self._matters)
        self._routes: list[kernel.Route] | None = None  # as they were last, in the kernel's order
        self._events = 0  # received, whether or not they matter
        # Since the last answer
        self._named: set[tuple[int, int]] = set()  # prefixes of routes that events named
        self._changed = False  # whether an event told of anything else, a link say, or was lost

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        self._routes = None
        await self._changes.follow(partial(self._look, publish))

    async def _look(self, publish: Callable[[TargetSet], None]) -> None:
        await self._follow_rules()
        self._routes = await self._ask()
        publish(targets_of(self._routes, self._selection()))

    async def _ask(self) -> list[kernel.Route]:
        """Return the routes.

        While routes change, the kernel's answer may lack others that stay. So a route that was there before stays
        unless an event named it; if events were lost, the kernel is asked again.
        """
        before, told = self._routes if not self._changed else None, self._named
        self._named, self._changed = set(), False  # what comes from now on counts twice
        found: dict[kernel.Route, None] = {}  # in the kernel's order
        for _ in range(_LOOKS):
            events = self._events
            found |= dict.fromkeys(await kernel.ask_routes(self._wanted))
            await asyncio.sleep(0)  # until the events have been heard
            if events == self._events:
                break
            if before is not None and not self._changed:
                told |= self._named
                found |= {each: None for each in before if (each.value, each.length) not in told}
                break
        return list(found)

    async def _follow_rules(self) -> None:
        """Find the tables that the rules lead to from the uplinks, unless a person configured them."""
        if self._config.tables:
            return
        tables = await kernel.tables_for(self._uplinks)
        self._tables = tables.read
        self._wanted = replace(self._wanted, tables=frozenset(tables.read))
        some = [(table, replace(self._wanted, tables=frozenset((table,)))) for table in tables.for_some]
        unread = {table for table, wanted in some if await kernel.ask_routes(wanted)}
        for table in sorted(unread - self._unread):
            self._log.warning(
                "a rule leads some packets to a table that is not looked at",
                table=table,
                hint=f"if it matters, write tables = {[*tables.read, table]} for the routes (ip -6 rule)",
            )
        self._unread = unread

    def _matters(self, event: bytes) -> bool:
        self._events += 1
        told = kernel.concerns(event, self._wanted)
        if isinstance(told, kernel.Route) and len(self._named) < kernel.MAX_ROUTES:
            self._named.add((told.value, told.length))
        elif told:
            self._changed = True
        return bool(told)

    def _selection(self) -> "Selection":
        """Return which routes lead to targets, by the links as they are numbered now."""
        config = self._config
        return Selection(
            away=kernel.device_indexes(self._uplinks) | {_LOOPBACK},
            through=kernel.device_indexes(config.through) if config.through else None,
            protocols=frozenset(config.protocols) or None,
            within=self._within,
            order={table: place for place, table in enumerate(self._tables)},
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which routes lead to targets."""

    away: frozenset[int]  # links that lead back where the solicitation came from, or nowhere
    through: frozenset[int] | None = None  # the only links that count; None: all
    protocols: frozenset[int] | None = None
    within: Scope = EVERYTHING
    order: Mapping[int, int] | None = None  # table -> rank

    def takes(self, route: kernel.Route) -> bool:
        """Tell whether all packets that follow `route` go to where targets are."""
        links = set(route.devices)
        return (
            bool(links)
            and not links & self.away
            and (self.through is None or links <= self.through)
            and (self.protocols is None or route.protocol in self.protocols)
        )


def targets_of(routes: Iterable[kernel.Route], selection: Selection) -> TargetSet:
    """Return the targets that `routes` lead to."""
    order = selection.order or {}
    wanted = selection.within.prefixes
    within = Scope(frozenset(each for each in wanted if not any(contains(other, each) for other in wanted - {each})))
    decided: dict[Prefix, bool] = {}
    # As for the kernel, the longest route decides; of those the first table's, the lowest metric's, the first
    for route in sorted(routes, key=lambda each: (-each.length, order.get(each.table, 0), each.metric)):
        prefix = Prefix(route.value, route.length)
        dead = route.unicast and not route.devices  # the kernel passes it over as well
        if not dead and not any(contains(never, prefix) for never in _NEVER):
            for part in within.clip(frozenset((prefix,))):
                decided.setdefault(part, selection.takes(route))
    return _condense(decided)


def _condense(decided: Mapping[Prefix, bool]) -> TargetSet:
    """Leave out each prefix for which the next wider one decides the same."""
    claimed: set[Prefix] = set()
    refused: set[Prefix] = set()
    around: list[tuple[int, bool]] = []  # the prefixes around the present one: their last value and decision
    for prefix in sorted(decided):
        while around and prefix.value > around[-1][0]:
            around.pop()
        takes = decided[prefix]
        if takes != (around[-1][1] if around else False):
            (claimed if takes else refused).add(prefix)
        around.append((prefix.value + (1 << 128 - prefix.length) - 1, takes))
    return TargetSet(claimed=frozenset(claimed), refused=frozenset(refused))
