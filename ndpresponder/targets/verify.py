"""Makes sure that a claimed target is there before it is answered for, and remembers for a while.

What a stranger can cause by asking for many addresses is bounded (RFC 6583): so many are remembered, so many looked
up, so many asked for in a second; what goes beyond is silence. Who was there before needs no room in those bounds, so
that a scan crowds out nobody. Time and the kernel are passed in.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from ndpresponder.linux.netlink.resolver import CONFIRMED, FAILED, STALE, Neighbor, Unknown
from ndpresponder.policy.token_bucket import TokenBucket
from ndpresponder.targets.source import Schedule
from ndpresponder.wire.layout import TARGET

KNOWN_S: Final = 30.0  # REACHABLE_TIME, RFC 4861 10
ABSENT_S: Final = 0.5  # who asks does so three times, a second apart: the second or third asks anew
WAIT_S: Final = 1.0  # RetransTimer: who asked will have asked again
MAX_REMEMBERED: Final = 4096
MAX_STRANGERS: Final = 1024  # who wait and were not known before
MAX_PENDING: Final = MAX_STRANGERS + MAX_REMEMBERED  # all who wait: those who were known have room of their own
MAX_KEPT: Final = 4  # solicitations of one target that wait: a link has a handful of routers
LOOKS_PER_S: Final = 2000  # questions to the kernel
ASKS_PER_S: Final = 50  # solicitations, which are multicast downstream
ASKS_BURST: Final = 100

ROUTE_S: Final = 0.05  # between two looks whether who was found has a route now

Kept = tuple[bytes, bool]  # a frame, and whether it was addressed to another host


class Findings(Protocol):
    """What `targets.sources.found.Findings` does."""

    def found(self, neighbor: Neighbor) -> None:
        """Take who was found on a link that no route leads to."""

    def heard(self, neighbor: Neighbor) -> None:
        """Note that a neighbor is there."""

    def due(self) -> Iterable[Neighbor]:
        """Yield who is to be asked now."""


class Kernel(Protocol):
    """What `linux.netlink.resolve.Resolver` does."""

    def look(self, target: bytes) -> Unknown | bool:
        """Return whether `target` is there as far as is known, or whom to ask."""

    def ask(self, unknown: Unknown) -> bool:
        """Solicit; return True where there is nobody to ask."""

    def heard(self) -> Iterator[tuple[Neighbor, int]]:
        """Yield what is news: a neighbor and its NUD_* state, 0 for one that the kernel has forgotten."""


@dataclass(slots=True, eq=False)
class _Pending:
    neighbors: tuple[Neighbor, ...]
    stale: bool
    is_stranger: bool
    since_s: float
    unrouted: bool
    found: bool = False  # and no route leads there yet
    kept: list[Kept] = field(default_factory=list)


class Verifier:
    """What is known of the claimed targets of one uplink."""

    def __init__(
        self,
        kernel: Kernel,
        finish: Callable[[list[Kept], float], None],
        call_later: Schedule,
        clock: Callable[[], float],
        findings: Findings | None = None,
    ) -> None:
        """Hand what was kept, and when its waiting began by `clock`, to `finish` once the outcome is known.

        Who was found without a route to it is told to `findings`, and answered for once there is one.
        """
        self._findings = findings
        self._kernel = kernel
        self._finish = finish
        self._call_later = call_later
        self._clock = clock
        self._known: dict[bytes, float] = {}  # target -> when it is to be verified again
        self._absent: dict[bytes, float] = {}  # target -> when it may be asked for again
        self._pending: dict[bytes, _Pending] = {}
        self._strangers = 0  # among the pending
        self._waiting: dict[Neighbor, list[bytes]] = {}
        self._may_look = TokenBucket(LOOKS_PER_S, LOOKS_PER_S / 10, clock).take
        self._may_ask = TokenBucket(ASKS_PER_S, ASKS_BURST, clock).take

    def is_there(self, target: bytes) -> bool:
        """Tell whether `target` is known to be there now; if that is open, begin to find out."""
        now_s = self._clock()
        known_s = self._known.get(target)
        if known_s is not None and known_s > now_s:
            return True
        if target in self._pending or self._absent.get(target, 0.0) > now_s:
            return False
        is_stranger = known_s is None
        if is_stranger and not self._may_look():
            return False
        self.hear()  # what happened before must not be taken for the answer to a question asked now
        found = self._kernel.look(target)
        if isinstance(found, Unknown):
            questions = 1 + len(found.others)
            if not self._has_room(is_stranger) or (
                is_stranger and not found.stale and not self._may_ask_all(questions)
            ):
                return False
            if not self._kernel.ask(found):
                self._wait(target, found, is_stranger)
                return False
            found = True
        self._remember(target, found)
        return found

    def knows(self, target: bytes) -> bool:
        """Tell whether `target` is known to be there now, and look for nobody."""
        return self._known.get(target, 0.0) > self._clock()

    def keep(self, frame: bytes, to_other_host: bool) -> bool:
        """Keep a solicitation until it is known whether its target is there; return False if nobody is waited for."""
        pending = self._pending.get(frame[TARGET])
        if pending is None or len(pending.kept) >= MAX_KEPT:
            return False
        pending.kept.append((frame, to_other_host))
        return True

    def hear(self) -> None:
        """Take all that is news."""
        for neighbor, state in self._kernel.heard():
            self._take(neighbor, state)

    def _take(self, neighbor: Neighbor, state: int) -> None:
        address = neighbor.address
        if state & (CONFIRMED | STALE):
            self._absent.pop(address, None)  # any sign of life
            if self._findings is not None and state & CONFIRMED:
                self._findings.heard(neighbor)
        else:
            self._known.pop(address, None)
        for target in list(self._waiting.get(neighbor, ())):
            pending = self._pending[target]
            if state & CONFIRMED or (state & STALE and not pending.stale):
                if not pending.unrouted:
                    self._end(target, pending, True)
                elif self._findings is not None and not pending.found:
                    pending.found = True
                    self._findings.found(neighbor)
                    self._call_later(ROUTE_S, self._look_for_route, target, pending)
            elif state & FAILED and not pending.unrouted:
                self._end(target, pending, False)

    def close(self) -> None:
        """Give up all that is waited for."""
        for target, pending in list(self._pending.items()):
            self._end(target, pending, False)

    def _may_ask_all(self, questions: int) -> bool:
        return all(self._may_ask() for _ in range(questions))

    def _has_room(self, is_stranger: bool) -> bool:
        return len(self._pending) < MAX_PENDING and not (is_stranger and self._strangers >= MAX_STRANGERS)

    def _wait(self, target: bytes, unknown: Unknown, is_stranger: bool) -> None:
        neighbors = (unknown.neighbor, *(other.neighbor for other in unknown.others))
        pending = _Pending(neighbors, unknown.stale, is_stranger, self._clock(), unknown.unrouted)
        self._strangers += is_stranger
        self._pending[target] = pending
        for neighbor in neighbors:
            self._waiting.setdefault(neighbor, []).append(target)
        self._call_later(WAIT_S, self._give_up, target, pending)

    def _give_up(self, target: bytes, pending: _Pending) -> None:
        if self._pending.get(target) is pending:
            found = False
            try:
                found = self._kernel.look(target) is True  # the news of it may have been lost
            finally:  # whatever that ends in: a target that waits for ever would never be answered for again
                self._end(target, pending, found)

    def _look_for_route(self, target: bytes, pending: _Pending) -> None:
        if self._pending.get(target) is not pending:
            return
        look = self._kernel.look(target)
        if look is True or (isinstance(look, Unknown) and not look.unrouted):
            self._end(target, pending, True)
        else:
            self._call_later(ROUTE_S, self._look_for_route, target, pending)

    def _end(self, target: bytes, pending: _Pending, found: bool) -> None:
        del self._pending[target]
        self._strangers -= pending.is_stranger
        for neighbor in pending.neighbors:
            waiting = self._waiting[neighbor]
            waiting.remove(target)
            if not waiting:
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
