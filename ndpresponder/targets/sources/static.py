"""The prefixes that a person configured: known at once, never changing."""

from collections.abc import Callable, Iterable
from ipaddress import IPv6Network

from ndpresponder.policy.table import Prefix
from ndpresponder.targets.source import Source, TargetSet


def as_prefix(network: IPv6Network) -> Prefix:
    """Return the bits and the length of `network`."""
    return Prefix(int(network.network_address), network.prefixlen)


def of_networks(networks: Iterable[IPv6Network]) -> TargetSet:
    """Return the targets that a person wrote as prefixes: a /128 names a host that exists, so it is live."""
    prefixes = frozenset(map(as_prefix, networks))
    hosts = frozenset(prefix for prefix in prefixes if prefix.length == 128)
    return TargetSet(frozenset(host.value.to_bytes(16, "big") for host in hosts), prefixes - hosts)


class StaticSource(Source):
    """The prefixes of one uplink."""

    kind = "static"

    def __init__(self, uplink: str, networks: Iterable[IPv6Network]) -> None:
        self.name = uplink
        self.uplinks = frozenset((uplink,))
        self._targets = of_networks(networks)

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        """Publish the configured set, once."""
        publish(self._targets)
