"""The settings: declared in `settings`, read from flags, environment and TOML file by `layers`.

The daemon imports the finished tree from here and must never need anything else of this package.
"""

from ndpresponder.config.settings import (
    Config,
    ControlConfig,
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
