"""What a configuration amounts to while it is in force: uplinks, sources of targets, services; and its exchange.

Another configuration takes over in one turn of the event loop, or not at all. What both ask for goes on undisturbed;
what is new has time to say what it knows before the old is let go.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from ndpresponder.config import Config
from ndpresponder.daemon.scoped_sources import Belonging
from ndpresponder.daemon.services import Key, SayRetry, Services
from ndpresponder.daemon.supervise import contain, supervise
from ndpresponder.errors import LinkNotReady
from ndpresponder.linux.netlink import Links
from ndpresponder.linux.packet.handover import Handover
from ndpresponder.linux.suitability import deafness
from ndpresponder.observe.logs import Logs, get_logger
from ndpresponder.targets.board import Entry, TargetBoard
from ndpresponder.targets.source import Source, TargetSet
from ndpresponder.targets.sources import Identity, build_sources, within_of
from ndpresponder.targets.sources.static import as_prefix
from ndpresponder.targets.sources.temporary import TemporaryPrefixes
from ndpresponder.uplink import memory
from ndpresponder.uplink.memory import MAX_KNOWN, Memory
from ndpresponder.uplink.parts import Settings
from ndpresponder.uplink.uplink import Uplink

_TEMPORARY: Final = "temporary-prefixes"  # kept for a successor under this name
_REQUESTERS: Final = "requesters"
_REMEMBER_S: Final = 10.0  # how often what is known of requesters is kept for a successor
_REASONS_SHOWN: Final = 20  # in the log, of temporary prefixes that are removed at once

Start = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


@dataclass(slots=True, eq=False)
class _Running:
    """A source at work."""

    entry: Entry
    task: asyncio.Task[None] | None = None
    published: asyncio.Event = field(default_factory=asyncio.Event)


class Assembly:
    """The configuration in force; at first one that asks for nothing."""

    def __init__(
        self, logs: Logs, start: Start, say_retry: SayRetry, on_lost: Callable[[], None], handover: Handover
    ) -> None:
        """Run tasks with `start`; `on_lost` is called when a link went from under an uplink."""
        loop = asyncio.get_running_loop()
        self.config = Config()
        self.uplinks: dict[str, Uplink] = {}  # always this object: others look into it
        self.board = TargetBoard({}, lambda uplink, table: self.uplinks[uplink].set_table(table), loop.call_later)
        self.temporary = TemporaryPrefixes(loop.call_later, loop.time, partial(handover.keep, _TEMPORARY))
        self.services = Services(self.uplinks, self.board, say_retry)
        self._belonging = Belonging(self.board, self.uplinks)
        self._admitting: asyncio.Task[None] | None = None
        self._logs = logs
        self._start = start
        self._say_retry = say_retry
        self._on_lost = on_lost
        self._handover = handover
        self._sources: dict[Identity, _Running] = {}
        self._serving: dict[Key, asyncio.Task[None]] = {}
        self._memories: dict[str, Memory] = {}  # of a predecessor, for the uplinks to come

    def inherit(self, config: Config) -> None:
        """Take over what a predecessor kept for us, as far as `config` allows it."""
        self._handover.compare_clocks()
        if kept := self._handover.kept(_TEMPORARY):
            try:
                _say_removed(self.temporary.restore(kept, config.interfaces))
            except ValueError as error:
                get_logger().warning("the temporary prefixes that were kept are lost", why=str(error))
        if kept := self._handover.kept(_REQUESTERS):
            try:
                self._memories = memory.decode(kept)
            except ValueError as error:
                get_logger().warning("the requesters that were known are forgotten", why=str(error))
        else:
            self._remember()
        self._start(self._go_on_remembering())

    async def _go_on_remembering(self) -> None:
        """Keep for a successor, again and again, what is known of requesters."""
        while True:
            await asyncio.sleep(_REMEMBER_S)
            self._remember()

    def _remember(self) -> None:
        most = MAX_KNOWN // max(1, len(self.uplinks))
        self._handover.keep(
            _REQUESTERS,
            memory.encode({name: uplink.requesters.remember(most) for name, uplink in self.uplinks.items()}),
        )

    async def change(self, config: Config, links: Links, wait_s: float = 0.0) -> None:
        """Put `config` into force, once what is new of its sources has said what it knows, or after `wait_s`.

        `links` is the present state of new uplinks, as far as it is known.

        Raises:
            NdpresponderError: the system refuses what it asks for; all is as it was.
        """
        sources = build_sources(config, self.temporary)
        sources |= self._belonging.prepare(config, links)
        if self._admitting is None:
            failed = partial(self._say_retry, "what counts of the live targets")
            self._admitting = self._start(supervise(partial(contain, self._belonging.admission.run), failed))
        new = {
            identity: self._begin(source, identity)
            for identity, source in sources.items()
            if identity not in self._sources
        }
        try:
            await asyncio.sleep(0)  # what is known without asking anybody is known from the first frame on
            await _published(new.values(), wait_s)
            uplinks = self._change_uplinks(config, links)
        except BaseException:
            _cancel(new.values())
            raise
        gone = {identity: self._sources.pop(identity) for identity in list(self._sources) if identity not in sources}
        _inherit(gone, new)
        self._sources |= new
        for name in self.uplinks.keys() - uplinks.keys():
            self.uplinks.pop(name).close()
        self.uplinks |= uplinks
        _say_removed(self.temporary.review(config.interfaces))
        excluded = {each.name: frozenset(map(as_prefix, each.exclude)) for each in config.interfaces}
        self.board.exchange(excluded, [each.entry for each in gone.values()], [each.entry for each in new.values()])
        _cancel(gone.values())
        self._logs.apply(config.log)
        self.config = config
        self._change_services()

    async def resume(self, wait_s: float) -> None:
        """Read sockets that were taken over, once the sources have said what is ours, or after `wait_s`."""
        await _published(self._sources.values(), wait_s)
        self.board.rebuild()
        for uplink in self.uplinks.values():
            uplink.resume()

    async def settle(self) -> None:
        """Wait until the kernel has what it is told at the start of each uplink."""
        for uplink in list(self.uplinks.values()):
            await uplink.settle()

    @property
    def ready(self) -> bool:
        """Whether all uplinks are answered on."""
        return all(uplink.ready for uplink in self.uplinks.values())

    def stalled(self) -> bool:
        """Collect the counters of all uplinks, and tell whether on one of them frames wait that none takes."""
        for uplink in self.uplinks.values():
            uplink.collect()
        return any(uplink.stalled for uplink in self.uplinks.values())

    def status(self) -> str:
        """Say which uplinks are answered on, which leave frames waiting, which cannot hear, and which are not there."""
        answering = [uplink.name for uplink in self.uplinks.values() if uplink.ready]
        stalled = [uplink.name for uplink in self.uplinks.values() if uplink.stalled]
        links = {
            uplink.name: uplink.link for uplink in self.uplinks.values() if not uplink.ready and not uplink.stalled
        }
        unheard = [f"{name} ({deafness(link)})" for name, link in links.items() if link and not link.hears]
        waiting = [name for name, link in links.items() if not link or link.hears]
        parts = (
            ("answering on", answering),
            ("frames wait unread on", stalled),
            ("hearing nothing on", unheard),
            ("waiting for", waiting),
        )
        return "; ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names)

    def close(self) -> None:
        """Stop answering."""
        self._remember()
        for uplink in self.uplinks.values():
            uplink.close()

    # Sources

    def _begin(self, source: Source, identity: Identity) -> _Running:
        running = _Running(Entry(source, within=within_of(identity)))
        running.task = self._start(self._run_source(source, running))
        return running

    async def _run_source(self, source: Source, running: _Running) -> None:
        def publish(targets: TargetSet) -> None:
            self._belonging.admission.publish(running.entry, targets, running.published.set)

        def failed(error: Exception, pause_s: float) -> None:
            self.board.fail(running.entry)
            self._say_retry(f"{source.kind} {source.name}", error, pause_s)

        await supervise(partial(contain, partial(source.run, publish)), failed)

    def admit(self, links: Links) -> Links:
        """Find out what belongs to the uplinks as they are now, before they are told; return them."""
        self._belonging.admission.follow_links(links)
        return links

    # Uplinks

    def _change_uplinks(self, config: Config, links: Links) -> dict[str, Uplink]:
        """Make new uplinks and give the others their settings; return all. On failure undo all of it."""
        uplinks: dict[str, Uplink] = {}
        with contextlib.ExitStack() as undo:
            for interface in config.interfaces:
                settings = Settings(interface, config.limits, config.dry_run)
                uplink = self.uplinks.get(interface.name)
                if uplink is not None:
                    undo.callback(uplink.configure, uplink.settings)
                    uplink.configure(settings)
                else:
                    uplink = Uplink(
                        interface,
                        config.limits,
                        self._logs,
                        config.dry_run,
                        uplinks=self.indexes,
                        handover=self._handover,
                    )
                    uplink.on_lost = self._on_lost
                    if remembered := self._memories.pop(interface.name, None):
                        uplink.requesters.restore(remembered)
                    uplink.unrouted_hosts, uplink.followed = self._belonging.unrouted_hosts, self._belonging.followed
                    uplink.log.claimers = partial(self.board.claimers, interface.name)
                    undo.callback(uplink.close)
                    if interface.name in links:
                        with contextlib.suppress(LinkNotReady):  # the watcher will find it ready
                            uplink.follow_link(links[interface.name])
                uplinks[interface.name] = uplink
            undo.pop_all()
        return uplinks

    def indexes(self) -> list[int]:
        """Return the interface indexes of the uplinks."""
        return [uplink.link.index for uplink in self.uplinks.values() if uplink.link]

    # Services

    def _change_services(self) -> None:
        wanted = self.services.wanted(self.config)
        for key in self._serving.keys() - wanted.keys():
            self._serving.pop(key).cancel()
        for key in wanted.keys() - self._serving.keys():
            self._serving[key] = self._start(wanted[key]())


async def _published(sources: Collection[_Running], wait_s: float) -> None:
    """Wait until each source has said what it knows, or for `wait_s`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            for running in sources:
                await running.published.wait()


def _inherit(gone: dict[Identity, _Running], new: dict[Identity, _Running]) -> None:
    """Let a source that cannot be read yet go on with what the one before it, about the same subject, had said."""
    for identity, running in new.items():
        if not running.published.is_set():
            for other, before in gone.items():
                if other.subject == identity.subject:
                    running.entry.targets |= before.entry.targets
                    running.entry.withheld = before.entry.withheld


def _say_removed(reasons: Collection[str]) -> None:
    for why in list(reasons)[:_REASONS_SHOWN]:
        get_logger().warning("a temporary prefix is no longer answered for: it could not be added now", why=why)
    if len(reasons) > _REASONS_SHOWN:
        get_logger().warning("more temporary prefixes likewise", count=len(reasons) - _REASONS_SHOWN)


def _cancel(sources: Collection[_Running]) -> None:
    for running in sources:
        if running.task is not None:
            running.task.cancel()
