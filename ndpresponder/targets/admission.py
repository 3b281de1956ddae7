"""Finds out which live targets count on which uplink: whose route leads to where they were found, and whose they are.

What a container says is not to be believed. Its address counts only if the kernel forwards to it there what comes in by
the uplink, and if no neighbor on the uplink has that address. Nothing is published before that is known. Whatever
changed, the kernel is asked again; a stranger can cause that only by the address of a live target.
"""

import asyncio
import contextlib
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.interface import index_of
from ndpresponder.linux.netlink import Link, Links, changes
from ndpresponder.linux.netlink.changes import Changes
from ndpresponder.linux.netlink.downstream import master_of
from ndpresponder.linux.netlink.dump import HEADER_LENGTH, attributes, kind_of
from ndpresponder.linux.netlink.forwarding import Forwarding
from ndpresponder.linux.netlink.uplink_neighbors import Resident, residents
from ndpresponder.policy.table import Prefix
from ndpresponder.targets.board import Entry, TargetBoard
from ndpresponder.targets.counted import Cause
from ndpresponder.targets.scope import NOWHERE, Scope
from ndpresponder.targets.shared_addresses import Doubts
from ndpresponder.targets.source import TargetSet

_SITE: Final = 48  # what one network is given, RFC 6177
_GROUPS: Final = changes.NEIGHBOR | changes.IPV6_ROUTE | changes.IPV6_RULE
_NEIGHBOR_EVENTS, _NEW_ROUTE = (28, 29), 24
_NDMSG: Final = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_NDA_DST: Final = 1
_WORK_PER_TURN: Final = 2000  # targets whose route is known already: about 1 ms, then the event loop gets its turn
_COST: Final = 40  # of such, to ask for a route
_PAUSE_S: Final = 0.1  # at least between two looks at all routes, and as long as the last one took
_OWN_PROTOCOL: Final = 110  # routes that `install_routes` adds


