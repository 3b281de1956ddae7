"""The settings tree: frozen dataclasses that mirror the tables of the TOML file.

A setting is declared here and nowhere else: its type, its default, its meaning, its flag, its environment variable.
The daemon reads only the finished tree, which never holds an unchecked value.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from ipaddress import IPv6Network
from typing import Annotated, Any, Literal

from ndpresponder.config import values
from ndpresponder.config.declaration import Key, Setting, keys

_Choice = Literal["auto", "always", "never"]
_Within = Annotated[
    tuple[IPv6Network, ...],
    Setting("only targets in these prefixes; none: only targets on-link at, or routed to, the uplink", values.prefix),
]


@dataclass(frozen=True, slots=True)
class BridgeSourceConfig:
    """One downstream interface; its prefixes are claimed, its neighbors live."""

    name: Annotated[
        str,
        Setting(
            "follow the addresses behind this downstream interface, a bridge or any other; repeatable",
            values.interface_name,
            "-b, --bridge IF",
        ),
    ]
    within: _Within = ()


@dataclass(frozen=True, slots=True)
class DockerSourceConfig:
    """Networks of a container engine that speaks Docker's API."""

    networks: Annotated[
        tuple[str, ...],
        Setting(
            "follow the containers in this network of Docker or Podman; '*': in all with IPv6; repeatable",
            values.network_name,
            "-N, --docker-network NAME",
            example='["ipv6exposed"]',
        ),
    ]
    url: Annotated[
        str,
        Setting(
            "socket of Docker, or of another engine with its API",
            values.socket_url,
            "--docker-url unix://PATH",
            "DOCKER_HOST",
        ),
    ] = "unix:///var/run/docker.sock"
    within: _Within = ()


@dataclass(frozen=True, slots=True)
class FileSourceConfig:
    """One file of addresses and prefixes."""

    path: Annotated[
        str,
        Setting(
            "follow this file: an address or a prefix in each line; repeatable",
            values.file_path,
            "-f, --address-file FILE",
            example='"/etc/ndpresponder/addresses"',
        ),
    ]
    within: _Within = ()


@dataclass(frozen=True, slots=True)
class WireguardSourceConfig:
    """One WireGuard interface; the allowed-ips of its peers are claimed."""

    name: Annotated[
        str,
        Setting(
            "follow the allowed-ips of this WireGuard interface's peers; repeatable",
            values.interface_name,
            "--wireguard IF",
            example='"wg0"',
        ),
    ]
    within: _Within = ()


@dataclass(frozen=True, slots=True)
class RoutesSourceConfig:
    """The kernel's routes; an empty tuple does not narrow them."""

    within: Annotated[
        tuple[IPv6Network, ...],
        Setting(
            "follow the kernel's routes, all or only those within these prefixes; repeatable",
            values.prefix,
            "--routes [PFX,...]",
        ),
    ] = ()
    tables: Annotated[
        tuple[int, ...],
        Setting(
            "routing tables, by number; none: the ones that rules select for the uplinks", values.integer(1, 2**32 - 1)
        ),
    ] = ()
    protocols: Annotated[tuple[int, ...], Setting("only routes of these protocols", values.integer(0, 255))] = ()
    through: Annotated[tuple[str, ...], Setting("only routes out of these interfaces", values.interface_name)] = ()


