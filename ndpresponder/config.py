"""The settings tree: frozen, validated, built once from flags, environment and TOML file."""

from dataclasses import dataclass
from ipaddress import IPv6Network
from typing import Literal


@dataclass(frozen=True, slots=True)
class LogConfig:
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json", "logfmt", "journal"] = "auto"


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Where /metrics is served: `ADDR:PORT`, `unix:PATH`, or "" for nowhere."""

    listen: str = ""


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    rate: int = 0  # advertisements per second and uplink; 0: unlimited
    burst: int = 400


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """One uplink and what is answered there."""

    name: str
    prefixes: tuple[IPv6Network, ...] = ()
    exclude: tuple[IPv6Network, ...] = ()
    allow_wide: bool = False  # prefixes wider than /64 need this explicit word
    router_flag: Literal["auto", "always", "never"] = "auto"
    override: Literal["auto", "always", "never"] = "auto"
    unicast: Literal["always", "live", "never"] = "always"
    dad: Literal["defend", "ignore"] = "defend"


@dataclass(frozen=True, slots=True)
class Config:
    interfaces: tuple[InterfaceConfig, ...] = ()
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()
    limits: LimitsConfig = LimitsConfig()
    dry_run: bool = False
