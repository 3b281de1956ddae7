"""The composition root: builds every part once, runs their tasks, and tells systemd.

Nothing imports this but `commands`. It holds no policy of its own: what a failure means is decided by `supervise`,
what a frame means by `responder`, what is ours by `targets`.
"""

import asyncio
import contextlib
import platform
import signal
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

from ndpresponder import __version__
from ndpresponder.config import Config, InterfaceConfig
from ndpresponder.errors import ConfigError, ExitCode, LinkNotReady, NdpresponderError, SourceUnavailable
from ndpresponder.keepalive import GatewayKeepalive
from ndpresponder.linux.loop import FrameLoop
from ndpresponder.linux.netlink import Links, LinkWatcher, is_reachable
from ndpresponder.linux.systemd import METRICS, Notifier, passed_descriptors, watchdog_interval_s
from ndpresponder.observe.logs import Logs, RateLimiter, configure, get_logger
from ndpresponder.supervise import supervise
from ndpresponder.targets.board import Entry, TargetBoard
from ndpresponder.targets.sources import build_sources
from ndpresponder.targets.sources.static import as_prefix
from ndpresponder.targets.sources.temporary import TemporaryPrefixes
from ndpresponder.uplink import Uplink

_HOUSEKEEPING_S = 10.0
_METRICS_WAIT_S = 1.0
_RETRY_LOG_S = 60.0


def run(config: Config) -> ExitCode:
    """Run the daemon until SIGTERM or SIGINT and return how it ended."""
    logs = configure(config.log)
    try:
        with asyncio.Runner(loop_factory=FrameLoop) as runner:
            return runner.run(Daemon(config, logs).run())
    except BaseExceptionGroup as group:
        fatal, unexpected = group.split(NdpresponderError)
        if unexpected is not None or fatal is None:
            raise
        error = next(_leaves(fatal))
        get_logger().error("stopped", why=str(error))
        return error.exit_code


def _leaves(group: BaseExceptionGroup[NdpresponderError]) -> Iterator[NdpresponderError]:
    for exception in group.exceptions:
        if isinstance(exception, NdpresponderError):
            yield exception
        else:
            yield from _leaves(exception)


