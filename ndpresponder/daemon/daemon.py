"""Run one process from its start to its end: signals, reloads, the successor, and the messages to systemd.

This is the composition root, imported by the command `run` alone. It holds no policy: `supervise` decides which
failures are tried again, `running` puts a configuration into force.
"""

import asyncio
import contextlib
import ctypes
import platform
import signal
import sys
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

from ndpresponder import __version__
from ndpresponder.api import snapshot
from ndpresponder.config import Config
from ndpresponder.daemon import services, upgrade
from ndpresponder.daemon.running import Running
from ndpresponder.daemon.supervise import contain, on_demand
from ndpresponder.daemon.tasks import Life, Run, Task, Tasks
from ndpresponder.errors import ExitCode, LinkNotReady, NdpresponderError
from ndpresponder.linux.loop import frame_loop, wait
from ndpresponder.linux.netlink import Links, LinkWatcher, ask_links
from ndpresponder.linux.packet.closing import wait_closed
from ndpresponder.linux.packet.handover import Handover
from ndpresponder.linux.slow_calls import SlowCalls
from ndpresponder.linux.suitability import refuse_unsuitable
from ndpresponder.linux.systemd import METRICS, Notifier, passed_descriptors, watchdog_interval_s
from ndpresponder.observe.logs import Logs, configure, exception_handler, get_logger
from ndpresponder.targets.sources import Identity

_HOUSEKEEPING_S = 1.0  # at most: unread frames are noticed by then
_FIRST_WAIT_S = 1.0  # for the first answers, which go before all that can be asked
_READY_WAIT_S = 5.0  # for all that can be asked, before READY is said
_FIRST_SETS_S = 2.0  # for the first sets of new sources: then a reload takes effect without them
_BACKLOG_WAIT_S = 1.0  # likewise, before the frames that a predecessor left are answered
_ANSWER_S = 0.1  # for the client that asked for an upgrade to read the reply
_LAST_SIGNALS_S = 0.01
_SWITCH_S = 0.0005  # Python lets another thread compute for 5 ms while frames wait, each time
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
_CONTROL, _METRICS = "control", "metrics"
_PROBLEMS_SHOWN = 20  # in the log, of one reading of the configuration


def run(config: Config, read: Callable[[], Config], file: str) -> ExitCode:
    """Run the daemon until SIGTERM or SIGINT and return how it ended; `read` reads `config` from `file` again."""
    daemon = Daemon(config, configure(config.log), read, file)
    sys.setswitchinterval(_SWITCH_S)
    try:
        with asyncio.Runner(loop_factory=frame_loop) as runner:
            runner.run(daemon.run())
    except BaseExceptionGroup as group:
        fatal = [error for error in group.exceptions if isinstance(error, NdpresponderError)]
        if len(fatal) < len(group.exceptions):
            raise
        get_logger().error("stopped", why=str(fatal[0]))
        return fatal[0].exit_code
    if daemon.upgrading:
        upgrade.become_successor(daemon.handover.to_pass)
    return ExitCode.OK


