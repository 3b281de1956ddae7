"""Decide which live targets count on which uplink: the kernel routes to them, and no neighbor has their address.

A container may use any address. Its address counts only if the kernel forwards to it the packets that come in by the
uplink, and if no neighbor on the uplink has that address. Nothing is published before that is known. After every change
the kernel is asked again; a solicitation of a requester leads to a look only if it is for the address of a live target.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from itertools import starmap
from typing import Final

from ndpresponder.linux.netlink import Link, Links, changes
from ndpresponder.linux.netlink import layout as nl
from ndpresponder.linux.netlink.asking import find_link
from ndpresponder.linux.netlink.changes import Changes
from ndpresponder.linux.netlink.forwarding import Forwarding, Way
from ndpresponder.linux.netlink.neighbors import neighbors_on
from ndpresponder.policy.table import Prefix
from ndpresponder.targets.address_conflicts import AddressConflicts
from ndpresponder.targets.board import Entry, TargetBoard
from ndpresponder.targets.scope import NOWHERE, Cause, Scope, Withheld, prefix_of
from ndpresponder.targets.source import TargetSet

_SITE: Final = 48  # the prefix length that one site gets, RFC 6177
_GROUPS: Final = changes.NEIGHBOR | changes.IPV6_ROUTE | changes.IPV6_RULE
_WORK_PER_TURN: Final = 2000  # targets whose route is known already: about 1 ms, then the event loop gets its turn
_COST: Final = 40  # of such, to ask for a route
_PAUSE_S: Final = 0.1  # at least between two looks at all routes, and as long as the last one took


class Admission:
    """Passes the sets of the sources to the board."""

    def __init__(self, board: TargetBoard, conflicts: AddressConflicts) -> None:
        """Publish to `board`; nothing that a source finds counts on an uplink before `follow_links`."""
        self.install_routes = False
        self._board = board
        self._conflicts = conflicts
        self._links: dict[str, Link] | None = None
        self._uplinks: frozenset[int] = frozenset()  # their indexes
        self._near: dict[str, Scope] = {}  # on-link at each uplink
        self._waiting: dict[Entry, tuple[TargetSet, Callable[[], None]]] = {}
        # The kernel's answers: where packets go, by entry and index of uplink and downstream interface,
        self._ways: dict[tuple[Entry, int, int], dict[bytes, Way]] = {}
        # and by uplink the targets that are not routed to, and the question that this answers
        self._unrouted: dict[tuple[Entry, str], tuple[object, object, Mapping[bytes, Cause]]] = {}
        self._changes = Changes(_GROUPS, self._matters)
        self._routes_changed = True
        self._routes_installed = False  # targets may have got the route that they lacked
        conflicts.on_news = self._changes.notify

    def publish(self, entry: Entry, targets: TargetSet, published: Callable[[], None]) -> None:
        """Publish the set of a source once it is known which of it counts, and call `published`."""
        if entry.configured or not targets.live:
            self._waiting.pop(entry, None)
            self._board.publish(entry, targets)
            published()
        else:
            self._waiting[entry] = (targets, published)
        self._changes.notify()

    def follow_links(self, links: Links) -> None:
        """Take the uplinks as they are now: tell the board the scope of each."""
        self._links = {name: link for name, link in links.items() if link is not None}
        self._uplinks = frozenset(link.index for link in self._links.values())
        self._near = {name: Scope(frozenset(starmap(Prefix, link.onlink))) for name, link in self._links.items()}
        self._board.scopes = {name: self._scope(name, link) for name, link in self._links.items()}
        self._board.rebuild()
        self._changes.notify()

    def _scope(self, name: str, link: Link) -> Scope:
        """Return the prefixes that are on-link at an uplink, or may be routed to it.

        A prefix of the same site as an address of the uplink may be routed to it, if this host routes it on to where
        targets are; nothing tells for sure. A prefix that is on-link at another uplink belongs there.
        """
        near = self._near[name]
        sites = frozenset(prefix_of(address, _SITE) for address in link.addresses if address[0] >> 5 == 1)
        wide = near | Scope(sites)
        others = frozenset().union(*(scope.prefixes for other, scope in self._near.items() if other != name))
        return Scope(wide.prefixes, frozenset(each for each in others - near.prefixes if wide.takes(*each)))

    async def run(self) -> None:
        """Ask the kernel until cancelled.

        Raises:
            SourceUnavailable: it cannot be asked now; run again.
        """
        try:
            with contextlib.closing(Forwarding()) as kernel:
                await self._changes.follow(partial(self._look, kernel))
        finally:
            self._routes_changed = True

    def _matters(self, event: bytes) -> bool:
        """Tell whether an event can change what counts: a route or rule, or a neighbor that has a live target."""
        kind = nl.kind_of(event) if len(event) >= nl.HEADER_LENGTH + nl.NDMSG.size else None
        if kind not in (nl.RTM_NEWNEIGH, nl.RTM_DELNEIGH):
            if kind == nl.RTM_NEWROUTE and nl.head(event, nl.RTMSG)[5] == nl.OUR_PROTOCOL:
                self._routes_installed = True
            else:
                self._routes_changed = True
            return True
        if nl.head(event, nl.NDMSG)[1] not in self._uplinks:
            return False
        address = nl.values_of(event, nl.NDMSG).get(nl.NDA_DST, b"")
        waiting = (targets for targets, _ in self._waiting.values())
        published = (entry.targets for entry in self._board.entries)
        return any(address in targets.live for targets in (*published, *waiting))

    async def _look(self, kernel: Forwarding) -> float | None:
        """Ask the kernel about all live targets, and publish the sets that wait for that; return the least pause."""
        links = self._links
        if links is None:
            return None
        again, self._routes_changed = self._routes_changed, False
        installed, self._routes_installed = self._routes_installed, False
        waiting = dict(self._waiting)
        sets = {entry: entry.targets for entry in self._board.entries}
        sets |= {entry: targets for entry, (targets, _) in waiting.items()}
        sets = {entry: targets for entry, targets in sets.items() if targets.live}
        self._ways = {} if again else {key: ways for key, ways in self._ways.items() if key[0] in sets}
        self._unrouted = {} if again or installed else {k: each for k, each in self._unrouted.items() if k[0] in sets}
        if installed:  # ask again for the targets that were not routed to their interface
            for key, ways in self._ways.items():
                self._ways[key] = {target: way for target, way in ways.items() if way.link == key[2]}
        own = {link.lladdr for link in links.values()}
        neighbors = {name: await neighbors_on(link.index, own) for name, link in links.items()} if sets else {}
        changed = False
        try:
            for entry, targets in sets.items():
                withheld: dict[str, Withheld] = {}
                for name, link in links.items():
                    if entry.serves(name):
                        unrouted = await self._ask(kernel, entry, targets, link)
                        counted = entry.counted.get(name)
                        answered = counted.live if counted is not None else frozenset()
                        taken = {
                            target: Cause.NEIGHBOR
                            for target in targets.live & neighbors[name].keys()
                            if self._conflicts.belongs_to(name, target, neighbors[name][target], target in answered)
                        }
                        withheld[name] = {**unrouted, **taken} if taken else unrouted
                if withheld != entry.withheld:
                    entry.withheld = withheld
                    changed = True
                if entry in waiting and self._waiting.get(entry) is waiting[entry]:
                    _, published = self._waiting.pop(entry)
                    self._board.publish(entry, targets)
                    published()
        finally:
            if changed:
                self._board.request_rebuild()
        return _PAUSE_S if again else None

    async def _ask(self, kernel: Forwarding, entry: Entry, targets: TargetSet, link: Link) -> Mapping[bytes, Cause]:
        """Return the live targets that the kernel would not forward to their downstream interface."""
        if entry.configured:
            return {}
        given = NOWHERE  # the prefixes in which `install_routes` adds a missing route
        if self.install_routes:
            given = entry.within or self._near.get(link.name, NOWHERE) | self._board.configured(link.name)
        question = (link.index, self._uplinks, given)
        known = self._unrouted.get((entry, link.name))
        if known is not None and known[0] is targets.downstream and known[1] == question:
            return known[2]
        found: dict[bytes, Cause] = {}
        work = 0
        for interface, live in targets.downstream.items():
            downstream = find_link(interface)
            if downstream is None:  # it is not there: nothing is known of its targets
                continue
            index = downstream.index
            there = {index, downstream.master} - self._uplinks  # routes lead to the VRF that it is a part of
            before = self._ways.get((entry, link.index, index), {})
            self._ways[entry, link.index, index] = ways = {}
            for target in live:
                way = before.get(target)
                work += 1
                if way is None:
                    way = kernel.way(target, link.index)
                    work += _COST
                if work > _WORK_PER_TURN:
                    work = 0
                    await asyncio.sleep(0)
                ways[target] = way
                if way.link not in there:
                    lacks = (way.missing or way.link in self._uplinks) and given.takes(*prefix_of(target))
                    found[target] = Cause.WIRING if lacks else Cause.UNROUTED
        self._unrouted[entry, link.name] = (targets.downstream, question, found)
        return found
