"""Hold the configuration in force, its uplinks and its sources of targets, and exchange it for another one.

Another configuration takes over in one turn of the event loop, or not at all. Uplinks and tasks that both ask for go on
undisturbed. New sources have time to publish their first set before the old ones end.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final, NoReturn

from ndpresponder.api.snapshot import Reading
from ndpresponder.config import Config
from ndpresponder.daemon.tasks import Life, Run, Task, Tasks
from ndpresponder.errors import LinkNotReady
from ndpresponder.linux.loop import beat
from ndpresponder.linux.netlink import Link, Links
from ndpresponder.linux.packet.handover import Handover
from ndpresponder.observe.logs import Logs, get_logger
from ndpresponder.targets.address_conflicts import AddressConflicts
from ndpresponder.targets.admission import Admission
from ndpresponder.targets.board import Entry, TargetBoard
from ndpresponder.targets.source import as_prefix
from ndpresponder.targets.sources import Identity, build_sources
from ndpresponder.targets.sources.temporary import TemporaryPrefixes
from ndpresponder.targets.sources.unrouted_hosts import UnroutedHosts, followed
from ndpresponder.targets.uncounted_log import UncountedLog
from ndpresponder.uplink.parts import Settings, Surroundings
from ndpresponder.uplink.requesters import MAX_KNOWN, Memory, decode_memories, encode_memories
from ndpresponder.uplink.uplink import Uplink
from ndpresponder.wire.addresses import best_source
from ndpresponder.wire.solicitation import probe

_TEMPORARY: Final = "temporary-prefixes"  # kept for a successor under this name
_REQUESTERS: Final = "requesters"
_REMEMBER_S: Final = 10.0  # between two times that the known requesters are kept for a successor
_REASONS_SHOWN: Final = 20  # in the log, of temporary prefixes that are removed at once


class Running:
    """The configuration in force; at first one that asks for nothing."""

    def __init__(
        self, logs: Logs, tasks: Tasks, handover: Handover, reading: Reading, on_lost: Callable[[], None]
    ) -> None:
        """Run the sources in `tasks`; `on_lost` is called when a link went from under an uplink."""
        loop = asyncio.get_running_loop()
        self.config = Config()
        self.reading = reading
        self.logs = logs
        self.uplinks: dict[str, Uplink] = {}  # always this object: the tasks look into it
        self.board = TargetBoard({}, lambda uplink, table: self.uplinks[uplink].set_table(table), loop.call_later)
        self.temporary = TemporaryPrefixes(loop.call_later, loop.time, partial(handover.keep, _TEMPORARY))
        self._admission = Admission(self.board, AddressConflicts(self._ask_resident, loop.call_later, loop.time))
        UncountedLog(self.board, get_logger().warning)
        self._unrouted_hosts = UnroutedHosts(loop.time)
        self._tasks = tasks
        self._handover = handover
        self._on_lost = on_lost
        self._on_links: list[Callable[[], None]] = []
        self._entries: dict[Identity, Entry] = {}
        self._memories: dict[str, Memory] = {}  # of a predecessor, for the uplinks to come

    def inherit(self, config: Config) -> None:
        """Take over the state that a predecessor kept, as far as `config` allows it."""
        self._handover.compare_clocks()
        if kept := self._handover.kept(_TEMPORARY):
            try:
                _say_removed(self.temporary.restore(kept, config.interfaces))
            except ValueError as error:
                get_logger().warning("the temporary prefixes that were kept are lost", why=str(error))
        if kept := self._handover.kept(_REQUESTERS):
            try:
                self._memories = decode_memories(kept)
            except ValueError as error:
                get_logger().warning("the requesters that were known are forgotten", why=str(error))
        else:
            self._remember()

    def _remember(self) -> None:
        most = MAX_KNOWN // max(1, len(self.uplinks))
        known = {name: uplink.requesters.remember(most) for name, uplink in self.uplinks.items()}
        self._handover.keep(_REQUESTERS, encode_memories(known))

    async def change(self, config: Config, links: Links, others: Mapping[Identity, Task], wait_s: float = 0.0) -> None:
        """Put `config` into force, once its new sources have published their first set, or after `wait_s`.

        `links` is the present state of new uplinks, as far as it is known; `others` are the tasks beside the sources.

        Raises:
            NdpresponderError: the system refuses an uplink's settings; all is as it was.
        """
        self._admission.install_routes = config.install_routes
        if links:
            self._admission.follow_links({name: uplink.link for name, uplink in self.uplinks.items()} | dict(links))
        sources = build_sources(config, self.temporary)
        if config.install_routes and any(each.verify for each in config.interfaces):
            sources[Identity(("verify",))] = Entry(self._unrouted_hosts)
        entries = {identity: self._entries.get(identity, entry) for identity, entry in sources.items()}
        tasks = {identity: self._task(entry) for identity, entry in entries.items()}
        new = self._tasks.lacking(tasks)
        for identity in new:
            self._tasks.begin(identity, tasks[identity])
        try:
            await asyncio.sleep(0)  # configured targets are answered for from the first frame on
            await self._tasks.ready(new, wait_s)
            uplinks = self._change_uplinks(config, links)
        except BaseException:
            self._tasks.end(new)
            self._admission.install_routes = self.config.install_routes
            raise
        gone = {identity: entry for identity, entry in self._entries.items() if identity not in entries}
        added = {identity: entries[identity] for identity in new}
        _inherit(gone, added)
        self._entries = entries
        for name in self.uplinks.keys() - uplinks.keys():
            self.uplinks.pop(name).close()
        self.uplinks |= uplinks
        _say_removed(self.temporary.review(config.interfaces))
        excluded = {each.name: frozenset(map(as_prefix, each.exclude)) for each in config.interfaces}
        self.board.exchange(excluded, set(gone.values()), added.values())
        self.logs.apply(config.log)
        self.config = config
        admission = Task("what counts of the live targets", lambda _: self._admission.run)
        self._tasks.keep({Identity(("admission",)): admission, **tasks, **others})

    async def resume(self, wait_s: float) -> None:
        """Read the sockets of a predecessor, once every source has published a set, or after `wait_s`."""
        await self._tasks.ready(self._entries, wait_s)
        self.board.rebuild()
        for uplink in self.uplinks.values():
            uplink.resume()

    async def keep_house(self, say_alive: Callable[[], None], pause_s: float) -> NoReturn:
        """Collect counters, remember requesters; `say_alive` unless frames wait on some uplink and none is taken."""
        clock = asyncio.get_running_loop().time
        remember_s = clock() + _REMEMBER_S
        while True:
            if clock() >= remember_s:
                self._remember()
                remember_s = clock() + _REMEMBER_S
            for uplink in self.uplinks.values():
                uplink.collect()
            if not any(uplink.stalled for uplink in self.uplinks.values()):
                say_alive()
            await beat(pause_s)

    def close(self) -> None:
        self._remember()
        for uplink in self.uplinks.values():
            uplink.close()

    # Sources

    def _task(self, entry: Entry) -> Task:
        """Return the task of a source, which is ready once it has published its first set."""

        def prepare(life: Life) -> Run:
            life.on_failure = partial(self.board.fail, entry)
            return partial(entry.source.run, lambda targets: self._admission.publish(entry, targets, life.ready.set))

        return Task(f"{entry.source.kind} {entry.source.name}", prepare)

    def _followed(self) -> list[int]:
        """Return the indexes of the links where `verify` may find hosts that `install_routes` gives a route."""
        if not self._admission.install_routes:
            return []
        return followed((entry.source.kind, entry.targets.downstream) for entry in self.board.entries)

    # Uplinks

    def links(self) -> list[Link]:
        """Return the links of the uplinks that exist."""
        return [uplink.link for uplink in self.uplinks.values() if uplink.link]

    def on_links(self, tell: Callable[[], None], life: Life) -> None:
        """Call `tell` each time after a link changed, until the end of `life`."""
        self._on_links.append(tell)
        life.at_end.callback(self._on_links.remove, tell)

    def set_links(self, links: Links) -> str:
        """Adapt to the links as they are now; return why one of them is to be tried again."""
        self._admission.follow_links(links)  # first: the uplinks need the tables that follow from it
        not_ready = ""  # the text only: a kept exception keeps its traceback and thereby open files
        for name, link in links.items():
            try:
                self.uplinks[name].follow_link(link)
            except LinkNotReady as error:
                not_ready = str(error)
        for tell in self._on_links:
            tell()
        return not_ready

    def _change_uplinks(self, config: Config, links: Links) -> dict[str, Uplink]:
        """Make the new uplinks, give the old ones their settings, return both; undo all of it on failure."""
        uplinks: dict[str, Uplink] = {}
        with contextlib.ExitStack() as undo:
            for interface in config.interfaces:
                settings = Settings(interface, config.limits, config.dry_run)
                if (uplink := self.uplinks.get(interface.name)) is not None:
                    undo.callback(uplink.configure, uplink.settings)
                    uplink.configure(settings)
                else:
                    uplink = self._new_uplink(settings)
                    undo.callback(uplink.close)
                    if interface.name in links:
                        with contextlib.suppress(LinkNotReady):  # the watcher will find it ready
                            uplink.follow_link(links[interface.name])
                uplinks[interface.name] = uplink
            undo.pop_all()
        return uplinks

    def _new_uplink(self, settings: Settings) -> Uplink:
        surroundings = Surroundings(
            self._handover,
            lambda: [link.index for link in self.links()],
            self._followed,
            self._unrouted_hosts,
            self._on_lost,
            partial(self.board.claimers, settings.interface.name),
        )
        uplink = Uplink(settings, self.logs, surroundings)
        if remembered := self._memories.pop(uplink.name, None):
            uplink.requesters.restore(remembered)
        return uplink

    def _ask_resident(self, uplink: str, target: bytes, lladdr: bytes) -> None:
        """Ask a neighbor on an uplink whether it still is there."""
        each = self.uplinks.get(uplink)
        if each is None or each.link is None or not each.ready or each.settings.dry_run:
            return
        source = best_source(each.link.sources, target) or min(each.link.sources, default=None)
        if source is not None:
            each.send_unasked([probe(each.link.lladdr, source, target, lladdr)])


def _inherit(gone: Mapping[Identity, Entry], new: Mapping[Identity, Entry]) -> None:
    """Let a source that has not published yet begin with the set of its predecessor about the same subject."""
    for identity, entry in new.items():
        if not entry.last_sync_s:
            for other, before in gone.items():
                if other.subject == identity.subject:
                    entry.targets |= before.targets
                    entry.withheld = before.withheld


def _say_removed(reasons: Collection[str]) -> None:
    for why in list(reasons)[:_REASONS_SHOWN]:
        get_logger().warning("a temporary prefix is no longer answered for: it could not be added now", why=why)
    if len(reasons) > _REASONS_SHOWN:
        get_logger().warning("more temporary prefixes likewise", count=len(reasons) - _REASONS_SHOWN)
