"""Declare the tasks that a configuration asks for, beside its sources and its served sockets, and make each of them.

The tasks of all uplinks look the uplinks up at each use: a reload adds and removes uplinks at any time.
"""

import asyncio
from functools import partial
from typing import Final

from ndpresponder.config import Config
from ndpresponder.daemon.running import Running
from ndpresponder.daemon.tasks import Life, Run, Task
from ndpresponder.gateway.keepalive import keep_alive
from ndpresponder.linux.netlink import GatewayWatcher, Link
from ndpresponder.linux.other_responders import rivals
from ndpresponder.observe.logs import get_logger
from ndpresponder.outcome import Kind, Outcome
from ndpresponder.targets.sources import Identity
from ndpresponder.unsolicited.dropped_reports import DroppedReports
from ndpresponder.uplink.uplink import Uplink

_RIVALS_EVERY_S: Final = 60.0
_RIVALS_FIRST_S: Final = 1.0  # the start comes first


def wanted(config: Config, running: Running) -> dict[Identity, Task]:
    """Return the tasks that `config` asks for, by key; they work on the uplinks and the board of `running`."""
    tasks = {Identity(("rivals",)): Task("other proxies", lambda _: partial(_watch_rivals, running))}
    if config.dry_run:
        return tasks
    tasks[Identity(("stations",))] = Task("the gateways' stations", partial(_watch_stations, running))
    for interface in config.interfaces:
        name, keepalive = interface.name, interface.gateway_keepalive
        if keepalive != "never":
            keep = partial(_keep_gateways, running, name, keepalive == "always")
            tasks[Identity(("keepalive", name), keepalive)] = Task(f"keep-alive on {name}", keep)
        if interface.mld_source == "linklocal":
            tasks[Identity(("hearing", name))] = Task(f"watch over {name}", partial(_watch_hearing, running, name))
        if interface.pin_gateway:
            pin = partial(_pin_gateways, running, name)
            tasks[Identity(("pin", name))] = Task(f"pinned gateway on {name}", pin, needs_net_admin="pin_gateway")
    if config.install_routes:
        install = partial(_install_routes, running)
        tasks[Identity(("install_routes",))] = Task("routes to live targets", install, needs_net_admin="install_routes")
    return tasks


def _link_of(uplink: Uplink) -> Link | None:
    return uplink.link if uplink.ready else None


async def _watch_rivals(running: Running) -> None:
    """Warn of each rival once when it is found, and again only after it was gone."""
    told = set[str]()
    await asyncio.sleep(_RIVALS_FIRST_S)
    while True:
        uplinks = [(uplink.link, uplink.is_ours) for uplink in running.uplinks.values()]
        found = {why for link, is_ours in uplinks if link for why in await rivals(link, is_ours)}
        for why in sorted(found - told):
            get_logger().warning("another proxy is at work on this host", why=why)
        told = found
        await asyncio.sleep(_RIVALS_EVERY_S)


def _keep_gateways(running: Running, name: str, always: bool, _: Life) -> Run:
    uplink = running.uplinks[name]
    return partial(keep_alive, partial(_link_of, uplink), uplink.send_unasked, always)


def _watch_stations(running: Running, life: Life) -> Run:
    def confirm(link: Link, gateway: bytes, lladdr: bytes) -> None:
        if uplink := running.uplinks.get(link.name):
            uplink.requesters.confirmed.confirm(gateway, lladdr)

    watcher = GatewayWatcher(running.links, confirm)
    running.on_links(watcher.notify, life)
    return watcher.run


def _watch_hearing(running: Running, name: str, _: Life) -> Run:
    uplink = running.uplinks[name]
    tally, responder = uplink.tally, uplink.responder
    return DroppedReports(
        partial(_link_of, uplink),
        # A reachability probe that is answered shows that the gateway has heard of us before
        lambda: tally.received[Kind.MULTICAST] + tally.received[Kind.DAD] + tally.ended[Outcome.ANSWERED_UNICAST],
        lambda: bool(responder.table.live or responder.table.claims()),
        uplink.send_unasked,
        get_logger(interface=name),
    ).run


# Tasks that need CAP_NET_ADMIN: their modules are imported only if the configuration asks for them


def _pin_gateways(running: Running, name: str, life: Life) -> Run:
    from ndpresponder.gateway.pin import GatewayPin

    uplink = running.uplinks[name]
    log = get_logger(interface=name)
    pin = GatewayPin(partial(_link_of, uplink), uplink.send_unasked, log, uplink.requesters.confirmed.of)
    life.at_end.push_async_callback(pin.release)
    running.on_links(pin.ring, life)
    return pin.run


def _install_routes(running: Running, life: Life) -> Run:
    from ndpresponder.targets.installed_routes import Autowire

    autowire = Autowire(
        running.board.downstream,
        running.links,
        get_logger(),
        lambda: frozenset[bytes]().union(*(uplink.gateways for uplink in running.uplinks.values())),
    )
    life.at_end.push_async_callback(autowire.clean)
    life.at_end.callback(running.board.on_change(autowire.notify))
    running.on_links(autowire.notify, life)
    return autowire.run
