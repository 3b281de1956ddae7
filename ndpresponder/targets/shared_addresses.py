"""Live targets that a neighbor on an uplink has, too, or has had: whether it still is there.

The kernel keeps what it once knew of a neighbor for hours, also of one that has moved behind this host since. So such a
neighbor is asked, in a reachability probe (RFC 4861 7.3.3); its answer confirms the kernel's own entry. One that is
silent has gone. Time and how to ask are passed in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ndpresponder.linux.netlink.uplink_neighbors import Resident
from ndpresponder.targets.schedule import Schedule

ATTEMPTS: Final = 3  # MAX_UNICAST_SOLICIT, RFC 4861 10
INTERVAL_S: Final = 1.0  # RetransTimer
SILENT_S: Final = 60.0  # after which it is asked once more
MAX_DOUBTS: Final = 64  # which are first is up to those who use addresses of others; the rest is left as it was

Ask = Callable[[str, bytes, bytes], None]  # uplink, target, link-layer address


@dataclass(slots=True)
class _Doubt:
    lladdr: bytes
    asked: int = 0
    next_s: float = 0.0


class Doubts:
    """What is open, and who turned out to be silent."""

    def __init__(self, ask: Ask, call_later: Schedule, clock: Callable[[], float]) -> None:
        """Ask with `ask`; `ring` is called when there may be news."""
        self.ring: Callable[[], None] = lambda: None
        self._ask = ask
        self._call_later = call_later
        self._clock = clock
        self._open: dict[tuple[str, bytes], _Doubt] = {}

    def has(self, uplink: str, target: bytes, resident: Resident, answered: bool) -> bool:
        """Tell whether the neighbor is to be taken for the owner of `target` now.

        While that is open, an address that was answered for stays ours: a stranger's solicitation alone, which makes
        such an entry, silences nobody.
        """
        key = (uplink, target)
        if not resident.stale:
            self._open.pop(key, None)
            return True
        now_s = self._clock()
        doubt = self._open.get(key)
        if doubt is None or doubt.lladdr != resident.lladdr:
            if doubt is None and len(self._open) >= MAX_DOUBTS and not self._forget(now_s):
                return not answered
            doubt = self._open[key] = _Doubt(resident.lladdr, next_s=now_s)
        if doubt.next_s <= now_s:
            if doubt.asked > ATTEMPTS:  # it was silent long ago
                doubt.asked = 0
            doubt.asked += 1
            wait_s = INTERVAL_S
            if doubt.asked > ATTEMPTS:
                wait_s = SILENT_S
            else:
                self._ask(uplink, target, resident.lladdr)
            doubt.next_s = now_s + wait_s
            self._call_later(wait_s, self.ring)
        return doubt.asked <= ATTEMPTS and not answered

    def _forget(self, now_s: float) -> bool:
        """Make room by what nobody has asked about for long; return whether there is some."""
        for key in [key for key, doubt in self._open.items() if doubt.next_s + SILENT_S < now_s]:
            del self._open[key]
        return len(self._open) < MAX_DOUBTS
