"""The settings tree: frozen dataclasses that mirror the tables of the TOML file.

A setting is declared here and nowhere else: its type, its default, its meaning, its flag, its environment variable.
The daemon reads only the finished tree, which never holds an unchecked value.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Network
from typing import Any, Literal

from ndpresponder.config import values
from ndpresponder.config.declaration import REQUIRED, Key, keys, setting

_Choice = Literal["auto", "always", "never"]
_WITHIN = "only targets in these prefixes; none: only targets on-link at, or routed to, the uplink"


@dataclass(frozen=True, slots=True)
class BridgeSourceConfig:
    """One downstream interface; its prefixes are claimed, its neighbors live."""

    name: str = setting(
        REQUIRED,
        "follow the addresses behind this downstream interface, a bridge or any other; repeatable",
        values.interface_name,
        "-b, --bridge IF",
    )
    within: tuple[IPv6Network, ...] = setting((), _WITHIN, values.prefix)


@dataclass(frozen=True, slots=True)
class DockerSourceConfig:
    networks: tuple[str, ...] = setting(
        REQUIRED,
        "follow the containers in this network of Docker or Podman; '*': in all with IPv6; repeatable",
        values.network_name,
        "-N, --docker-network NAME",
        example='["ipv6exposed"]',
    )
    url: str = setting(
        "unix:///var/run/docker.sock",
        "socket of Docker, or of another engine with its API",
        values.socket_url,
        "--docker-url unix://PATH",
        "DOCKER_HOST",
    )
    within: tuple[IPv6Network, ...] = setting((), _WITHIN, values.prefix)


@dataclass(frozen=True, slots=True)
class FileSourceConfig:
    path: str = setting(
        REQUIRED,
        "follow this file: an address or a prefix in each line; repeatable",
        values.file_path,
        "-f, --address-file FILE",
        example='"/etc/ndpresponder/addresses"',
    )
    within: tuple[IPv6Network, ...] = setting((), _WITHIN, values.prefix)


@dataclass(frozen=True, slots=True)
class WireguardSourceConfig:
    """One WireGuard interface; the allowed-ips of its peers are claimed."""

    name: str = setting(
        REQUIRED,
        "follow the allowed-ips of this WireGuard interface's peers; repeatable",
        values.interface_name,
        "--wireguard IF",
        example='"wg0"',
    )
    within: tuple[IPv6Network, ...] = setting((), _WITHIN, values.prefix)


@dataclass(frozen=True, slots=True)
class RoutesSourceConfig:
    """The kernel's routes; an empty tuple does not narrow them."""

    within: tuple[IPv6Network, ...] = setting(
        (),
        "follow the kernel's routes, all or only those within these prefixes; repeatable",
        values.prefix,
        "--routes [PFX,...]",
    )
    tables: tuple[int, ...] = setting(
        (), "routing tables, by number; none: the ones that rules select for the uplinks", values.integer(1, 2**32 - 1)
    )
    protocols: tuple[int, ...] = setting((), "only routes of these protocols", values.integer(0, 255))
    through: tuple[str, ...] = setting((), "only routes out of these interfaces", values.interface_name)


@dataclass(frozen=True, slots=True)
class SourcesConfig:
    bridge: tuple[BridgeSourceConfig, ...] = setting((), "one table for each downstream interface")
    docker: tuple[DockerSourceConfig, ...] = setting((), "networks of Docker or Podman")
    file: tuple[FileSourceConfig, ...] = setting((), "one table for each file")
    wireguard: tuple[WireguardSourceConfig, ...] = setting((), "one table for each interface")
    routes: RoutesSourceConfig | None = setting(None, "the kernel's routes")


