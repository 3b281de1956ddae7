"""Find out whether a neighbor on an uplink that has the address of a live target is still there.

The kernel keeps the entry of a neighbor for hours, even if it has moved behind this host since. So the daemon sends
it reachability probes (RFC 4861 7.3.3). An advertisement confirms the kernel's entry; a neighbor that sends none is
gone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ndpresponder.linux.loop import Schedule
from ndpresponder.linux.netlink.neighbors import UplinkNeighbor

ATTEMPTS: Final = 3  # MAX_UNICAST_SOLICIT, RFC 4861 10
INTERVAL_S: Final = 1.0  # RetransTimer
SILENT_S: Final = 60.0  # then it is asked once more
MAX_CONFLICTS: Final = 64  # hosts that use addresses of others cause them; beyond, nothing changes for a target

Ask = Callable[[str, bytes, bytes], None]  # uplink, target, link-layer address


@dataclass(slots=True)
class _Conflict:
    lladdr: bytes
    asked: int = 0
    next_s: float = 0.0


class AddressConflicts:
    """The neighbors that are being asked, and those that were silent."""

    def __init__(self, ask: Ask, call_later: Schedule, clock: Callable[[], float]) -> None:
        """Ask with `ask`; `on_news` is called when an answer may have come, or is overdue."""
        self.on_news: Callable[[], None] = lambda: None
        self._ask = ask
        self._call_later = call_later
        self._clock = clock
        self._open: dict[tuple[str, bytes], _Conflict] = {}

    def belongs_to(self, uplink: str, target: bytes, neighbor: UplinkNeighbor, answered: bool) -> bool:
        """Tell whether `target` is taken to be the neighbor's for now.

        Until that is settled, a target that was answered for stays ours. So nobody can silence it by a mere
        solicitation, which makes such an entry.
        """
        key = (uplink, target)
        if not neighbor.stale:
            self._open.pop(key, None)
            return True
        now_s = self._clock()
        conflict = self._open.get(key)
        if conflict is None or conflict.lladdr != neighbor.lladdr:
            if conflict is None and len(self._open) >= MAX_CONFLICTS and not self._forget(now_s):
                return not answered
            conflict = self._open[key] = _Conflict(neighbor.lladdr, next_s=now_s)
        if conflict.next_s <= now_s:
            conflict.asked = conflict.asked % (ATTEMPTS + 1) + 1  # the last one is a silence
            if conflict.asked <= ATTEMPTS:
                self._ask(uplink, target, neighbor.lladdr)
            wait_s = INTERVAL_S if conflict.asked <= ATTEMPTS else SILENT_S
            conflict.next_s = now_s + wait_s
            self._call_later(wait_s, self.on_news)
        return conflict.asked <= ATTEMPTS and not answered

    def _forget(self, now_s: float) -> bool:
        """Forget conflicts that did not come up for long; return whether there is room."""
        for key in [key for key, conflict in self._open.items() if conflict.next_s + SILENT_S < now_s]:
            del self._open[key]
        return len(self._open) < MAX_CONFLICTS
