"""The sources of targets, each with a file but the simplest, and the registry that makes those that are configured.

Modules are imported when they are configured, so that an unused source costs nothing.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv6Network
from typing import NamedTuple

from ndpresponder.config import Config
from ndpresponder.targets.board import Entry
from ndpresponder.targets.scope import EVERYTHING, Cause, Scope
from ndpresponder.targets.source import Source, TargetSet, as_prefix, of_prefixes
from ndpresponder.targets.sources.temporary import TemporaryPrefixes, TemporarySource


class Identity(NamedTuple):
    """The identity of a source: a source of the old configuration goes on if the new one has an equal identity."""

    subject: tuple[str, ...]  # a new source takes over the set of an old one with the same subject
    settings: object = None


class StaticSource(Source):
    """The prefixes that a person configured for one uplink: known at once, never changing."""

    kind = "static"

    def __init__(self, uplink: str, networks: Iterable[IPv6Network]) -> None:
        self.name = uplink
        self.uplinks = frozenset((uplink,))
        self._targets = of_prefixes(map(as_prefix, networks))

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        publish(self._targets)


def build_sources(config: Config, temporary: TemporaryPrefixes) -> dict[Identity, Entry]:
    """Make every source that `config` asks for, and those of the temporary prefixes."""
    found: dict[Identity, Entry] = {}
    uplinks = tuple(interface.name for interface in config.interfaces)
    for interface in config.interfaces:
        static = StaticSource(interface.name, interface.prefixes)
        found[Identity(("static", interface.name), interface.prefixes)] = Entry(static, EVERYTHING)
    for name in uplinks:
        found[Identity(("temporary", name))] = Entry(TemporarySource(name, temporary), EVERYTHING)
    for docker in config.sources.docker:
        from ndpresponder.targets.sources.docker import DockerSource

        containers = DockerSource(docker.networks, docker.url)
        found[Identity(("docker", docker.url), docker)] = _entry(containers, docker.within)
    for file in config.sources.file:
        from ndpresponder.targets.sources.file import FileSource

        found[Identity(("file", file.path), file)] = _entry(FileSource(file.path), file.within)
    for wireguard in config.sources.wireguard:
        from ndpresponder.targets.sources.wireguard import WireguardSource

        peers = WireguardSource(wireguard.name)
        found[Identity(("wireguard", wireguard.name), wireguard)] = _entry(peers, wireguard.within)
    for bridge in config.sources.bridge:
        from ndpresponder.targets.sources.bridge import BridgeSource

        neighbors = BridgeSource(bridge.name, uplinks)
        found[Identity(("bridge", bridge.name), (bridge, uplinks))] = _entry(neighbors, bridge.within)
    if (routes := config.sources.routes) is not None:
        from ndpresponder.targets.sources.routes import RoutesSource

        found[Identity(("routes",), (routes, uplinks))] = _entry(RoutesSource(routes, uplinks), routes.within)
    return found


def _entry(source: Source, within: Iterable[IPv6Network]) -> Entry:
    """Let what a source finds count in these prefixes; without any, by the scopes of its uplinks."""
    scope = Scope(frozenset(map(as_prefix, within)), cause=Cause.OUT_OF_SCOPE)
    return Entry(source, scope if scope.prefixes else None)
