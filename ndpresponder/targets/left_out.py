"""Says once what sources found that is not made known outside, and why.

A container may use any number of addresses: what is said is bounded, by prefixes of /64, first come first said.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv6Network
from itertools import islice
from typing import Final

from ndpresponder.policy.table import Prefix
from ndpresponder.targets.board import Entry, TargetBoard
from ndpresponder.targets.counted import Cause, Counted

MAX_SAID: Final = 64  # prefixes; `ndpresponder targets` shows all
_SHOWN: Final = 3  # in one line
_LOOKED_AT: Final = 256  # targets at a time
_LINK: Final = 64
_HINTS: Final = (
    (Cause.FOREIGN, "if it belongs there, name its prefix: --within, or `within` of the source"),
    (Cause.OUT_OF_SCOPE, "if it belongs there, add its prefix to `within` of the source"),
    (Cause.UNROUTED, "give it a route to where it is, or use --install-routes"),
    (Cause.NEIGHBOR, "two hosts have one address: change one of them, or exclude it"),
)


class LeftOut:
    """What was said already."""

    def __init__(self, board: TargetBoard, warn: Callable[..., object]) -> None:
        """Look at `board` after each change of it."""
        self._warn = warn
        self._board = board
        self._seen: dict[tuple[str, str, str], Counted] = {}
        self._said: set[tuple[str, str, str, Cause, Prefix]] = set()
        self._full = False
        board.on_change(self._look)

    def _look(self) -> None:
        self._seen = {key: counted for entry in self._board.entries for key, counted in self._new(entry)}

    def _new(self, entry: Entry) -> Iterator[tuple[tuple[str, str, str], Counted]]:
        """Yield what counts of a source on each uplink, and say what is new of what does not."""
        for uplink, counted in entry.counted.items():
            key = (entry.source.kind, entry.source.name, uplink)
            if self._seen.get(key) is not counted:
                for cause, hint in _HINTS:
                    self._say(key, cause, hint, counted)
            yield key, counted

    def _say(self, key: tuple[str, str, str], cause: Cause, hint: str, counted: Counted) -> None:
        found = Counter(prefix for why, prefix in _left_out(counted) if why is cause)
        new = [prefix for prefix in sorted(found) if (*key, cause, prefix) not in self._said]
        if not new or self._full:
            return
        room = MAX_SAID - len(self._said)
        self._full = len(new) > room
        self._said.update((*key, cause, prefix) for prefix in new[:room])
        kind, name, uplink = key
        more = f" and {len(new) - _SHOWN} more" if len(new) > _SHOWN else ""
        self._warn(
            f"not made known on the uplink: {cause}",
            interface=uplink,
            source=f"{kind} {name}",
            prefixes=", ".join(str(IPv6Network(prefix)) for prefix in new[:_SHOWN]) + more,
            hint=hint,
        )
        if self._full:
            self._warn("no more of that is said: `ndpresponder targets` shows what is left out", interface=uplink)


def _left_out(counted: Counted) -> Iterator[tuple[Cause | None, Prefix]]:
    if counted.astray is not None and counted.live is not counted.targets.live:
        for target in islice(counted.targets.live - counted.live, _LOOKED_AT):
            value = int.from_bytes(target, "big")
            yield counted.left_out(target), Prefix(value >> _LINK << _LINK, 128 - _LINK)
    if counted.claimed is not counted.targets.claimed:
        for prefix in islice(counted.targets.claimed - counted.claimed, _LOOKED_AT):
            yield counted.left_out_prefix(prefix), prefix
