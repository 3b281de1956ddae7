"""The parts that run beside the answering, one task each: what each is made of, and the key it runs under.

A key holds everything its part depends on, so that a reload goes on with a part whose key is asked for again, and ends
one whose key is not. None of them may hold anything back from the uplinks and the board that it was given.
"""

from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, Literal

from ndpresponder.config import Config
from ndpresponder.daemon.supervise import contain, supervise
from ndpresponder.gateway.keepalive import GatewayKeepalive
from ndpresponder.linux.netlink import GatewayWatcher, Link, is_reachable
from ndpresponder.observe.logs import get_logger
from ndpresponder.outcome import Kind, Outcome
from ndpresponder.targets.board import TargetBoard
from ndpresponder.unsolicited.hearing import Hearing
from ndpresponder.uplink.other_responders import RivalWatch
from ndpresponder.uplink.uplink import Uplink

Key = tuple[str, ...]  # the first word says which service
Service = Callable[[], Coroutine[Any, Any, None]]
SayRetry = Callable[[str, Exception, float], None]

_NET_ADMIN: Final[Mapping[str, str]] = {"pin": "pin_gateway", "wire": "install_routes"}  # service -> its setting


class Services:
    """Makes the parts that a configuration asks for."""

    def __init__(self, uplinks: Mapping[str, Uplink], board: TargetBoard, say_retry: SayRetry) -> None:
        """Work on `uplinks` and `board`, both of which may change at any time."""
        self._uplinks = uplinks
        self._board = board
        self._say_retry = say_retry
        self._on_links: list[Callable[[], None]] = []

    def wanted(self, config: Config) -> dict[Key, Service]:
        """Return what `config` asks for, by key."""
        found: dict[Key, Service] = {("rivals",): self._watch_rivals}
        if config.dry_run:
            return found
        found[("stations",)] = self._watch_stations
        for interface in config.interfaces:
            name, keepalive = interface.name, interface.gateway_keepalive
            if keepalive != "never":
                found["keepalive", name, keepalive] = partial(self._keep_gateways, name, keepalive)
            if interface.mld_source == "linklocal":
                found["hearing", name] = partial(self._watch_hearing, name)
            if interface.pin_gateway:
                found["pin", name] = partial(self._pin_gateways, name)
        if config.install_routes:
            found[("wire",)] = self._wire
        return found

    async def admit(self, config: Config, running: Config) -> None:
        """Refuse what would end the process, were it to start now, of what `config` asks for beyond `running`.

        Raises:
            PermissionMissing: CAP_NET_ADMIN is missing.
            SourceUnavailable: the kernel cannot be asked now.
        """
        new = self.wanted(config).keys() - self.wanted(running).keys()
        for word, feature in _NET_ADMIN.items():
            if any(key[0] == word for key in new):
                from ndpresponder.linux.netlink.admin import require_net_admin

                await require_net_admin(feature)

    def ring(self) -> None:
        """Tell those who look at the links that one changed."""
        for tell in self._on_links:
            tell()

    async def _watch_rivals(self) -> None:
        watch = RivalWatch(lambda: [(uplink.link, uplink.is_ours) for uplink in self._uplinks.values()])
        await supervise(partial(contain, watch.run), partial(self._say_retry, "other proxies"))

    async def _keep_gateways(self, name: str, policy: Literal["auto", "always", "never"]) -> None:
        uplink = self._uplinks[name]
        keepalive = GatewayKeepalive(
            policy, lambda: uplink.link if uplink.ready else None, is_reachable, uplink.send_unasked
        )
        await supervise(partial(contain, keepalive.run), partial(self._say_retry, f"keep-alive on {name}"))

    async def _watch_stations(self) -> None:
        uplinks = self._uplinks

        def confirm(link: Link, gateway: bytes, lladdr: bytes) -> None:
            if uplink := uplinks.get(link.name):
                uplink.requesters.confirmed.confirm(gateway, lladdr)

        watcher = GatewayWatcher(lambda: [uplink.link for uplink in uplinks.values() if uplink.link], confirm)
        self._on_links.append(watcher.notify)
        try:
            await supervise(partial(contain, watcher.run), partial(self._say_retry, "the gateways' stations"))
        finally:
            self._on_links.remove(watcher.notify)

    async def _watch_hearing(self, name: str) -> None:
        uplink = self._uplinks[name]
        tally, responder = uplink.tally, uplink.responder
        hearing = Hearing(
            lambda: uplink.link if uplink.ready else None,
            # A reachability probe that is answered shows that the gateway has heard of us before
            lambda: tally.received[Kind.MULTICAST] + tally.received[Kind.DAD] + tally.ended[Outcome.ANSWERED_UNICAST],
            lambda: bool(responder.table.live or responder.table.claims()),
            uplink.send_unasked,
            get_logger(interface=name),
        )
        await supervise(partial(contain, hearing.run), partial(self._say_retry, f"watch over {name}"))

    # What only CAP_NET_ADMIN may do; imported by those who ask for it

    async def _pin_gateways(self, name: str) -> None:
        from ndpresponder.gateway.pin import GatewayPin

        uplink = self._uplinks[name]
        log = get_logger(interface=name)
        confirmed = uplink.requesters.confirmed.of
        pin = GatewayPin(lambda: uplink.link if uplink.ready else None, uplink.send_unasked, log, confirmed)
        self._on_links.append(pin.ring)
        try:
            await supervise(partial(contain, pin.run), partial(self._say_retry, f"pinned gateway on {name}"))
        finally:
            self._on_links.remove(pin.ring)
            await pin.release()

    async def _wire(self) -> None:
        from ndpresponder.targets.installed_routes import Autowire

        uplinks = self._uplinks
        autowire = Autowire(
            self._board.downstream,
            lambda: [uplink.link for uplink in uplinks.values() if uplink.link],
            get_logger(),
            lambda: frozenset[bytes]().union(*(uplink.gateways for uplink in uplinks.values())),
        )
        self._on_links.append(autowire.notify)
        forget = self._board.on_change(autowire.notify)
        try:
            await supervise(partial(contain, autowire.run), partial(self._say_retry, "routes to live targets"))
        finally:
            self._on_links.remove(autowire.notify)
            forget()
            await autowire.clean()
