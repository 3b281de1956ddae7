"""What a source of targets is: it says which addresses are behind the host, always all of them at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from ndpresponder.policy.table import Prefix


@dataclass(frozen=True, slots=True)
class TargetSet:
    """All that one source knows now."""

    live: frozenset[bytes] = frozenset()
    claimed: frozenset[Prefix] = frozenset()
    # Downstream interface by name -> the live targets that live there, as far as the source knows
    downstream: Mapping[str, frozenset[bytes]] = field(default_factory=dict, hash=False)
    # Prefixes within claimed ones that are not ours after all: of this set, the longest prefix decides
    refused: frozenset[Prefix] = frozenset()

    def __or__(self, other: "TargetSet") -> "TargetSet":
        """Return what either knows."""
        interfaces = {*self.downstream, *other.downstream}
        nothing: frozenset[bytes] = frozenset()
        return TargetSet(
            self.live | other.live,
            self.claimed | other.claimed,
            {name: self.downstream.get(name, nothing) | other.downstream.get(name, nothing) for name in interfaces},
            self.refused | other.refused,
        )


NOTHING: Final = TargetSet()


class Source(Protocol):
    """One source of targets; `kind` and `name` are its metric labels."""

    @property
    def kind(self) -> str:
        """Return which sort of source this is: static, bridge, docker, ..."""

    @property
    def name(self) -> str:
        """Return which one of its kind this is."""

    @property
    def uplinks(self) -> frozenset[str] | None:
        """Return the uplinks its targets are answered on; None: on all."""

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        """Publish the complete set now and after every change; return when it can never change again.

        Raises:
            SourceUnavailable: it cannot be read now; its last set stays, and `run` is called again.
        """