@dataclass(frozen=True, slots=True)
class SourcesConfig:
    """Where targets come from, beside the prefixes of the uplinks."""

    bridge: Annotated[tuple[BridgeSourceConfig, ...], Setting("one table for each downstream interface")] = ()
    docker: Annotated[tuple[DockerSourceConfig, ...], Setting("networks of Docker or Podman")] = ()
    file: Annotated[tuple[FileSourceConfig, ...], Setting("one table for each file")] = ()
    wireguard: Annotated[tuple[WireguardSourceConfig, ...], Setting("one table for each interface")] = ()
    routes: Annotated[RoutesSourceConfig | None, Setting("the kernel's routes")] = None

    @property
    def any(self) -> bool:
        """Whether there is a source at all."""
        return any(getattr(self, each.name) for each in fields(self))


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged and in which form."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Setting("least severe events to log", values.log_level, "-l, --log-level LEVEL", "NDPRESPONDER_LOG"),
    ] = "info"
    format: Annotated[
        Literal["auto", "console", "json", "logfmt", "journal"],
        Setting(
            "form of the log; auto: journal fields under systemd, console on a terminal, else logfmt",
            flag="-o, --log-format FORMAT",
            env="NDPRESPONDER_LOG_FORMAT",
        ),
    ] = "auto"


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Where /metrics is served: `ADDR:PORT`, `unix:PATH`, or "" for nowhere."""

    listen: Annotated[
        str,
        Setting(
            'serve /metrics, /healthz and /readyz at this address; "" turns them off',
            values.listen,
            "-m, --metrics ADDR:PORT|unix:PATH",
            "NDPRESPONDER_METRICS",
        ),
    ] = ""


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """Where the commands `status`, `explain`, `add` and the like reach the daemon; "" is nowhere."""

    socket: Annotated[
        str,
        Setting(
            'unix socket on which commands reach this daemon; "" turns it off',
            values.control_socket,
            "--control PATH",
            "NDPRESPONDER_CONTROL",
        ),
    ] = "/run/ndpresponder/control.sock"


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """How much is answered at most."""

    rate: Annotated[
        int, Setting("advertisements per second and uplink; 0 is unlimited", values.integer(0, 10_000_000))
    ] = 0
    burst: Annotated[
        int, Setting("advertisements sent at once before the rate counts", values.integer(1, 10_000_000))
    ] = 400


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """One uplink and how solicitations are answered on it."""

    name: Annotated[str, Setting("uplink: the interface towards the router", values.interface_name)]
    prefixes: Annotated[
        tuple[IPv6Network, ...], Setting("claimed prefixes; a bare address is a live host", values.prefix)
    ] = ()
    exclude: Annotated[tuple[IPv6Network, ...], Setting("never answer for these", values.network)] = ()
    allow_wide: Annotated[bool, Setting("allow prefixes wider than /64", flag="--allow-wide")] = False
    router_flag: Annotated[_Choice, Setting("the Router flag; auto: as the uplink forwards")] = "auto"
    override: Annotated[_Choice, Setting("the Override flag; auto: live targets only")] = "auto"
    unicast: Annotated[
        Literal["always", "live", "never"], Setting("targets whose reachability probes are answered")
    ] = "always"
    dad: Annotated[
        Literal["live", "defend", "ignore"],
        Setting(
            "targets to defend when another host wants one; live: live targets only, defend: claimed ones too",
            flag="--dad MODE",
        ),
    ] = "live"
    announce: Annotated[
        Literal["live", "never"],
        Setting("announce live targets when they or the link appear", flag="-a, --announce live|never"),
    ] = "live"
    take_over: Annotated[
        bool,
        Setting("a new claimed prefix was another host's: announce targets as they are solicited", flag="--take-over"),
    ] = False
    gateway_keepalive: Annotated[
        _Choice, Setting("keep the kernel's entry of the gateway alive; auto: when forwarding needs it")
    ] = "auto"
    pin_gateway: Annotated[
        bool,
        Setting("pin the gateway's link-layer address in the kernel; needs CAP_NET_ADMIN", flag="--pin-gateway"),
    ] = False
    mld_source: Annotated[
        Literal["linklocal", "global", "both"], Setting("the source addresses of the reports of joined groups")
    ] = "linklocal"
    mld_router: Annotated[
        _Choice,
        Setting(
            "act as a multicast router, so that a bridge that snoops MLD forwards all groups; "
            "auto: when there are too many groups to join",
            flag="--mld-router auto|always|never",
        ),
    ] = "auto"
    verify: Annotated[
        bool, Setting("check that a claimed target exists behind this host before answering", flag="--verify")
    ] = False
    fastpath: Annotated[
        Literal["auto", "tcx", "xdp", "xdp-native", "off"],
        Setting("answer the plain case in the kernel; auto: on tcx where possible", flag="--fastpath MODE"),
    ] = "off"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the daemon is told."""

    interfaces: Annotated[tuple[InterfaceConfig, ...], Setting("one table for each uplink", key="interface")] = ()
    log: Annotated[LogConfig, Setting("what is logged")] = LogConfig()
    metrics: Annotated[MetricsConfig, Setting("Prometheus metrics")] = MetricsConfig()
    control: Annotated[ControlConfig, Setting("the socket for commands")] = ControlConfig()
    limits: Annotated[LimitsConfig, Setting("protection against floods")] = LimitsConfig()
    sources: Annotated[SourcesConfig, Setting("where targets come from", key="source")] = SourcesConfig()
    dry_run: Annotated[bool, Setting("decide, count and log, but send nothing", flag="-d, --dry-run")] = False
    install_routes: Annotated[
        bool,
        Setting("install missing routes to live targets; needs CAP_NET_ADMIN", flag="--install-routes"),
    ] = False

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
    return path[0] == "source" and (key.required or key.setting.bare)
