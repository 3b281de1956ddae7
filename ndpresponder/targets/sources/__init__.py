"""The sources of targets, one file each, and the registry that makes those that are configured.

Modules are imported when they are configured, so that what nobody uses costs nothing.
"""

from typing import Any, NamedTuple

from ndpresponder.config import Config
from ndpresponder.targets.scope import EVERYTHING, Cause, Scope
from ndpresponder.targets.source import Source
from ndpresponder.targets.sources.static import StaticSource, as_prefix
from ndpresponder.targets.sources.temporary import TemporaryPrefixes, TemporarySource


class Identity(NamedTuple):
    """Which source this is: two configurations that ask for the same one may go on with it."""

    subject: tuple[str, ...]  # what it is about: it takes over from one about the same
    settings: object = None  # all it was told


def within_of(identity: Identity) -> Scope | None:
    """Return where the targets of a source count: everywhere if a person wrote them; None: by its uplinks."""
    if identity.subject[0] in ("static", "temporary"):
        return EVERYTHING
    settings: Any = identity.settings
    config = settings[0] if isinstance(settings, tuple) else settings
    within = getattr(config, "within", ())
    return Scope(map(as_prefix, within), cause=Cause.OUT_OF_SCOPE) if within else None


def build_sources(config: Config, temporary: TemporaryPrefixes) -> dict[Identity, Source]:
    """Make every source that `config` asks for, and those of the prefixes that are added later."""
    sources: dict[Identity, Source] = {}
    for interface in config.interfaces:
        name, prefixes = interface.name, interface.prefixes
        sources[Identity(("static", name), prefixes)] = StaticSource(name, prefixes)
    for interface in config.interfaces:
        sources[Identity(("temporary", interface.name))] = TemporarySource(interface.name, temporary)
    if config.sources.docker:
        from ndpresponder.targets.sources.docker import DockerSource

        for docker in config.sources.docker:
            sources[Identity(("docker", docker.url), docker)] = DockerSource(docker.networks, docker.url)
    if config.sources.file:
        from ndpresponder.targets.sources.file import FileSource

        for file in config.sources.file:
            sources[Identity(("file", file.path), file)] = FileSource(file.path)
    if config.sources.wireguard:
        from ndpresponder.targets.sources.wireguard import WireguardSource

        for wireguard in config.sources.wireguard:
            sources[Identity(("wireguard", wireguard.name), wireguard)] = WireguardSource(wireguard.name)
    uplinks = tuple(interface.name for interface in config.interfaces)
    if config.sources.bridge:
        from ndpresponder.targets.sources.bridge import BridgeSource

        for bridge in config.sources.bridge:
            sources[Identity(("bridge", bridge.name), (bridge, uplinks))] = BridgeSource(bridge.name, uplinks)
    if config.sources.routes is not None:
        from ndpresponder.targets.sources.routes import RoutesSource

        routes = config.sources.routes
        sources[Identity(("routes",), (routes, uplinks))] = RoutesSource(routes, uplinks)
    return sources
