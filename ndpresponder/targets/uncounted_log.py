"""Warn once of targets that sources found and that do not count on an uplink, with the cause.

A container may use any number of addresses. So the log names at most `MAX_NAMED` prefixes of /64, the first ones.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv6Network
from itertools import islice
from typing import Final

from ndpresponder.policy.table import Prefix
from ndpresponder.targets.board import TargetBoard
from ndpresponder.targets.scope import Cause, Counted, prefix_of

MAX_NAMED: Final = 64  # prefixes; `ndpresponder targets` shows all
_SHOWN: Final = 3  # in one line
_LOOKED_AT: Final = 256  # targets at a time
_LINK: Final = 64
_HINTS: Final = (
    (Cause.FOREIGN, "if it belongs there, name its prefix: --within, or `within` of the source"),
    (Cause.OUT_OF_SCOPE, "if it belongs there, add its prefix to `within` of the source"),
    (Cause.UNROUTED, "give it a route to where it is, or use --install-routes"),
    (Cause.NEIGHBOR, "two hosts have one address: change one of them, or exclude it"),
)


class UncountedLog:
    """Remembers which prefixes the log has named."""

    def __init__(self, board: TargetBoard, warn: Callable[..., object]) -> None:
        self._board = board
        self._warn = warn
        self._named: set[tuple[str, str, Cause, Prefix]] = set()  # each with its source and uplink
        self._full = False
        board.on_change(self._look)

    def _look(self) -> None:
        for entry in self._board.entries:
            source = f"{entry.source.kind} {entry.source.name}"
            for uplink, counted in entry.counted.items():
                left_out = set(_left_out(counted))
                for cause, hint in _HINTS:
                    prefixes = sorted(prefix for why, prefix in left_out if why is cause)
                    new = [each for each in prefixes if (source, uplink, cause, each) not in self._named]
                    if new and not self._full:
                        self._name(source, uplink, cause, hint, new)

    def _name(self, source: str, uplink: str, cause: Cause, hint: str, new: list[Prefix]) -> None:
        room = MAX_NAMED - len(self._named)
        self._full = len(new) > room
        self._named.update((source, uplink, cause, prefix) for prefix in new[:room])
        more = f" and {len(new) - _SHOWN} more" if len(new) > _SHOWN else ""
        self._warn(
            f"not made known on the uplink: {cause}",
            interface=uplink,
            source=source,
            prefixes=", ".join(str(IPv6Network(prefix)) for prefix in new[:_SHOWN]) + more,
            hint=hint,
        )
        if self._full:
            self._warn("no more of that is said: `ndpresponder targets` shows what is left out", interface=uplink)


def _left_out(counted: Counted) -> Iterator[tuple[Cause | None, Prefix]]:
    if counted.withheld is not None and counted.live is not counted.targets.live:
        for target in islice(counted.targets.live - counted.live, _LOOKED_AT):
            yield counted.left_out(target), prefix_of(target, _LINK)
    if counted.claimed is not counted.targets.claimed:
        for prefix in islice(counted.targets.claimed - counted.claimed, _LOOKED_AT):
            yield counted.left_out(prefix), prefix
