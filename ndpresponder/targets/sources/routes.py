"""What the kernel would forward elsewhere than back out of an uplink, as its routes say.

The longest prefix decides, as it does for the kernel: within a route that leads behind this host, a longer one that
leads back out of an uplink, or that is unreachable, takes its part away. It must never claim a default route, nor,
unless it is told within which prefixes, one wider than a link's prefix: half of the internet behind a tunnel is no
reason to take it from the neighbors.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ndpresponder.config.settings import RoutesSourceConfig
from ndpresponder.linux.netlink.changes import Changes
from ndpresponder.linux.netlink.routes import (
    GROUPS,
    MAX_ROUTES,
    Route,
    Wanted,
    ask_routes,
    concerns,
    device_indexes,
    named,
    tables_for,
)
from ndpresponder.observe.logs import get_logger
from ndpresponder.policy.table import Prefix
from ndpresponder.targets.source import TargetSet
from ndpresponder.targets.sources.static import as_prefix

_LOOKS: Final = 3  # while others change
WIDEST: Final = 64  # what is claimed without being named
_LOOPBACK: Final = 1  # index of `lo` in every network namespace
_NEVER: Final = ((0xFE80 << 112, 10), (0xFF << 120, 8))  # link-local, multicast


class RoutesSource:
    """The routes of this host."""

    kind = "routes"
    name = "kernel"
    uplinks: frozenset[str] | None = None

    def __init__(self, config: RoutesSourceConfig, uplinks: Iterable[str]) -> None:
        self._config = config
        self._uplinks = frozenset(uplinks)
        within = tuple(as_prefix(network) for network in config.within)
        self._wanted = Wanted(frozenset(config.tables), 1 if within else WIDEST, within)
        self._tables = config.tables  # in their order
        self._unread: frozenset[int] = frozenset()
        self._log = get_logger(source=self.kind)
        self._routes: frozenset[Route] | None = None  # as they were last
        self._events = 0  # received, whether or not they matter
        # Since the last answer
        self._named: set[tuple[int, int]] = set()  # routes that an event told of
        self._changed = False  # whether one told of anything else, a link say
        self._overruns = 0

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        """Follow the routes until cancelled; see `Source.run`."""
        changes = Changes(GROUPS, self._matters)
        self._routes = None

        async def look() -> None:
            await self._follow_rules()
            self._routes = await self._ask(changes)
            publish(targets_of(self._routes, self._selection()))

        await changes.follow(look)

    async def _ask(self, changes: Changes) -> frozenset[Route]:
        """Return the routes.

        When others change meanwhile, the kernel can pass over routes that stay as they are, without a word. So one that
        was there stays unless an event told of it; when that is not known, it is asked for again.
        """
        before = self._routes if changes.overruns == self._overruns and not self._changed else None
        told, overruns = self._named, changes.overruns
        self._named, self._changed, self._overruns = set(), False, overruns  # what comes from now on counts twice
        found: frozenset[Route] = frozenset()
        for _ in range(_LOOKS):
            events = self._events
            found |= frozenset(await ask_routes(self._wanted))
            await asyncio.sleep(0)  # until the events have been heard
            if events == self._events:
                break
            if before is not None and changes.overruns == overruns and not self._changed:
                told |= self._named
                found |= {each for each in before - found if (each.value, each.length) not in told}
                break
        return found

    async def _follow_rules(self) -> None:
        """Look at the tables that the rules lead to from the uplinks, unless a person named them."""
        if self._config.tables:
            return
        tables = await tables_for(self._uplinks)
        self._tables = tables.read
        self._wanted = replace(self._wanted, tables=frozenset(tables.read))
        unread = set()
        for table in tables.for_some:
            if await ask_routes(replace(self._wanted, tables=frozenset((table,)))):
                unread.add(table)
        for table in sorted(unread - self._unread):
            self._log.warning(
                "a rule leads some packets to a table that is not looked at",
                table=table,
                hint=f"if it matters, write tables = {[*tables.read, table]} for the routes (ip -6 rule)",
            )
        self._unread = frozenset(unread)

    def _matters(self, event: bytes) -> bool:
        self._events += 1
        if not concerns(event, self._wanted):
            return False
        route = named(event, self._wanted)
        if route is None or len(self._named) >= MAX_ROUTES:
            self._changed = True
        else:
            self._named.add((route.value, route.length))
        return True

    def _selection(self) -> "Selection":
        """Return what makes a route ours, by the links as they are numbered now."""
        config = self._config
        return Selection(
            away=device_indexes(self._uplinks) | {_LOOPBACK},
            through=device_indexes(config.through) if config.through else None,
            protocols=frozenset(config.protocols) or None,
            within=self._wanted.within,
            order={table: place for place, table in enumerate(self._tables)},
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which routes lead to targets."""

    away: frozenset[int]  # links that lead back where the solicitation came from, or nowhere
    through: frozenset[int] | None = None  # the only links that count; None: all
    protocols: frozenset[int] | None = None
    within: tuple[tuple[int, int], ...] = ()
    order: Mapping[int, int] | None = None  # table -> rank

    def takes(self, route: Route) -> bool:
        """Tell whether all packets that follow `route` go to where targets are."""
        links = set(route.devices)
        return (
            bool(links)
            and not links & self.away
            and (self.through is None or links <= self.through)
            and (self.protocols is None or route.protocol in self.protocols)
        )


def targets_of(routes: Iterable[Route], selection: Selection) -> TargetSet:
    """Return what `routes` make ours."""
    best: dict[tuple[int, int], tuple[tuple[int, int], Route]] = {}
    order = selection.order or {}
    for route in routes:
        if (route.unicast and not route.devices) or _never(route):  # dead: the kernel passes it over as well
            continue
        rank = (order.get(route.table, 0), route.metric)
        prefix = (route.value, route.length)
        if prefix not in best or rank < best[prefix][0]:
            best[prefix] = (rank, route)
    decided: dict[Prefix, bool] = {}
    for value, length in sorted(best, key=lambda prefix: prefix[1]):  # of routes around all of `within` the longest
        takes = selection.takes(best[value, length][1])
        for prefix in _clip(value, length, selection.within):
            decided[prefix] = takes
    return _condense(decided)


def _never(route: Route) -> bool:
    return any(
        route.length >= length and route.value >> 128 - length == value >> 128 - length for value, length in _NEVER
    )


def _clip(value: int, length: int, within: tuple[tuple[int, int], ...]) -> Iterable[Prefix]:
    """Yield the parts of a prefix that lie in the wanted ones."""
    if not within:
        yield Prefix(value, length)
    for its_value, its_length in within:
        shift = 128 - min(length, its_length)
        if value >> shift == its_value >> shift:
            yield Prefix(value, length) if length >= its_length else Prefix(its_value, its_length)


def _condense(decided: Mapping[Prefix, bool]) -> TargetSet:
    """Leave out what says nothing that the next wider prefix does not say already."""
    claimed: set[Prefix] = set()
    refused: set[Prefix] = set()
    around: list[tuple[int, bool]] = []  # the prefixes around the present one: their last value, what is decided
    for prefix in sorted(decided):
        while around and prefix.value > around[-1][0]:
            around.pop()
        takes = decided[prefix]
        if takes != (around[-1][1] if around else False):
            (claimed if takes else refused).add(prefix)
        around.append((prefix.value + (1 << 128 - prefix.length) - 1, takes))
    return TargetSet(claimed=frozenset(claimed), refused=frozenset(refused))
