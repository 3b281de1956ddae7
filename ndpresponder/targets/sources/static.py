"""The prefixes that a person configured: known at once, never changing."""

from collections.abc import Callable, Iterable
from ipaddress import IPv6Network

from ndpresponder.policy.table import Prefix
from ndpresponder.targets.source import TargetSet


def as_prefix(network: IPv6Network) -> Prefix:
    """Return the bits and the length of `network`."""
    return Prefix(int(network.network_address), network.prefixlen)


def of_networks(networks: Iterable[IPv6Network]) -> TargetSet:
    """Return what prefixes written by a person make ours: a /128 names a host that exists, so it is live."""
    networks = tuple(networks)
    return TargetSet(
        live=frozenset(network.network_address.packed for network in networks if network.prefixlen == 128),
        claimed=frozenset(as_prefix(network) for network in networks if network.prefixlen < 128),
    )


class StaticSource:
    """The prefixes of one uplink."""

    kind = "static"

    def __init__(self, uplink: str, networks: Iterable[IPv6Network]) -> None:
        self.name = uplink
        self.uplinks: frozenset[str] | None = frozenset((uplink,))
        self._targets = of_networks(networks)

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        """Publish the configured set, once."""
        publish(self._targets)
