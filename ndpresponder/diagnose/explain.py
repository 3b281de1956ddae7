"""`ndpresponder explain`: asks the running daemon or, with a setting among the flags, works it out from those."""

import argparse
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Any, Final

from ndpresponder.config import Config, InterfaceConfig
from ndpresponder.config.host import Host
from ndpresponder.config.load import load
from ndpresponder.config.problem import Problem, Wrong
from ndpresponder.control.explain import Known, Scene, judge, parse_target, report_of
from ndpresponder.diagnose.client import client_of
from ndpresponder.errors import ConfigError
from ndpresponder.requester import Policy, UplinkState
from ndpresponder.responder import Responder
from ndpresponder.targets.sources.static import as_prefix, of_networks
from ndpresponder.targets.table import TargetTable
from ndpresponder.wire.addresses import subnet_router_anycast

_ANY_LLADDR: Final = bytes.fromhex("020000000001")
_OF_THE_DAEMON: Final = frozenset({"target", "iface", "json", "control.socket"})  # do not say what to answer for


def report(options: argparse.Namespace, environ: Mapping[str, str], host: Host | None = None) -> dict[str, Any]:
    """Return what happens to a solicitation for the target that `options` hold."""
    given = {name for name, value in vars(options).items() if value is not None}
    if given - _OF_THE_DAEMON:
        return _by_settings(load(vars(options), environ).config, options.target, host or Host())
    client = client_of(vars(options), environ)
    names = options.iface or ()
    if len(names) > 1:
        raise ConfigError((str(Problem("flag --iface", "", "stands more than once", "name one uplink, or none")),))
    return client.get("/explain", target=options.target, **({"iface": names[0]} if names else {}))


def _by_settings(config: Config, word: str, host: Host) -> dict[str, Any]:
    try:
        target = parse_target(word)
    except Wrong as wrong:
        raise ConfigError((f"{wrong.message}; {wrong.hint}",)) from None
    return report_of(target, [judge(_scene(config, interface, host), target) for interface in config.interfaces])


def _scene(config: Config, interface: InterfaceConfig, host: Host) -> Scene:
    targets = of_networks(interface.prefixes)
    own, gateways = _packed(host.addresses(interface.name)), _packed(host.gateways(interface.name))
    responder = Responder(Policy(unicast=interface.unicast, dad=interface.dad, dry_run=config.dry_run))
    networks = host.networks(interface.name)
    routers = (subnet_router_anycast(each.network_address.packed, each.prefixlen) for each in networks)
    anycast = frozenset(filter(None, routers))
    responder.follow(UplinkState(_ANY_LLADDR, own, gateways, anycast=anycast))
    responder.table = TargetTable.build(targets.live, targets.claimed, map(as_prefix, interface.exclude))
    notes = []
    if config.sources.any:
        notes.append("what the sources of targets find is known to the running daemon only")
    if interface.verify:
        notes.append("`verify`: claimed, it is answered for only once it was found behind this host")
    known = [Known("the configuration", targets)]
    return Scene(
        interface.name,
        "answering",
        _ANY_LLADDR,
        responder,
        known,
        interface.exclude,
        own,
        gateways,
        tuple(notes),
        (lambda _: True) if interface.verify else None,
        config.limits,
        anycast,
    )


def _packed(addresses: list[IPv6Address]) -> frozenset[bytes]:
    return frozenset(address.packed for address in addresses)
