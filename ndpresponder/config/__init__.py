"""The settings: declared in `settings`, read from flags, environment and TOML file by `layers`.

The daemon imports the finished tree from here and must never need anything else of this package.
"""

from ndpresponder.config.settings import Config, ControlConfig, InterfaceConfig, LimitsConfig, LogConfig

__all__ = ["Config", "ControlConfig", "InterfaceConfig", "LimitsConfig", "LogConfig"]
