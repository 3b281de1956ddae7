"""The sources of targets, one file each, and the registry that makes those that are configured.

Modules are imported when they are configured, so that an unused source costs nothing.
"""

from typing import Any, NamedTuple

from ndpresponder.config import Config
from ndpresponder.targets.scope import EVERYTHING, Cause, Scope
from ndpresponder.targets.source import Source
from ndpresponder.targets.sources.static import StaticSource, as_prefix
from ndpresponder.targets.sources.temporary import TemporaryPrefixes, TemporarySource


class Identity(NamedTuple):
    """The identity of a source: a source of the old configuration goes on if the new one has an equal identity."""

    subject: tuple[str, ...]  # a new source takes over the set of an old one with the same subject
    settings: object = None

    @property
    def within(self) -> Scope | None:
        """Return where the targets of the source count: configured ones everywhere; None: by its uplinks."""
        if self.subject[0] in ("static", "temporary"):
            return EVERYTHING
        settings: Any = self.settings
        config = settings[0] if isinstance(settings, tuple) else settings
        within = getattr(config, "within", ())
        return Scope(frozenset(map(as_prefix, within)), cause=Cause.OUT_OF_SCOPE) if within else None


def build_sources(config: Config, temporary: TemporaryPrefixes) -> dict[Identity, Source]:
    """Make every source that `config` asks for, and those of the temporary prefixes."""
    found: dict[Identity, Source] = {}
    uplinks = tuple(interface.name for interface in config.interfaces)
    for interface in config.interfaces:
        static = Identity(("static", interface.name), interface.prefixes)
        found[static] = StaticSource(interface.name, interface.prefixes)
    for name in uplinks:
        found[Identity(("temporary", name))] = TemporarySource(name, temporary)
    for docker in config.sources.docker:
        from ndpresponder.targets.sources.docker import DockerSource

        found[Identity(("docker", docker.url), docker)] = DockerSource(docker.networks, docker.url)
    for file in config.sources.file:
        from ndpresponder.targets.sources.file import FileSource

        found[Identity(("file", file.path), file)] = FileSource(file.path)
    for wireguard in config.sources.wireguard:
        from ndpresponder.targets.sources.wireguard import WireguardSource

        found[Identity(("wireguard", wireguard.name), wireguard)] = WireguardSource(wireguard.name)
    for bridge in config.sources.bridge:
        from ndpresponder.targets.sources.bridge import BridgeSource

        found[Identity(("bridge", bridge.name), (bridge, uplinks))] = BridgeSource(bridge.name, uplinks)
    if (routes := config.sources.routes) is not None:
        from ndpresponder.targets.sources.routes import RoutesSource

        found[Identity(("routes",), (routes, uplinks))] = RoutesSource(routes, uplinks)
    return found
