"""Define a source of targets: it publishes the addresses behind this host, always all of them at once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from typing import Final

from ndpresponder.policy.table import Prefix


@dataclass(frozen=True, slots=True)
class TargetSet:
    """All that one source knows now."""

    live: frozenset[bytes] = frozenset()
    claimed: frozenset[Prefix] = frozenset()
    # Downstream interface by name -> its live targets, as far as the source knows
    downstream: Mapping[str, frozenset[bytes]] = field(default_factory=dict, hash=False)
    # Prefixes within claimed ones that are not ours after all: of this set, the longest prefix decides
    refused: frozenset[Prefix] = frozenset()

    def __or__(self, other: "TargetSet") -> "TargetSet":
        downstream = dict(self.downstream)
        for interface, live in other.downstream.items():
            downstream[interface] = downstream.get(interface, frozenset()) | live
        return TargetSet(self.live | other.live, self.claimed | other.claimed, downstream, self.refused | other.refused)


NOTHING: Final = TargetSet()


def as_prefix(network: IPv6Network) -> Prefix:
    """Return the bits and the length of `network`."""
    return Prefix(int(network.network_address), network.prefixlen)


def of_prefixes(prefixes: Iterable[Prefix]) -> TargetSet:
    """Return the targets in some prefixes: a /128 names a host that exists, so it is live."""
    prefixes = frozenset(prefixes)
    hosts = frozenset(prefix for prefix in prefixes if prefix.length == 128)
    return TargetSet(frozenset(host.value.to_bytes(16, "big") for host in hosts), prefixes - hosts)


class Source:
    """One source of targets; `kind` and `name` are its metric labels."""

    kind: str  # static, bridge, docker, ...
    name: str  # among the sources of this kind
    uplinks: frozenset[str] | None = None  # its targets are answered on these; None: on all

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        """Publish the complete set now and after every change; return when it can never change again.

        Raises:
            SourceUnavailable: it cannot be read now; its last set stays, and `run` is called again.
        """
        raise NotImplementedError
