"""The composition root: one process from its start to its end, and what it tells systemd meanwhile.

Nothing imports this but `commands`. It holds no policy of its own: what a failure means is decided by `supervise`,
what a frame means by `responder`, what is ours by `targets`, what a configuration amounts to by `running`.
"""

import asyncio
import contextlib
import platform
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from ndpresponder import __version__
from ndpresponder.config import Config
from ndpresponder.daemon.endpoint import Endpoint
from ndpresponder.daemon.running import Assembly
from ndpresponder.daemon.supervise import contain, leaves, on_demand, supervise
from ndpresponder.errors import ConfigError, ExitCode, LinkNotReady, NdpresponderError
from ndpresponder.linux.loop import frame_loop
from ndpresponder.linux.netlink import Links, LinkWatcher, ask_links
from ndpresponder.linux.packet.handover import Handover
from ndpresponder.linux.slow_calls import SlowCalls
from ndpresponder.linux.suitability import refuse_unsuitable
from ndpresponder.linux.systemd import METRICS, Notifier, passed_descriptors, watchdog_interval_s
from ndpresponder.observe.logs import Logs, RateLimiter, configure, failure_teller, get_logger

_HOUSEKEEPING_S = 1.0  # at most: frames that nobody takes are seen by then
_FIRST_WAIT_S = 1.0  # for the first answers, which go before all that can be asked
_READY_WAIT_S = 5.0  # for all that can be asked, before READY is said
_RETRY_LOG_S = 60.0
_FIRST_SETS_S = 2.0  # within which new sources should say what they know, before a reload takes effect without
_BACKLOG_WAIT_S = 1.0  # likewise, before frames that were left to us are answered
_ANSWER_S = 0.1  # for whoever asked for an upgrade to hear that it is under way
_LAST_SIGNALS_S = 0.01
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
_PROBLEMS_SHOWN = 20  # in the log, of one reading of the configuration


def run(config: Config, read: Callable[[], Config], file: str = "") -> ExitCode:
    """Run the daemon until SIGTERM or SIGINT and return how it ended; `read` reads `config` from `file` again."""
    daemon = Daemon(config, configure(config.log), read, passed_descriptors(), file)
    try:
        with asyncio.Runner(loop_factory=frame_loop) as runner:
            ended = runner.run(daemon.run())
    except BaseExceptionGroup as group:
        fatal, unexpected = group.split(NdpresponderError)
        if unexpected is not None or fatal is None:
            raise
        error = next(leaves(fatal))
        get_logger().error("stopped", why=str(error))
        return error.exit_code
    if daemon.upgrading:
        from ndpresponder.daemon.upgrade import become_successor

        become_successor(daemon.handover.to_pass)
    return ended


