"""The hosts that `verify` has found on followed links that no route leads to: live, so that they get their route.

Each is asked again every 30 s, and forgotten once it was silent for a while. How many there can be is bounded: first
come, first kept, of those that answered behind this host.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from ndpresponder.linux.interface import name_of
from ndpresponder.linux.netlink.resolver import Neighbor
from ndpresponder.targets.source import TargetSet

MAX_FOUND: Final = 1024
AGAIN_S: Final = 30.0  # REACHABLE_TIME, RFC 4861 10
SILENT_S: Final = 10.0  # after that, with a solicitation each second
MAX_FOLLOWED: Final = 16  # links that are searched, by name
_ASKS_PER_TURN: Final = 10
_RETRY_S: Final = 1.0
_LINKS: Final = ("bridge", "docker")  # the sources whose interfaces have link-layer addresses and hosts


class Findings:
    """Who was found, and when each was heard last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard_s: dict[Neighbor, float] = {}
        self._asked_s: dict[Neighbor, float] = {}
        self.changed = asyncio.Event()

    def found(self, neighbor: Neighbor) -> None:
        """Take who was found on a link that no route leads to."""
        if neighbor in self._heard_s or len(self._heard_s) < MAX_FOUND:
            self._heard_s[neighbor] = self._clock()
            self.changed.set()

    def heard(self, neighbor: Neighbor) -> None:
        """Note that a neighbor is there; whom nobody looks for is none of ours."""
        if neighbor in self._heard_s:
            self._heard_s[neighbor] = self._clock()

    def due(self) -> Iterator[Neighbor]:
        """Yield who is to be asked now, a few at a time."""
        now_s = self._clock()
        due = (neighbor for neighbor, heard_s in self._heard_s.items() if heard_s + AGAIN_S <= now_s)
        waiting = [neighbor for neighbor in due if self._asked_s.get(neighbor, 0.0) + _RETRY_S <= now_s]
        for neighbor in islice(waiting, _ASKS_PER_TURN):
            self._asked_s[neighbor] = now_s
            yield neighbor

    def targets(self) -> TargetSet:
        """Forget who was silent for too long, and return the others.

        Raises:
            SourceUnavailable: the system cannot tell on which interfaces they are now.
        """
        now_s = self._clock()
        for neighbor in [each for each, heard_s in self._heard_s.items() if heard_s + AGAIN_S + SILENT_S < now_s]:
            del self._heard_s[neighbor]
            self._asked_s.pop(neighbor, None)
        downstream: dict[str, set[bytes]] = {}
        for link, address in self._heard_s:
            if name := name_of(link):  # else the link is gone
                downstream.setdefault(name, set()).add(address)
        live = {name: frozenset(addresses) for name, addresses in downstream.items()}
        return TargetSet(live=frozenset().union(*live.values()), downstream=live)


class FoundSource:
    """All of them, for every uplink."""

    kind = "verify"
    name = "downstream"
    uplinks: frozenset[str] | None = None

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        """Publish who is there now, and after every change."""
        while True:
            self._findings.changed.clear()
            targets = self._findings.targets()
            publish(targets)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S if targets.live else None):
                    await self._findings.changed.wait()


def followed(downstream: Iterable[tuple[str, Iterable[str]]]) -> list[int]:
    """Return the indexes of the links that may have unknown hosts, of each source's kind and interfaces."""
    names = sorted({name for kind, interfaces in downstream if kind in _LINKS for name in interfaces})
    found = []
    for name in names[:MAX_FOLLOWED]:
        with contextlib.suppress(OSError, ValueError):
            found.append(socket.if_nametoindex(name))
    return found
