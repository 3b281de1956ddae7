"""The settings: declared in `tree`, read from flags, environment and TOML file by `load`.

The daemon imports the finished tree from here and must never need anything else of this package.
"""

from ndpresponder.config.sources import (
    DockerSourceConfig,
    FileSourceConfig,
    RoutesSourceConfig,
    SourcesConfig,
    WireguardSourceConfig,
)
from ndpresponder.config.tree import Config, ControlConfig, InterfaceConfig, LimitsConfig, LogConfig, MetricsConfig

__all__ = [
    "Config",
    "ControlConfig",
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