class Admission:
    """Stands between the sources and the board."""

    def __init__(self, board: TargetBoard, doubts: Doubts) -> None:
        """Publish to `board`; nothing that a source finds counts on an uplink before `follow` tells of it."""
        self.install_routes = False
        self._board = board
        self._doubts = doubts
        self._links: dict[str, Link] | None = None
        self._near: dict[str, Scope] = {}
        self._waiting: dict[int, tuple[Entry, TargetSet, Callable[[], None]]] = {}
        self._changes = Changes(_GROUPS, self._matters)
        self._routes_changed = True
        self._wired = False  # somebody may have got the route that it lacked
        doubts.ring = self._changes.notify
        board.belong({})

    def take(self, entry: Entry, targets: TargetSet, then: Callable[[], None]) -> None:
        """Publish what a source says once it is known what of it counts, and call `then`."""
        if entry.configured or not targets.live:
            self._waiting.pop(id(entry), None)
            self._board.publish(entry, targets)
            then()
        else:
            self._waiting[id(entry)] = (entry, targets, then)
        self._changes.notify()

    def follow_links(self, links: Links) -> None:
        """Go by the uplinks as they are now: tell the board what belongs to each."""
        self._links = {name: link for name, link in links.items() if link is not None}
        self._near = {name: Scope(Prefix(*each) for each in link.onlink) for name, link in self._links.items()}
        self._board.belong({name: self._scope(name, link) for name, link in self._links.items()})
        self._board.rebuild()
        self._changes.notify()

    def _scope(self, name: str, link: Link) -> Scope:
        """Return what is on-link at an uplink, or routed to it as far as one can tell.

        A prefix of the same site as an address of the uplink's may be routed to it, if this host routes it on to where
        targets are; nothing shows more. What is on-link at another uplink belongs there.
        """
        near = self._near[name]
        values = (int.from_bytes(address, "big") for address in link.addresses if address[0] >> 5 == 1)
        sites = Scope(Prefix(value >> 128 - _SITE << 128 - _SITE, _SITE) for value in values)
        wide = Scope(near.prefixes | sites.prefixes)
        others = frozenset().union(*(scope.prefixes for other, scope in self._near.items() if other != name))
        return Scope(wide.prefixes, filter(wide.takes_prefix, others - near.prefixes))

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
        if len(event) < HEADER_LENGTH + _NDMSG.size:
            return True
        if kind_of(event) not in _NEIGHBOR_EVENTS:
            if kind_of(event) == _NEW_ROUTE and event[21] == _OWN_PROTOCOL:
                self._wired = True
            else:
                self._routes_changed = True
            return True
        index = struct.unpack_from("=i", event, HEADER_LENGTH + 4)[0]
        if all(link.index != index for link in (self._links or {}).values()):
            return False
        address = dict(attributes(event, HEADER_LENGTH + _NDMSG.size)).get(_NDA_DST, b"")
        waiting = (targets for _, targets, _ in self._waiting.values())
        said = (entry.targets for entry in self._board.entries)
        return any(address in targets.live for targets in (*said, *waiting))

    async def _look(self, kernel: Forwarding) -> float | None:
        """Find out what counts now; return how long to pause at least."""
        links = self._links
        if links is None:
            return None
        again, self._routes_changed = self._routes_changed, False
        wired, self._wired = self._wired, False
        waiting = dict(self._waiting)
        known = {id(entry): (entry, entry.targets) for entry in self._board.entries}
        known |= {key: (entry, targets) for key, (entry, targets, _) in waiting.items()}
        known = {key: (entry, targets) for key, (entry, targets) in known.items() if targets.live}
        own = {link.lladdr for link in links.values()}
        on = {name: await residents(link.index, own) for name, link in links.items()} if known else {}
        changed = False
        try:
            for key, (entry, targets) in known.items():
                if again:
                    entry.ways.clear()
                if again or wired:
                    entry.routed.clear()
                if wired:
                    for pair, ways in entry.ways.items():
                        entry.ways[pair] = {each: way for each, way in ways.items() if way.link == pair[1]}
                astray: dict[str, Mapping[bytes, Cause] | None] = {}
                for name, link in links.items():
                    if entry.serves(name):
                        unrouted = await self._unrouted(kernel, entry, targets, link)
                        taken = self._taken(name, entry, targets, on[name])
                        astray[name] = {**unrouted, **taken} if taken else unrouted
                if astray != entry.astray:
                    entry.astray = astray
                    changed = True
                if key in waiting and self._waiting.get(key) is waiting[key]:
                    del self._waiting[key]
                    self._board.publish(entry, targets)
                    waiting[key][2]()
        finally:
            if changed:
                self._board.ring()
        return _PAUSE_S if again else None

    async def _unrouted(
        self, kernel: Forwarding, entry: Entry, targets: TargetSet, link: Link
    ) -> Mapping[bytes, Cause]:
        """Return the live targets of interfaces that the kernel would not forward to there."""
        if entry.configured:
            return {}
        uplinks = frozenset(each.index for each in (self._links or {}).values())
        given = self._given(entry, link)
        asked = (targets.downstream, link.index, uplinks, given)
        known = entry.routed.get(link.name)
        if known is not None and known[0][0] is targets.downstream and known[0][1:] == asked[1:]:
            return known[1]
        found: dict[bytes, Cause] = {}
        work = 0
        for interface, live in targets.downstream.items():
            index = index_of(interface)
            if not index:  # of an interface that is not here nothing can be said
                continue
            there = {index, await master_of(interface)} - uplinks  # where it is a part of a VRF, routes lead to that
            before = entry.ways.get((link.index, index), {})
            entry.ways[link.index, index] = ways = {}
            for target in live:
                way = before.get(target)
                work += 1
                if way is None:
                    way = kernel.way(target, link.index)
                    if way.unknown:
                        raise SourceUnavailable("netlink: the kernel does not answer")
                    work += _COST
                if work > _WORK_PER_TURN:
                    work = 0
                    await asyncio.sleep(0)
                ways[target] = way
                if way.link not in there:
                    lacks = given is not None and (way.missing or way.link in uplinks) and given.takes(target)
                    found[target] = Cause.WIRING if lacks else Cause.UNROUTED
        entry.routed[link.name] = (asked, found)
        return found

    def _given(self, entry: Entry, link: Link) -> Scope | None:
        """Return what `install_routes` gives a route where there is none: what is on-link, configured or named."""
        if not self.install_routes:
            return None
        return entry.within or self._near.get(link.name, NOWHERE) | self._board.configured(link.name)

    def _taken(self, uplink: str, entry: Entry, targets: TargetSet, on: Mapping[bytes, Resident]) -> dict[bytes, Cause]:
        """Return the live targets that a neighbor on the uplink has."""
        counted = entry.counted.get(uplink)
        answered = counted.live if counted is not None else frozenset()
        return {
            target: Cause.NEIGHBOR
            for target in targets.live & on.keys()
            if self._doubts.has(uplink, target, on[target], target in answered)
        }
