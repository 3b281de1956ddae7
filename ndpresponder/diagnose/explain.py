"""`ndpresponder explain`: ask the running daemon or, with a setting among the flags, judge by those settings."""

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from ndpresponder.api.client import client_of
from ndpresponder.api.explain import Scene, judge, parse_target, report_of
from ndpresponder.config import Config, InterfaceConfig
from ndpresponder.config.layers import load
from ndpresponder.config.problem import Problem, Wrong
from ndpresponder.config.settings import SourcesConfig
from ndpresponder.diagnose.host_uplinks import present, troubles_on
from ndpresponder.errors import ConfigError
from ndpresponder.linux.netlink import Link
from ndpresponder.policy.requester import UplinkState
from ndpresponder.policy.responder import Responder
from ndpresponder.policy.table import TargetTable
from ndpresponder.targets.board import Entry
from ndpresponder.targets.source import as_prefix, of_prefixes
from ndpresponder.targets.sources import StaticSource
from ndpresponder.uplink.parts import Settings

_ANY_LLADDR: Final = bytes.fromhex("020000000001")
_OF_THE_DAEMON: Final = frozenset({"target", "iface", "json", "control.socket"})  # do not say what to answer for


def report(options: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what happens to a solicitation for the target that `options` hold."""
    given = {name for name, value in vars(options).items() if value is not None}
    if given - _OF_THE_DAEMON:
        return _by_settings(load(vars(options), environ).config, options.target)
    client = client_of(options, environ)
    names = options.iface or ()
    if len(names) > 1:
        raise ConfigError((str(Problem("flag --iface", "", "stands more than once", "name one uplink, or none")),))
    return client.get("/explain", target=options.target, **({"iface": names[0]} if names else {}))


def _by_settings(config: Config, word: str) -> dict[str, Any]:
    try:
        target = parse_target(word)
    except Wrong as wrong:
        raise ConfigError((f"{wrong.message}; {wrong.hint}",)) from None
    links = present([each.name for each in config.interfaces])
    scenes = [_scene(config, each, links.get(each.name)) for each in config.interfaces]
    return report_of(target, [judge(scene, target) for scene in scenes])


def _scene(config: Config, interface: InterfaceConfig, link: Link | None) -> Scene:
    configured = Entry(StaticSource(interface.name, interface.prefixes))
    configured.targets = targets = of_prefixes(map(as_prefix, interface.prefixes))
    settings = Settings(interface, config.limits, config.dry_run)
    responder = Responder(settings.policy)
    state = UplinkState(_ANY_LLADDR)
    if link:
        state = UplinkState(_ANY_LLADDR, link.addresses, link.gateways, anycast=link.anycast)
    responder.set_state(state)
    responder.table = TargetTable.build(targets.live, targets.claimed, map(as_prefix, interface.exclude))
    notes = troubles_on(link, interface.prefixes) if link else []
    if config.sources != SourcesConfig():
        notes.append("what the sources of targets find is known to the running daemon only")
    if interface.verify:
        notes.append("`verify`: claimed, it is answered for only once it was found behind this host")
    here = "answering"
    if link is not None and not (link.ethernet and link.hears):
        here = "deaf" if link.ethernet else "not_ethernet"
    rehearse = partial(responder.rehearse, is_there=(lambda _: True) if interface.verify else None)
    return Scene(settings, here, state, rehearse, [configured], notes)
