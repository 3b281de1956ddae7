"""The settings: declared in `tree`, read from flags, environment and TOML file by `load`.

The daemon imports the finished tree from here and must never need anything else of this package.
"""

from ndpresponder.config.tree import (
    Config,
    DockerSourceConfig,
    FileSourceConfig,
    InterfaceConfig,
    LimitsConfig,
    LogConfig,
    MetricsConfig,
    RoutesSourceConfig,
    SourcesConfig,
    WireguardSourceConfig,
)

__all__ = [
    "Config",
    "DockerSourceConfig",
    "FileSourceConfig",
    "InterfaceConfig",
    "LimitsConfig",
    "LogConfig",
    "MetricsConfig",
    "RoutesSourceConfig",
    "SourcesConfig",
    "WireguardSourceConfig",
]