class Daemon:
    """Everything that lives as long as the process."""

    def __init__(self, config: Config, logs: Logs, notifier: Notifier | None = None) -> None:
        """Wire the parts together; nothing is opened yet."""
        self._config = config
        self._logs = logs
        self._log = get_logger()
        self._limiter = RateLimiter(_RETRY_LOG_S)
        self._notifier = notifier or Notifier()
        self._started_s = time.time()
        self._uplinks = {
            interface.name: Uplink(interface, config.limits, logs, config.dry_run, uplinks=self._indexes)
            for interface in config.interfaces
        }
        self._watcher = LinkWatcher(self._uplinks, self._follow)
        for uplink in self._uplinks.values():
            uplink.on_lost = self._watcher.forget
        self._on_links: list[Callable[[], None]] = []
        self._links_known = asyncio.Event()

    async def run(self) -> ExitCode:
        """Answer until told to stop."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        temporary = TemporaryPrefixes(loop.call_later, loop.time)
        board = self._build_board(loop, temporary)
        self._log.info("starting", version=__version__, python=platform.python_version(), dry_run=self._config.dry_run)
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._run_source(board, entry)) for entry in board.entries]
                await asyncio.sleep(0)  # what is known without asking anybody is ours before the first frame comes
                board.rebuild()
                running.append(tasks.create_task(self._watch_links()))
                running.append(tasks.create_task(self._keep_house()))
                running.extend(tasks.create_task(self._keep_gateways(uplink)) for uplink in self._config.interfaces)
                running.extend(tasks.create_task(self._pin_gateways(uplink)) for uplink in self._config.interfaces)
                running.append(tasks.create_task(self._wire(board)))
                running.append(tasks.create_task(self._serve_metrics(board)))
                running.append(tasks.create_task(self._serve_control(board, temporary)))
                await stop.wait()
                self._notifier.stopping()
                for task in running:
                    task.cancel()
        finally:
            for uplink in self._uplinks.values():
                uplink.close()
            self._notifier.close()
        self._log.info("stopped")
        return ExitCode.OK

    # Targets

    def _build_board(self, loop: asyncio.AbstractEventLoop, temporary: TemporaryPrefixes) -> TargetBoard:
        board = TargetBoard(
            {
                interface.name: frozenset(as_prefix(network) for network in interface.exclude)
                for interface in self._config.interfaces
            },
            lambda uplink, table: self._uplinks[uplink].apply(table),
            loop.call_later,
        )
        for source in build_sources(self._config, temporary):
            board.add(source)
        return board

    async def _run_source(self, board: TargetBoard, entry: Entry) -> None:
        source = entry.source

        def failed(error: Exception, pause_s: float) -> None:
            board.fail(entry)
            self._say_retry(f"{source.kind} {source.name}", error, pause_s)

        await supervise(partial(_contain, partial(source.run, partial(board.publish, entry))), failed)

    # Uplinks

    async def _watch_links(self) -> None:
        await supervise(self._watcher.run, partial(self._say_retry, "netlink"))

    def _follow(self, links: Links) -> None:
        if not self._links_known.is_set():
            _refuse_other_than_ethernet(links)
            _refuse_one_under_two_names(links)
        not_ready: LinkNotReady | None = None
        for name, link in links.items():
            try:
                self._uplinks[name].follow(link)
            except LinkNotReady as error:
                not_ready = error
        for tell in self._on_links:
            tell()
        status = self._status()
        if self._links_known.is_set():
            self._notifier.status(status)
        else:  # what exists is served; what does not exist yet must not hold up the start of the host
            self._links_known.set()
            self._notifier.ready(status)
        if not_ready is not None:
            raise not_ready

    def _indexes(self) -> list[int]:
        return [uplink.link.index for uplink in self._uplinks.values() if uplink.link]

    def _status(self) -> str:
        answering = [uplink.name for uplink in self._uplinks.values() if uplink.ready]
        waiting = [uplink.name for uplink in self._uplinks.values() if not uplink.ready]
        parts = (("answering on", answering), ("waiting for", waiting))
        return "; ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names)

    def _readiness(self) -> tuple[bool, str]:
        return self._links_known.is_set() and all(uplink.ready for uplink in self._uplinks.values()), self._status()

    async def _keep_gateways(self, config: InterfaceConfig) -> None:
        if self._config.dry_run:
            return
        uplink = self._uplinks[config.name]
        keepalive = GatewayKeepalive(
            config.gateway_keepalive, lambda: uplink.link if uplink.ready else None, is_reachable, uplink.send_unasked
        )
        await supervise(partial(_contain, keepalive.run), partial(self._say_retry, f"keep-alive on {uplink.name}"))

    # What only CAP_NET_ADMIN may do; imported by those who ask for it

    async def _pin_gateways(self, config: InterfaceConfig) -> None:
        if not config.pin_gateway or self._config.dry_run:
            return
        from ndpresponder.pin import GatewayPin

        uplink = self._uplinks[config.name]
        log = get_logger(interface=config.name)
        pin = GatewayPin(lambda: uplink.link if uplink.ready else None, uplink.send_unasked, log)
        self._on_links.append(pin.ring)
        try:
            await supervise(partial(_contain, pin.run), partial(self._say_retry, f"pinned gateway on {uplink.name}"))
        finally:
            await pin.release()

    async def _wire(self, board: TargetBoard) -> None:
        if not self._config.install_routes or self._config.dry_run:
            return
        from ndpresponder.autowire import Autowire

        uplinks = self._uplinks.values()
        autowire = Autowire(board.downstream, lambda: [uplink.link for uplink in uplinks if uplink.link], self._log)
        self._on_links.append(autowire.ring)
        board.on_change(autowire.ring)
        try:
            await supervise(partial(_contain, autowire.run), partial(self._say_retry, "routes to live targets"))
        finally:
            await autowire.clean()

    # Housekeeping

    async def _keep_house(self) -> None:
        watchdog_s = watchdog_interval_s()
        while True:
            self._notifier.watchdog()
            for uplink in self._uplinks.values():
                uplink.collect_drops()
            await asyncio.sleep(min(watchdog_s or _HOUSEKEEPING_S, _HOUSEKEEPING_S))

    async def _serve_metrics(self, board: TargetBoard) -> None:
        listen, passed = self._config.metrics.listen, passed_descriptors().get(METRICS, [])
        if not listen and not passed:
            return
        with contextlib.suppress(TimeoutError):  # answering comes first, but a netlink that fails must show
            await asyncio.wait_for(self._links_known.wait(), _METRICS_WAIT_S)
        from ndpresponder import metrics  # late: see there

        def listening(where: str) -> None:
            if passed and listen not in ("", where):
                self._log.info("serving metrics on the socket that was passed", listen=where, instead_of=listen)
            else:
                self._log.info("serving metrics", listen=where)

        await metrics.serve(listen, passed, self._uplinks.values(), board, self._readiness, self._started_s, listening)

    async def _serve_control(self, board: TargetBoard, temporary: TemporaryPrefixes) -> None:
        if not self._config.control.socket:
            return
        await self._links_known.wait()
        from ndpresponder.control import door
        from ndpresponder.control.subject import Loaded, Subject

        async def not_yet() -> str | None:
            return "restart the service instead"

        subject = Subject(
            started_s=self._started_s,
            loaded=lambda: Loaded(self._config, self._started_s),
            uplinks=self._uplinks.values,
            board=lambda: board,
            temporary=temporary,
            logs=self._logs,
            reload=not_yet,
            upgrade=not_yet,
        )
        serve = partial(door.serve, self._config.control.socket, subject)
        await supervise(partial(_contain, serve), partial(self._say_retry, "control socket"))

    def _say_retry(self, what: str, error: Exception, pause_s: float) -> None:
        held_back = self._limiter.admit(what, time.monotonic())
        if held_back is not None:
            self._log.warning("failed, trying again", what=what, why=str(error), pause_s=pause_s, suppressed=held_back)


async def _contain(run: Callable[[], Awaitable[None]]) -> None:
    """Run a part that answering can do without: a fault of ours in it is tried again and told, like any failure."""
    try:
        await run()
    except NdpresponderError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise SourceUnavailable(
            f"a fault of ours, please report it: {error!r} at {Path(place.filename).name}:{place.lineno}"
        ) from error


def _refuse_one_under_two_names(links: Links) -> None:
    names: dict[int, str] = {}
    for name, link in links.items():
        if link is not None and names.setdefault(link.index, name) != name:
            raise ConfigError((f"interfaces {names[link.index]!r} and {name!r} are one and the same: name it once",))


def _refuse_other_than_ethernet(links: Links) -> None:
    problems = [
        f"interface {name!r} is not Ethernet (hardware type {link.hardware_type}): nobody solicits neighbors there; "
        "name the interface towards the router"
        for name, link in links.items()
        if link is not None and not link.ethernet
    ]
    if problems:
        raise ConfigError(tuple(problems))