class Daemon:
    """Everything that lives as long as the process."""

    def __init__(
        self,
        config: Config,
        logs: Logs,
        read: Callable[[], Config],
        passed: Mapping[str, Sequence[int]],
        file: str = "",
        notifier: Notifier | None = None,
    ) -> None:
        """Prepare to run by `config`, with the descriptors that were `passed`; nothing is opened yet."""
        self._config, self._logs, self._file = config, logs, file
        self._read = partial(SlowCalls(file or "the configuration").call, read)
        self._log = get_logger()
        self._limiter = RateLimiter(_RETRY_LOG_S)
        self._notifier = notifier or Notifier()
        self.handover = Handover(self._notifier, passed, lambda what, why: self._log.warning(what, why=why))
        self._started_s = self._loaded_s = time.time()
        self._problem = ""  # why the last reload was refused
        self._reloading = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._links_known, self._stop = asyncio.Event(), asyncio.Event()
        self.upgrading = False

    async def run(self) -> ExitCode:
        """Answer until told to stop."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(failure_teller())
        reload_wanted, upgrade_wanted = asyncio.Event(), asyncio.Event()
        for number, act in zip(_SIGNALS, (self._end, self._end, reload_wanted.set, upgrade_wanted.set), strict=True):
            loop.add_signal_handler(number, act)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # a predecessor in this process has blocked them
        self._assembly = Assembly(self._logs, self._start, self._say_retry, self._on_lost, self.handover)
        self._metrics = Endpoint(self._serve_metrics, self._start, partial(self._say_retry, "metrics"))
        self._control = Endpoint(self._serve_control, self._start, partial(self._say_retry, "control socket"))
        self._log.info("starting", version=__version__, python=platform.python_version(), dry_run=self._config.dry_run)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._assembly.inherit(self._config)
                await self._assembly.change(self._config, {})
                self._watch_links()
                self._start(supervise(self._keep_house, partial(self._say_retry, "housekeeping")))
                socket, metrics = self._config.control.socket, self._metrics_address(self._config)
                self._opening = [self._start(self._control.move(socket)), self._start(self._metrics.move(metrics))]
                self._start(on_demand(reload_wanted, self.reload))
                self._start(on_demand(upgrade_wanted, self.upgrade))
                await self._stop.wait()
                if not self.upgrading:
                    self._notifier.stopping()
                for task in self._running:
                    task.cancel()
        finally:  # answering to the end, whatever the others have to tidy up
            self.handover.leave(self.upgrading)
            self._assembly.close()
            self._notifier.watchdog()  # the next time it is a successor's turn
            self._notifier.close()
        if self.upgrading:
            await loop.shutdown_default_executor()  # or one of its threads would take what is blocked here
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # they wait for the successor
            await asyncio.sleep(_LAST_SIGNALS_S)  # but not those that came before: then this is the end after all
        self._log.info("replaced by the installed version" if self.upgrading else "stopped")
        return ExitCode.OK

    def _end(self) -> None:
        self.upgrading = False
        self._stop.set()

    def _start(self, part: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        if self._stop.is_set():  # nobody would end it
            part.close()
            raise asyncio.CancelledError
        task = self._tasks.create_task(part)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    # Reload

    async def reload(self) -> str | None:
        """Read the configuration again and put it into force; return why not, None if it is."""
        async with self._reloading:
            self._notifier.reloading()
            try:
                await contain(self._reload)
            except NdpresponderError as error:
                self._refuse(error)
            else:
                self._problem, self._loaded_s = "", time.time()
                self._log.info("configuration reloaded")
            finally:
                if self._links_known.is_set():
                    self._notifier.ready(self._status())
            return self._problem or None

    async def _reload(self) -> None:
        config = await self._read()
        links, now = await ask_links([interface.name for interface in config.interfaces]), self._assembly.config
        refuse_unsuitable(links, config.followed)
        await self._assembly.services.admit(config, now)
        await self._metrics.move(self._metrics_address(config))
        try:
            await self._assembly.change(config, links, _FIRST_SETS_S)
        except BaseException:
            await self._metrics.move(self._metrics_address(now))
            raise
        self._start(self._control.move(config.control.socket))  # not awaited: it may be whom this was asked through
        if links.keys() != {interface.name for interface in now.interfaces}:
            self._watch_links()

    @property
    def reload_state(self) -> tuple[bool, float]:
        """Whether the last reading of the configuration succeeded, and when (Unix time) the last that did was."""
        return not self._problem, self._loaded_s

    def _refuse(self, error: NdpresponderError) -> None:
        problems = error.problems if isinstance(error, ConfigError) else (str(error),)
        self._problem = "\n".join(problems)
        for problem in problems[:_PROBLEMS_SHOWN]:
            self._log.error("configuration not reloaded, the old one stays in force", why=problem)

    # Upgrade

    async def upgrade(self) -> str | None:
        """Have the installed version take this process over in a moment; return why not, None if it will."""
        from ndpresponder.daemon import upgrade

        self._log.info("trying whether the installed version starts")
        async with self._reloading:
            try:
                await upgrade.try_successor()
            except NdpresponderError as error:
                self._log.error("not upgraded, the running version stays", why=str(error))
                return str(error)
            self._notifier.reloading()  # which ends when the successor says that it is ready
            self.upgrading = True
            asyncio.get_running_loop().call_later(_ANSWER_S, self._stop.set)
        return None

    # Uplinks

    def _watch_links(self) -> None:
        """Watch the links of all uplinks there are now, and no others."""
        if self._watching is not None:
            self._watching.cancel()
        self._watcher = LinkWatcher(self._assembly.uplinks, self._follow)
        self._watching = self._start(supervise(self._watcher.run, partial(self._say_retry, "netlink")))

    def _on_lost(self) -> None:
        self._watcher.forget()

    def _follow(self, links: Links) -> None:
        if not self._links_known.is_set():
            refuse_unsuitable(links, self._config.followed)
        not_ready = ""  # the words only: the error would refer to itself, and keep open what it refers to
        for name, link in self._assembly.admit(links).items():
            try:
                self._assembly.uplinks[name].follow_link(link)
            except LinkNotReady as error:
                not_ready = str(error)
        self._assembly.services.ring()
        if self._links_known.is_set():
            self._notifier.status(self._status())
        else:  # what exists is served; what does not exist yet must not hold up the start of the host
            self._links_known.set()
            self.handover.discard()
            self._start(self._assembly.resume(_BACKLOG_WAIT_S))
            self._start(self._say_ready())
        if not_ready:
            raise LinkNotReady(not_ready)

    async def _say_ready(self) -> None:
        """Tell systemd, once the daemon can be asked, on the control socket and for metrics, and counts as it will."""
        await asyncio.wait([*self._opening, self._start(self._assembly.settle())], timeout=_READY_WAIT_S)
        self._notifier.ready(self._status())

    def _status(self) -> str:
        status = self._assembly.status()
        return f"{status}; configuration not reloaded: {self._problem.splitlines()[0]}" if self._problem else status

    def _readiness(self) -> tuple[bool, str]:
        return self._links_known.is_set() and self._assembly.ready, self._status()

    # Housekeeping

    async def _keep_house(self) -> None:
        watchdog_s = watchdog_interval_s()
        while True:
            if not self._assembly.stalled():
                self._notifier.watchdog()
            await asyncio.sleep(min(watchdog_s or _HOUSEKEEPING_S, _HOUSEKEEPING_S))

    def _metrics_address(self, config: Config) -> str:
        return METRICS if METRICS in self.handover.others else config.metrics.listen  # a socket that was passed stays

    async def _answer_first(self) -> None:
        with contextlib.suppress(TimeoutError):  # a netlink that fails must show
            async with asyncio.timeout(_FIRST_WAIT_S):  # not wait_for, which may swallow a cancellation before 3.12
                await self._links_known.wait()

    async def _serve_metrics(self, address: str, on_listening: Callable[[], None]) -> None:
        await self._answer_first()
        from ndpresponder.api.metrics_endpoint import serve  # late: see there

        passed = self.handover.others.get(METRICS, [])
        listen = self._config.metrics.listen if address == METRICS else address

        def listening(where: str) -> None:
            other = {"instead_of": listen} if passed and listen not in ("", where) else {}
            self._log.info(f"serving metrics{' on the socket that was passed' if other else ''}", listen=where, **other)
            on_listening()

        uplinks, board = self._assembly.uplinks.values(), self._assembly.board
        await serve(listen, passed, uplinks, board, self._readiness, lambda: self.reload_state, listening)

    async def _serve_control(self, address: str, on_listening: Callable[[], None]) -> None:
        await self._answer_first()
        from ndpresponder.api import access
        from ndpresponder.api.subject import Loaded, Subject

        assembly = self._assembly
        subject = Subject(
            started_s=self._started_s,
            loaded=lambda: Loaded(assembly.config, self._loaded_s, self._problem or None, self._file),
            uplinks=assembly.uplinks.values,
            board=lambda: assembly.board,
            temporary=assembly.temporary,
            logs=self._logs,
            reload=lambda: self._start(self.reload()),
            upgrade=lambda: self._start(self.upgrade()),
        )
        await access.serve(address, subject, on_listening)

    def _say_retry(self, what: str, error: Exception, pause_s: float) -> None:
        if (held_back := self._limiter.admit(what, time.monotonic())) is not None:
            self._log.warning("failed, trying again", what=what, why=str(error), pause_s=pause_s, suppressed=held_back)
