"""The verification of one uplink's claimed targets at work: its sockets on the event loop, from open to close.

What it decides is `targets.verify`'s, how the kernel is asked is `linux.netlink.resolver`'s.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.loop import watch
from ndpresponder.linux.netlink.resolver import Resolver
from ndpresponder.targets.verify import Findings, Kept, Verifier

_TICK_S: Final = 1.0


class Verification:
    """One uplink's, for as long as its link has the same index."""

    def __init__(
        self,
        index: int,
        finish: Callable[[list[Kept], float], None],
        clock: Callable[[], float],
        uplinks: Callable[[], Collection[int]],
        followed: Callable[[], Collection[int]] = tuple,
        findings: Findings | None = None,
    ) -> None:
        """Begin; `finish` as for `Verifier`, `uplinks` returns the indexes of all uplinks: no target is behind one.

        On the links that `followed` returns hosts without a route are found, which `findings` is told.

        Raises:
            SourceUnavailable: the system refuses the sockets now.
        """
        self._loop = asyncio.get_running_loop()
        self._resolver = Resolver(lambda: {index, *uplinks()}, index, followed)
        self.verifier = Verifier(self._resolver, finish, self._loop.call_later, clock, findings)
        self._findings = findings
        self._timer = self._loop.call_later(_TICK_S, self._ask_again)
        try:
            for heard in self._resolver.sockets():
                watch(heard, self.verifier.hear)
        except SourceUnavailable:
            self.close()
            raise

    def _ask_again(self) -> None:
        """Ask whom was found before whether they are there still."""
        self._timer = self._loop.call_later(_TICK_S, self._ask_again)
        for neighbor in self._findings.due() if self._findings else ():
            self._resolver.ask_neighbor(neighbor)

    def close(self) -> None:
        """End all that waits, as not found, and close the sockets."""
        self._timer.cancel()
        for heard in self._resolver.sockets():
            self._loop.remove_reader(heard)
        self.verifier.close()
        self._resolver.close()