@dataclass(frozen=True, slots=True)
class LogConfig:
    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "least severe events to log", values.log_level, "-l, --log-level LEVEL", "NDPRESPONDER_LOG"
    )
    format: Literal["auto", "console", "json", "logfmt", "journal"] = setting(
        "auto",
        "form of the log; auto: journal fields under systemd, console on a terminal, else logfmt",
        flag="-o, --log-format FORMAT",
        env="NDPRESPONDER_LOG_FORMAT",
    )


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Where /metrics is served: `ADDR:PORT`, `unix:PATH`, or "" for nowhere."""

    listen: str = setting(
        "",
        'serve /metrics, /healthz and /readyz at this address; "" turns them off',
        values.listen,
        "-m, --metrics ADDR:PORT|unix:PATH",
        "NDPRESPONDER_METRICS",
    )


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """Where the commands `status`, `explain`, `add` and the like reach the daemon; "" is nowhere."""

    socket: str = setting(
        "/run/ndpresponder/control.sock",
        'unix socket on which commands reach this daemon; "" turns it off',
        values.control_socket,
        "--control PATH",
        "NDPRESPONDER_CONTROL",
    )


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    rate: int = setting(0, "advertisements per second and uplink; 0 is unlimited", values.integer(0, 10_000_000))
    burst: int = setting(400, "advertisements sent at once before the rate counts", values.integer(1, 10_000_000))


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    name: str = setting(REQUIRED, "uplink: the interface towards the router", values.interface_name)
    prefixes: tuple[IPv6Network, ...] = setting((), "claimed prefixes; a bare address is a live host", values.prefix)
    exclude: tuple[IPv6Network, ...] = setting((), "never answer for these", values.network)
    allow_wide: bool = setting(False, "allow prefixes wider than /64", flag="--allow-wide")
    router_flag: _Choice = setting("auto", "the Router flag; auto: as the uplink forwards")
    override: _Choice = setting("auto", "the Override flag; auto: live targets only")
    unicast: Literal["always", "live", "never"] = setting("always", "targets whose reachability probes are answered")
    dad: Literal["live", "defend", "ignore"] = setting(
        "live",
        "targets to defend when another host wants one; live: live targets only, defend: claimed ones too",
        flag="--dad MODE",
    )
    announce: Literal["live", "never"] = setting(
        "live", "announce live targets when they or the link appear", flag="-a, --announce live|never"
    )
    take_over: bool = setting(
        False, "a new claimed prefix was another host's: announce targets as they are solicited", flag="--take-over"
    )
    gateway_keepalive: _Choice = setting(
        "auto", "keep the kernel's entry of the gateway alive; auto: when forwarding needs it"
    )
    pin_gateway: bool = setting(
        False, "pin the gateway's link-layer address in the kernel; needs CAP_NET_ADMIN", flag="--pin-gateway"
    )
    mld_source: Literal["linklocal", "global", "both"] = setting(
        "linklocal", "the source addresses of the reports of joined groups"
    )
    mld_router: _Choice = setting(
        "auto",
        "act as a multicast router, so that a bridge that snoops MLD forwards all groups; "
        "auto: when there are too many groups to join",
        flag="--mld-router auto|always|never",
    )
    verify: bool = setting(
        False, "check that a claimed target exists behind this host before answering", flag="--verify"
    )
    fastpath: Literal["auto", "tcx", "xdp", "xdp-native", "off"] = setting(
        "off", "answer the plain case in the kernel; auto: on tcx where possible", flag="--fastpath MODE"
    )


@dataclass(frozen=True, slots=True)
class Config:
    interfaces: tuple[InterfaceConfig, ...] = setting((), "one table for each uplink", name="interface")
    log: LogConfig = setting(LogConfig(), "what is logged")
    metrics: MetricsConfig = setting(MetricsConfig(), "Prometheus metrics")
    control: ControlConfig = setting(ControlConfig(), "the socket for commands")
    limits: LimitsConfig = setting(LimitsConfig(), "protection against floods")
    sources: SourcesConfig = setting(SourcesConfig(), "where targets come from", name="source")
    dry_run: bool = setting(False, "decide, count and log, but send nothing", flag="-d, --dry-run")
    install_routes: bool = setting(
        False, "install missing routes to live targets; needs CAP_NET_ADMIN", flag="--install-routes"
    )

    @property
    def followed(self) -> frozenset[str]:
        """The downstream interfaces whose neighbors are followed."""
        return frozenset(bridge.name for bridge in self.sources.bridge)


def leaves(table: type[Any] = Config, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Key]]:
    """Yield every key that holds a value rather than a table, with its path."""
    for key in keys(table).values():
        if key.table is None:
            yield (*path, key.name), key
        else:
            yield from leaves(key.table, (*path, key.name))


def names_source(path: tuple[str, ...], key: Key) -> bool:
    """Tell whether each use of a key's flag adds a source of targets."""
    return path[0] == "source" and (key.required or key.bare)
