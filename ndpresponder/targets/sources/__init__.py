"""The sources of targets, one file each, and the registry that makes those that are configured.

Modules are imported when they are configured, so that what nobody uses costs nothing.
"""

from ndpresponder.config import Config
from ndpresponder.targets.source import Source
from ndpresponder.targets.sources.static import StaticSource


def build_sources(config: Config) -> list[Source]:
    """Make every source that `config` asks for."""
    return [StaticSource(interface.name, interface.prefixes) for interface in config.interfaces]