class Daemon:
    """Everything that lives as long as the process."""

    def __init__(self, config: Config, logs: Logs, read: Callable[[], Config], file: str) -> None:
        """Prepare to run by `config`; nothing is opened yet."""
        self._config, self._logs = config, logs
        self._read = partial(SlowCalls(file or "the configuration").call, read)
        self._log = get_logger()
        self._notifier = Notifier()
        passed = passed_descriptors()
        self.handover = Handover(self._notifier, passed, lambda what, why: self._log.warning(what, why=why))
        self._reading = snapshot.Reading(time.time(), time.time(), file=file)
        self._reloading = asyncio.Lock()
        self._links_known = asyncio.Event()
        self._reload_wanted, self._upgrade_wanted = asyncio.Event(), asyncio.Event()
        self.upgrading = False

    async def run(self) -> None:
        """Answer until told to stop."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(exception_handler())
        acts = self._end, self._end, self._reload_wanted.set, self._upgrade_wanted.set
        for number, act in zip(_SIGNALS, acts, strict=True):
            loop.add_signal_handler(number, act)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # a predecessor in this process has blocked them
        self._tasks = Tasks()
        self._running = Running(self._logs, self._tasks, self.handover, self._reading, self._on_lost)
        self._log.info("starting", version=__version__, python=platform.python_version(), dry_run=self._config.dry_run)
        try:
            async with self._tasks.group:
                self._running.inherit(self._config)
                await self._running.change(self._config, {}, self._wanted(self._config))
                await self._tasks.stop.wait()
                if not self.upgrading:
                    self._notifier.stopping()
                self._tasks.end_all()
        finally:  # the uplinks answer until every task has tidied up
            self.handover.leave(self.upgrading)
            self._running.close()
            if not self.upgrading:
                self.handover.close_left()
            self._notifier.watchdog()  # the next time it is a successor's turn
            self._notifier.close()
        if self.upgrading:
            await loop.shutdown_default_executor()  # its threads would receive the blocked signals,
            wait_closed()  # and these
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # they wait for the successor
            await asyncio.sleep(_LAST_SIGNALS_S)  # a signal that came before ends the process after all
        self._log.info("replaced by the installed version" if self.upgrading else "stopped")

    def _end(self) -> None:
        self.upgrading = False
        self._tasks.stop.set()

    def _wanted(self, config: Config) -> dict[Identity, Task]:
        """Return the tasks that `config` asks for, beside its sources of targets."""
        names = tuple(interface.name for interface in config.interfaces)
        socket, passed = config.control.socket, self.handover.others.get(METRICS, [])
        listen = (self._config if passed else config).metrics.listen  # sockets that were passed stay
        pause_s = min(watchdog_interval_s() or _HOUSEKEEPING_S, _HOUSEKEEPING_S)
        keep_house = partial(self._running.keep_house, self._notifier.watchdog, pause_s)
        tasks = {
            Identity(("links",), frozenset(names)): Task("netlink", partial(self._watch_links, names), vital=True),
            Identity(("housekeeping",)): Task("housekeeping", lambda _: keep_house, vital=True),
            Identity(("reload",)): Task("reload", lambda _: partial(on_demand, self._reload_wanted, self.reload)),
            Identity(("upgrade",)): Task("upgrade", lambda _: partial(on_demand, self._upgrade_wanted, self.upgrade)),
        }
        if socket:
            control = Task("control socket", lambda life: partial(self._serve_control, socket, life))
            tasks[Identity((_CONTROL,), socket)] = control
        if passed or listen:
            metrics = Task("metrics", lambda life: partial(self._serve_metrics, listen, passed, life), refusable=True)
            tasks[Identity((_METRICS,), listen)] = metrics
        return tasks | services.wanted(config, self._running)

    async def reload(self) -> str | None:
        """Read the configuration again and put it into force; return why not, None if it is."""
        async with self._reloading:
            self._notifier.reloading()
            try:
                await contain(self._reload)
            except NdpresponderError as error:
                self._reading.problem = str(error)
                for problem in self._reading.problem.splitlines()[:_PROBLEMS_SHOWN]:
                    self._log.error("configuration not reloaded, the old one stays in force", why=problem)
            else:
                self._reading.problem, self._reading.loaded_s = "", time.time()
                self._log.info("configuration reloaded")
            finally:
                if self._links_known.is_set():
                    self._notifier.ready(snapshot.status_line(self._running))
            return self._reading.problem or None

    async def _reload(self) -> None:
        config = await self._read()
        links = await ask_links([interface.name for interface in config.interfaces])
        refuse_unsuitable(links, config.followed)
        wanted = self._wanted(config)
        async with self._tasks.tried(wanted):
            await self._running.change(config, links, wanted, _FIRST_SETS_S)

    async def upgrade(self) -> str | None:
        """Have the installed version take this process over in a moment; return why not, None if it will."""
        self._log.info("trying whether the installed version starts")
        async with self._reloading:
            try:
                await contain(upgrade.try_successor)
            except NdpresponderError as error:
                self._log.error("not upgraded, the running version stays", why=str(error))
                return str(error)
            self._notifier.reloading()  # which ends when the successor says that it is ready
            self.upgrading = True
            asyncio.get_running_loop().call_later(_ANSWER_S, self._tasks.stop.set)
        return None

    def _watch_links(self, names: Collection[str], _: Life) -> Run:
        self._watcher = LinkWatcher(names, self._set_links)
        return self._watcher.run

    def _on_lost(self) -> None:
        self._watcher.forget()

    def _set_links(self, links: Links) -> None:
        if not self._links_known.is_set():
            refuse_unsuitable(links, self._running.config.followed)
        not_ready = self._running.set_links(links)
        if self._links_known.is_set():
            self._notifier.status(snapshot.status_line(self._running))
        else:  # READY does not wait for links that are missing: they would hold up the start of the host
            self._links_known.set()
            self.handover.discard()
            self._tasks.start(self._running.resume(_BACKLOG_WAIT_S))
            self._tasks.start(self._say_ready())
        if not_ready:
            raise LinkNotReady(not_ready)

    async def _say_ready(self) -> None:
        """Tell systemd, once the daemon can be asked, on the control socket and for metrics, and counts as it will."""
        served = [key for key in self._wanted(self._running.config) if key.subject[0] in (_CONTROL, _METRICS)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_WAIT_S):
                await self._tasks.ready(served, _READY_WAIT_S)
                for uplink in list(self._running.uplinks.values()):
                    await uplink.settle()
        self._notifier.ready(snapshot.status_line(self._running))
        with contextlib.suppress(AttributeError):  # not every libc has it
            ctypes.CDLL(None).malloc_trim(0)  # gives back what only the start needed, some 0.7 MB

    async def _answer_first(self, life: Life) -> None:
        life.on_failure = life.ready.set  # READY does not wait for a task that is tried again
        await wait(self._links_known, _FIRST_WAIT_S)  # a netlink that fails must show

    async def _serve_metrics(self, listen: str, passed: Sequence[int], life: Life) -> None:
        await self._answer_first(life)
        from ndpresponder.api import metrics  # late: see there

        await metrics.serve(listen, passed, self._running, life.ready.set)

    async def _serve_control(self, path: str, life: Life) -> None:
        await self._answer_first(life)
        from ndpresponder.api import access

        daemon = snapshot.DaemonHandle(
            self._running,
            reload=lambda: self._tasks.start(self.reload()),
            upgrade=lambda: self._tasks.start(self.upgrade()),
        )
        await access.serve(path, daemon, life.ready.set)
