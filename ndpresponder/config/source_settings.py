"""The settings of the sources of targets: one dataclass for each kind. A part of the settings tree."""

from dataclasses import dataclass, fields
from ipaddress import IPv6Network
from typing import Annotated

from ndpresponder.config import values
from ndpresponder.config.declaration import Setting

_Within = Annotated[
    tuple[IPv6Network, ...],
    Setting(
        "only targets in these prefixes; none: in what is on-link at, or routed to, the uplink", parse=values.prefix
    ),
]


@dataclass(frozen=True, slots=True)
class BridgeSourceConfig:
    """One downstream interface whose prefixes and neighbors are followed."""

    name: Annotated[
        str,
        Setting(
            "follow the addresses behind this interface: a bridge or any other downstream one; repeatable",
            parse=values.interface_name,
            flags=("-b", "--bridge"),
            metavar="IF",
        ),
    ]
    within: _Within = ()


@dataclass(frozen=True, slots=True)
class RoutesSourceConfig:
    """Which of the kernel's routes are followed."""

    within: Annotated[
        tuple[IPv6Network, ...],
        Setting(
            "follow the kernel's routes, all or only those within these prefixes; repeatable",
            parse=values.prefix,
            flags=("--routes",),
            metavar="PFX,...",
            bare=True,
        ),
    ] = ()
    tables: Annotated[
        tuple[int, ...],
        Setting(
            "routing tables, by number; none: those that the rules lead to from the uplinks",
            parse=values.integer(1, 2**32 - 1),
        ),
    ] = ()
    protocols: Annotated[
        tuple[int, ...], Setting("only routes of these protocols, by number", parse=values.integer(0, 255))
    ] = ()
    through: Annotated[
        tuple[str, ...], Setting("only routes out of these interfaces", parse=values.interface_name)
    ] = ()


@dataclass(frozen=True, slots=True)
class DockerSourceConfig:
    """Networks of a container engine that speaks Docker's API."""

    networks: Annotated[
        tuple[str, ...],
        Setting(
            "follow the containers in this network of Docker or Podman; '*': in all with IPv6; repeatable",
            parse=values.network_name,
            flags=("-N", "--docker-network"),
            metavar="NAME",
            example='["ipv6exposed"]',
        ),
    ]
    url: Annotated[
        str,
        Setting(
            "socket of Docker, or of what speaks its API",
            parse=values.socket_url,
            flags=("--docker-url",),
            env="DOCKER_HOST",
            metavar="unix://PATH",
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
            parse=values.file_path,
            flags=("-f", "--address-file"),
            metavar="FILE",
            example='"/etc/ndpresponder/addresses"',
        ),
    ]
    within: _Within = ()


@dataclass(frozen=True, slots=True)
class WireguardSourceConfig:
    """One WireGuard interface whose peers are followed."""

    name: Annotated[
        str,
        Setting(
            "follow the allowed-ips of this WireGuard interface's peers; repeatable",
            parse=values.interface_name,
            flags=("--wireguard",),
            metavar="IF",
            example='"wg0"',
        ),
    ]
    within: _Within = ()


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
