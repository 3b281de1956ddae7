"""Install a route for each live target whose packets the host would otherwise send back out of an uplink.

Only routes with our own protocol number are made or removed. Routes that are not needed are removed, also those of an
earlier run. After every change the kernel is asked for its routes, and the difference is made up.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Final

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink import Link, own_entries
from ndpresponder.linux.netlink.asking import Interrupted, index_of
from ndpresponder.linux.netlink.changes import Changes
from ndpresponder.linux.netlink.forwarding import Forwarding
from ndpresponder.linux.netlink.own_entries import HostRoute
from ndpresponder.observe.logs import Logger

_CLEANINGS: Final = 3  # tries, when the routes change while they are read
_LOOKS_PER_TURN: Final = 100  # some 2 ms for an uplink, then the event loop gets its turn
_PAUSE_S: Final = 0.1  # at least between two looks at the kernel's routes, and as long as the last one took


class Autowire:
    """The routes of ours on this host."""

    def __init__(
        self,
        downstream: Callable[[], Mapping[bytes, str]],
        links: Callable[[], Collection[Link]],
        log: Logger,
        gateways: Callable[[], frozenset[bytes]] = frozenset,
    ) -> None:
        """Wire the targets of `downstream`; `links` returns the uplinks, `gateways` all that were ever seen there."""
        self._downstream = downstream
        self._links = links
        self._log = log
        self._changes = Changes(own_entries.ROUTE_GROUPS, own_entries.route_matters)
        self.notify = self._changes.notify  # targets or uplinks changed
        self._gateways = gateways

    async def run(self) -> None:
        """Keep the routes right until cancelled.

        Raises:
            PermissionMissing: CAP_NET_ADMIN is missing.
            SourceUnavailable: netlink failed; run again.
        """
        await own_entries.require_net_admin("install_routes")
        await self._changes.follow(self._look)

    async def clean(self) -> None:
        """Remove every route of ours."""
        why = "the routes changed while they were read"
        try:
            for _ in range(_CLEANINGS):
                with contextlib.suppress(Interrupted):
                    await self._reconcile(frozenset())
                    return
        except SourceUnavailable as error:
            why = str(error)
        self._log.warning("routes may be left: the next start with install_routes removes them", why=why)

    async def _look(self) -> float:
        try:
            await self._reconcile(self._wanted())
        except Interrupted:
            self.notify()
        return _PAUSE_S

    def _wanted(self) -> frozenset[HostRoute]:
        """Return the routes to have; whether each is needed the kernel knows."""
        links, downstream = self._links(), self._downstream()
        # A host behind us must never take an address of an uplink or a gateway, not even while the default route is
        # missing: the next default route would then lead to that host
        never = self._gateways().union(*(link.never for link in links))
        indexes = {name: index_of(name) for name in set(downstream.values())}
        away = {0, *(link.index for link in links)}
        routes = (HostRoute(target, indexes[name]) for target, name in downstream.items() if target not in never)
        return frozenset(route for route in routes if route.link not in away)

    async def _reconcile(self, wanted: frozenset[HostRoute]) -> None:
        uplinks = {link.index for link in self._links()}
        added = 0
        installed = await own_entries.installed_routes()
        removed = installed - wanted
        for route in sorted(removed):
            await own_entries.remove_route(route)
        with contextlib.closing(Forwarding()) as kernel:
            for number, route in enumerate(sorted(wanted - installed), 1):
                if number % _LOOKS_PER_TURN == 0:
                    await asyncio.sleep(0)
                # Packets that come in by some uplink would leave by one, or have no route
                ways = [kernel.way(route.target, uplink) for uplink in uplinks]
                if any(way.missing or way.link in uplinks for way in ways):
                    added += await own_entries.add_route(route)
        if added or removed:
            self._log.info("routes to live targets", added=added, removed=len(removed))
