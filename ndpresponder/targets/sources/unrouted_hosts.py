"""The hosts that `verify` found on followed links and that no route leads to: live, so that they get their route.

Each is solicited again every 30 s, and forgotten after ten more without an advertisement. Their number is bounded: the
first ones stay, as long as they answer behind this host.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from ndpresponder.linux.loop import wait
from ndpresponder.linux.netlink.asking import name_of
from ndpresponder.linux.netlink.resolver import Neighbor
from ndpresponder.targets.source import Source, TargetSet

MAX_HOSTS: Final = 1024
AGAIN_S: Final = 30.0  # REACHABLE_TIME, RFC 4861 10
SILENT_S: Final = 10.0  # after that, with a solicitation each second
MAX_FOLLOWED: Final = 16  # links that are searched, by name
_ASKS_PER_TURN: Final = 10
_RETRY_S: Final = 1.0
_LINKS: Final = ("bridge", "docker")  # the sources whose interfaces have link-layer addresses and hosts


class UnroutedHosts(Source):
    """A source of targets for every uplink."""

    kind = "verify"
    name = "downstream"

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._confirmed_s: dict[Neighbor, float] = {}
        self._asked_s: dict[Neighbor, float] = {}
        self._changed = asyncio.Event()

    def add(self, neighbor: Neighbor) -> None:
        """Take a host that was found on a link that no route leads to."""
        if neighbor in self._confirmed_s or len(self._confirmed_s) < MAX_HOSTS:
            self._confirmed_s[neighbor] = self._clock()
            self._changed.set()

    def confirm(self, neighbor: Neighbor) -> None:
        """Note that a neighbor is there, if it is one of these hosts."""
        if neighbor in self._confirmed_s:
            self._confirmed_s[neighbor] = self._clock()

    def due(self) -> Iterator[Neighbor]:
        """Yield the hosts to solicit now, a few at a time."""
        now_s = self._clock()
        due = (neighbor for neighbor, confirmed_s in self._confirmed_s.items() if confirmed_s + AGAIN_S <= now_s)
        waiting = [neighbor for neighbor in due if self._asked_s.get(neighbor, 0.0) + _RETRY_S <= now_s]
        for neighbor in islice(waiting, _ASKS_PER_TURN):
            self._asked_s[neighbor] = now_s
            yield neighbor

    def targets(self) -> TargetSet:
        """Forget the hosts that were silent for too long, and return the others.

        Raises:
            SourceUnavailable: the system cannot name their interfaces now.
        """
        oldest_s = self._clock() - AGAIN_S - SILENT_S
        for neighbor in [each for each, confirmed_s in self._confirmed_s.items() if confirmed_s < oldest_s]:
            del self._confirmed_s[neighbor]
            self._asked_s.pop(neighbor, None)
        names = {link: name_of(link) for link in {host.link for host in self._confirmed_s}}
        downstream: dict[str, set[bytes]] = {}
        for link, address in self._confirmed_s:
            if name := names[link]:  # else the link is gone
                downstream.setdefault(name, set()).add(address)
        live = {name: frozenset(addresses) for name, addresses in downstream.items()}
        return TargetSet(live=frozenset().union(*live.values()), downstream=live)

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        while True:
            self._changed.clear()
            targets = self.targets()
            publish(targets)
            await wait(self._changed, _RETRY_S if targets.live else None)


def followed(downstream: Iterable[tuple[str, Iterable[str]]]) -> list[int]:
    """Return the indexes of the links to search: of the interfaces that each source, by its kind, has hosts on."""
    names = sorted({name for kind, interfaces in downstream if kind in _LINKS for name in interfaces})
    found = []
    for name in names[:MAX_FOLLOWED]:
        with contextlib.suppress(OSError, ValueError):
            found.append(socket.if_nametoindex(name))
    return found
