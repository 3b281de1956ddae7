"""Make sure that a claimed target exists before the daemon answers for it, and remember the outcome for a while.

Anybody can cause work by soliciting many addresses. So there is a bound (RFC 6583) for the targets that are remembered,
for the kernel's look-ups, and for solicitations; beyond it the daemon is silent. A target that existed before needs no
room in these bounds, so that a scan displaces none.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ndpresponder.linux.loop import Schedule, Timer, watch
from ndpresponder.linux.netlink.layout import CONFIRMED, NUD_FAILED, STALE
from ndpresponder.linux.netlink.resolver import Neighbor, Resolver, Unknown
from ndpresponder.policy.token_bucket import TokenBucket
from ndpresponder.targets.sources.unrouted_hosts import UnroutedHosts
from ndpresponder.wire.layout import TARGET

KNOWN_S: Final = 30.0  # REACHABLE_TIME, RFC 4861 10
ABSENT_S: Final = 0.5  # a requester solicits three times, a second apart: the second or third looks again
WAIT_S: Final = 1.0  # RetransTimer: the requester will have solicited again
MAX_REMEMBERED: Final = 4096
MAX_NEW: Final = 1024  # targets that wait and were not known before
MAX_PENDING: Final = MAX_NEW + MAX_REMEMBERED  # all that wait: those that were known have room of their own
MAX_KEPT: Final = 4  # solicitations of one target that wait: a link has a handful of routers
LOOKS_PER_S: Final = 2000  # questions to the kernel
ASKS_PER_S: Final = 50  # solicitations, which are multicast downstream
ASKS_BURST: Final = 100

_ROUTE_S: Final = 0.05  # between two looks whether a host that was found has a route now
_TICK_S: Final = 1.0


@dataclass(slots=True, eq=False)
class _Pending:
    unknown: Unknown
    is_new: bool
    since_s: float
    found: bool = False  # and no route leads there yet
    kept: list[bytes] = field(default_factory=list)


class Verifier:
    """Verifies the claimed targets of one uplink, for as long as its link has the same index."""

    def __init__(
        self,
        kernel: Resolver,
        finish: Callable[[list[bytes], float], None],
        call_later: Schedule,
        clock: Callable[[], float],
        unrouted: UnroutedHosts,
    ) -> None:
        """Hand `finish` the kept frames of a target, and since when by `clock`, once its outcome is known."""
        self._unrouted = unrouted
        self._kernel = kernel
        self._finish = finish
        self._call_later = call_later
        self._clock = clock
        self._known: dict[bytes, float] = {}  # target -> when it is to be verified again
        self._absent: dict[bytes, float] = {}  # target -> when it may be solicited again
        self._pending: dict[bytes, _Pending] = {}
        self._new = 0  # among the pending
        self._waiting: dict[Neighbor, list[bytes]] = {}
        self._may_look = TokenBucket(LOOKS_PER_S, LOOKS_PER_S / 10, clock).take
        self._may_ask = TokenBucket(ASKS_PER_S, ASKS_BURST, clock).take
        self._timer = Timer(self._tick)

    def open(self) -> None:
        """Read the kernel's sockets whenever they have news; raise as `watch` does."""
        for each in self._kernel.sockets():
            watch(each, self.read)
        self._tick()

    def _tick(self) -> None:
        self._timer.within(_TICK_S)
        for neighbor in self._unrouted.due():
            self._kernel.ask_neighbor(neighbor)

    def close(self) -> None:
        """End all that waits, as not found, and close the sockets."""
        self._timer.cancel()
        for each in self._kernel.sockets():
            asyncio.get_running_loop().remove_reader(each)
        for target, pending in list(self._pending.items()):
            self._end(target, pending, False)
        self._kernel.close()

    def is_there(self, target: bytes) -> bool:
        """Tell whether `target` is known to exist now; if that is open, begin to find out."""
        now_s = self._clock()
        known_s = self._known.get(target)
        if known_s is not None and known_s > now_s:
            return True
        if target in self._pending or self._absent.get(target, 0.0) > now_s:
            return False
        is_new = known_s is None
        if is_new and not self._may_look():
            return False
        self.read()  # earlier news must not be taken for the answer to a question asked now
        found = self._kernel.look(target)
        if isinstance(found, Unknown):
            if len(self._pending) >= MAX_PENDING or (is_new and self._new >= MAX_NEW):
                return False
            if is_new and not found.stale and not all(self._may_ask() for _ in found.sources):
                return False
            if not self._kernel.ask(found):
                self._wait(target, found, is_new)
                return False
            found = True
        self._remember(target, found)
        return found

    def knows(self, target: bytes) -> bool:
        """Tell whether `target` is known to exist now, without any look."""
        return self._known.get(target, 0.0) > self._clock()

    def keep(self, frame: bytes) -> bool:
        """Keep a solicitation until the outcome for its target is known; return False if its target does not wait."""
        pending = self._pending.get(frame[TARGET])
        if pending is None or len(pending.kept) >= MAX_KEPT:
            return False
        pending.kept.append(frame)
        return True

    def read(self) -> None:
        """Take the news of the kernel and of advertisements."""
        for neighbor, state in self._kernel.heard():
            self._take(neighbor, state)

    def _take(self, neighbor: Neighbor, state: int) -> None:
        if state & (CONFIRMED | STALE):
            self._absent.pop(neighbor.address, None)  # any sign of life
            if state & CONFIRMED:
                self._unrouted.confirm(neighbor)
        else:
            self._known.pop(neighbor.address, None)
        for target in list(self._waiting.get(neighbor, ())):
            pending = self._pending[target]
            unknown = pending.unknown
            if state & CONFIRMED or (state & STALE and not unknown.stale):
                if not unknown.unrouted:
                    self._end(target, pending, True)
                elif not pending.found:
                    pending.found = True
                    self._unrouted.add(neighbor)
                    self._call_later(_ROUTE_S, self._look_for_route, target, pending)
            elif state & NUD_FAILED and not unknown.unrouted:
                self._end(target, pending, False)

    def _wait(self, target: bytes, unknown: Unknown, is_new: bool) -> None:
        self._new += is_new
        self._pending[target] = pending = _Pending(unknown, is_new, self._clock())
        for neighbor in unknown.sources:
            self._waiting.setdefault(neighbor, []).append(target)
        self._call_later(WAIT_S, self._give_up, target, pending)

    def _give_up(self, target: bytes, pending: _Pending) -> None:
        if self._pending.get(target) is pending:
            found = False
            try:
                found = self._kernel.look(target) is True  # the news of it may have been lost
            finally:  # also after an exception: a target that waits for ever would never be answered for again
                self._end(target, pending, found)

    def _look_for_route(self, target: bytes, pending: _Pending) -> None:
        if self._pending.get(target) is pending:
            look = self._kernel.look(target)
            if look is True or (isinstance(look, Unknown) and not look.unrouted):
                self._end(target, pending, True)
            else:
                self._call_later(_ROUTE_S, self._look_for_route, target, pending)

    def _end(self, target: bytes, pending: _Pending, found: bool) -> None:
        del self._pending[target]
        self._new -= pending.is_new
        for neighbor in pending.unknown.sources:
            self._waiting[neighbor].remove(target)
            if not self._waiting[neighbor]:
                del self._waiting[neighbor]
        self._remember(target, found)
        if pending.kept:
            self._finish(pending.kept, pending.since_s)

    def _remember(self, target: bytes, found: bool) -> None:
        self._known.pop(target, None)
        self._absent.pop(target, None)
        memory, seconds = (self._known, KNOWN_S) if found else (self._absent, ABSENT_S)
        if len(memory) >= MAX_REMEMBERED:
            del memory[next(iter(memory))]  # the one remembered longest
        memory[target] = self._clock() + seconds
