"""The verification of one uplink's claimed targets at work: its sockets on the event loop, from open to close.

What it decides is `targets.probe`'s, how the kernel is asked is `linux.netlink.resolve`'s.
"""

import asyncio
from collections.abc import Callable, Collection

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.loop import watch
from ndpresponder.linux.netlink.resolve import Resolver
from ndpresponder.targets.probe import Kept, Verifier


class Verification:
    """One uplink's, for as long as its link has the same index."""

    def __init__(
        self,
        index: int,
        finish: Callable[[list[Kept], float], None],
        clock: Callable[[], float],
        uplinks: Callable[[], Collection[int]],
    ) -> None:
        """Begin; `finish` as for `Verifier`, `uplinks` returns the indexes of all uplinks: no target is behind one.

        Raises:
            SourceUnavailable: the system refuses the sockets now.
        """
        self._loop = asyncio.get_running_loop()
        self._resolver = Resolver(lambda: {index, *uplinks()}, index)
        self.verifier = Verifier(self._resolver, finish, self._loop.call_later, clock)
        try:
            for heard in self._resolver.sockets():
                watch(heard, self.verifier.hear)
        except SourceUnavailable:
            self.close()
            raise

    def close(self) -> None:
        """End all that waits, as not found, and close the sockets."""
        for heard in self._resolver.sockets():
            self._loop.remove_reader(heard)
        self.verifier.close()
        self._resolver.close()
