"""The sources of targets, one file each, and the registry that makes those that are configured.

Modules are imported when they are configured, so that what nobody uses costs nothing.
"""

from ndpresponder.config import Config
from ndpresponder.targets.source import Source
from ndpresponder.targets.sources.static import StaticSource
from ndpresponder.targets.sources.temporary import TemporaryPrefixes, TemporarySource


def build_sources(config: Config, temporary: TemporaryPrefixes) -> list[Source]:
    """Make every source that `config` asks for, and those of the prefixes that are added later."""
    sources: list[Source] = [StaticSource(interface.name, interface.prefixes) for interface in config.interfaces]
    sources.extend(TemporarySource(interface.name, temporary) for interface in config.interfaces)
    if config.sources.docker:
        from ndpresponder.targets.sources.docker import DockerSource

        sources.extend(DockerSource(docker.networks, docker.url) for docker in config.sources.docker)
    if config.sources.file:
        from ndpresponder.targets.sources.file import FileSource

        sources.extend(FileSource(file.path) for file in config.sources.file)
    if config.sources.wireguard:
        from ndpresponder.targets.sources.wireguard import WireguardSource

        sources.extend(WireguardSource(wireguard.name) for wireguard in config.sources.wireguard)
    uplinks = [interface.name for interface in config.interfaces]
    if config.sources.bridge:
        from ndpresponder.targets.sources.bridge import BridgeSource

        sources.extend(BridgeSource(bridge.name, uplinks) for bridge in config.sources.bridge)
    if config.sources.routes is not None:
        from ndpresponder.targets.sources.routes import RoutesSource

        sources.append(RoutesSource(config.sources.routes, uplinks))
    return sources
