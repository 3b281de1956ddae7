"""The settings tree: frozen, validated, built once from flags, environment and TOML file.

Every setting is declared here, or in `sources` for a source of targets, and nowhere else: its type, its
default, its meaning, its flag, its environment variable. Validation, `--help`, `ndpresponder check` and the
test of the reference file read the declarations. The daemon reads only the finished tree, which must never
hold an unchecked value.
"""

from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from ipaddress import IPv6Network
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from ndpresponder.config import values
from ndpresponder.config.declaration import Setting
from ndpresponder.config.source_settings import SourcesConfig

_NO_SOURCES = SourcesConfig()


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged and in which form."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Setting(
            "least severe events to log",
            parse=values.log_level,
            flags=("-l", "--log-level"),
            env="NDPRESPONDER_LOG",
            metavar="LEVEL",
            group="what is seen",
        ),
    ] = "info"
    format: Annotated[
        Literal["auto", "console", "json", "logfmt", "journal"],
        Setting(
            "form of the log; auto: journal fields under systemd, console on a terminal, else logfmt",
            flags=("-o", "--log-format"),
            env="NDPRESPONDER_LOG_FORMAT",
            metavar="FORMAT",
            group="what is seen",
        ),
    ] = "auto"


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Where /metrics is served: `ADDR:PORT`, `unix:PATH`, or "" for nowhere."""

    listen: Annotated[
        str,
        Setting(
            'serve /metrics, /healthz and /readyz there; "" is nowhere',
            parse=values.listen,
            flags=("-m", "--metrics"),
            env="NDPRESPONDER_METRICS",
            metavar="ADDR:PORT|unix:PATH",
            group="what is seen",
        ),
    ] = ""


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """Where the commands `status`, `explain`, `add` and the like reach the daemon; "" is nowhere."""

    socket: Annotated[
        str,
        Setting(
            'unix socket on which the commands ask this daemon; "" is nowhere',
            parse=values.control_socket,
            flags=("--control",),
            env="NDPRESPONDER_CONTROL",
            metavar="PATH",
            group="what is seen",
        ),
    ] = "/run/ndpresponder/control.sock"


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """How much is answered at most."""

    rate: Annotated[
        int,
        Setting("advertisements per second and uplink; 0 is unlimited", parse=values.integer(0, 10_000_000)),
    ] = 0
    burst: Annotated[
        int,
        Setting("advertisements sent at once before the rate counts", parse=values.integer(1, 10_000_000)),
    ] = 400


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """One uplink and what is answered there."""

    name: Annotated[str, Setting("uplink: the interface towards the router", parse=values.interface_name)]
    prefixes: Annotated[
        tuple[IPv6Network, ...], Setting("claimed prefixes; a bare address is a live host", parse=values.prefix)
    ] = ()
    exclude: Annotated[tuple[IPv6Network, ...], Setting("never answer for these", parse=values.network)] = ()
    allow_wide: Annotated[bool, Setting("allow prefixes wider than /64", flags=("--allow-wide",))] = False
    router_flag: Annotated[
        Literal["auto", "always", "never"], Setting("the Router flag; auto: as the uplink forwards")
    ] = "auto"
    override: Annotated[Literal["auto", "always", "never"], Setting("the Override flag; auto: live targets only")] = (
        "auto"
    )
    unicast: Annotated[
        Literal["always", "live", "never"], Setting("targets whose reachability probes are answered")
    ] = "always"
    dad: Annotated[
        Literal["live", "defend", "ignore"],
        Setting(
            "addresses that another host is told are taken; live: those known to be there, defend: all that is claimed",
            flags=("--dad",),
            metavar="MODE",
        ),
    ] = "live"
    announce: Annotated[
        Literal["live", "never"],
        Setting("announce live targets when they or the link appear", flags=("-a", "--announce"), metavar="live|never"),
    ] = "live"
    take_over: Annotated[
        bool,
        Setting(
            "a claimed prefix that is new was another host's: announce what is solicited there next",
            flags=("--take-over",),
        ),
    ] = False
    gateway_keepalive: Annotated[
        Literal["auto", "always", "never"],
        Setting("keep the kernel's entry of the gateway alive; auto: while the uplink forwards and it needs it"),
    ] = "auto"
    pin_gateway: Annotated[
        bool,
        Setting("pin the gateway's link-layer address in the kernel; needs CAP_NET_ADMIN", flags=("--pin-gateway",)),
    ] = False
    mld_source: Annotated[
        Literal["linklocal", "global", "both"],
        Setting("where the reports of joined groups come from, on a link that snoops MLD"),
    ] = "linklocal"
    mld_router: Annotated[
        Literal["auto", "always", "never"],
        Setting(
            "pass for a multicast router, so that a bridge that snoops MLD hides no group; auto: while there are too "
            "many to join",
            flags=("--mld-router",),
            metavar="auto|always|never",
        ),
    ] = "auto"
    verify: Annotated[bool, Setting("answer for claimed targets only once found there", flags=("--verify",))] = False
    fastpath: Annotated[
        Literal["auto", "tcx", "xdp", "xdp-native", "off"],
        Setting(
            "answer the plain case in the kernel; auto: on tcx where that can be had",
            flags=("--fastpath",),
            metavar="MODE",
        ),
    ] = "off"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the daemon is told."""

    interfaces: Annotated[tuple[InterfaceConfig, ...], Setting("one table for each uplink", key="interface")] = ()
    log: Annotated[LogConfig, Setting("what is logged")] = LogConfig()
    metrics: Annotated[MetricsConfig, Setting("Prometheus metrics")] = MetricsConfig()
    control: Annotated[ControlConfig, Setting("asking and steering the daemon")] = ControlConfig()
    limits: Annotated[LimitsConfig, Setting("protection against floods")] = LimitsConfig()
    sources: Annotated[SourcesConfig, Setting("what is followed behind the host", key="source")] = _NO_SOURCES
    dry_run: Annotated[bool, Setting("decide, count and log, but send nothing", flags=("-d", "--dry-run"))] = False
    install_routes: Annotated[
        bool,
        Setting(
            "give live targets the routes they lack to where they live; needs CAP_NET_ADMIN",
            flags=("--install-routes",),
        ),
    ] = False

    @property
    def followed(self) -> frozenset[str]:
        """The downstream interfaces whose neighbors are followed."""
        return frozenset(bridge.name for bridge in self.sources.bridge)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a TOML table, as its field declares it."""

    name: str
    attribute: str
    setting: Setting
    default: Any  # MISSING: the key must be written
    kind: Any  # of the value, or of each element
    parse: Callable[[object], object]
    table: type[Any] | None  # the dataclass behind a table or an array of tables
    many: bool  # an array

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is MISSING


def keys(table: type[Any]) -> dict[str, Key]:
    """Return the keys a TOML table may hold, by name."""
    found = {}
    for field in fields(table):
        kind, setting = get_args(field.type)
        many = get_origin(kind) is tuple
        element = get_args(kind)[0] if many or NoneType in get_args(kind) else kind  # a table may be absent
        parse = setting.parse
        if parse is None:
            parse = values.choice(get_args(element)) if get_origin(element) is Literal else values.boolean
        nested: Any = element if is_dataclass(element) else None
        name = setting.key or field.name
        found[name] = Key(name, field.name, setting, field.default, element, parse, nested, many)
    return found


def leaves(table: type[Any] = Config, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Key]]:
    """Yield every key that holds a value rather than a table, with its path."""
    for key in keys(table).values():
        if key.table is None:
            yield (*path, key.name), key
        else:
            yield from leaves(key.table, (*path, key.name))


def names_source(path: tuple[str, ...], key: Key) -> bool:
    """Tell whether a key says what a source follows; each use of its flag adds to what is followed."""
    return path[0] == "source" and (key.required or key.setting.bare)
