"""What may be made known outside, wired to the daemon: which uplinks there are, how neighbors are asked, what is said.

It decides nothing: `targets.admission` and `targets.scope` say what counts.
"""

import asyncio
from collections.abc import Mapping

from ndpresponder.config import Config
from ndpresponder.linux.netlink import Links
from ndpresponder.observe.logs import get_logger
from ndpresponder.targets.address_conflicts import AddressConflicts
from ndpresponder.targets.admission import Admission
from ndpresponder.targets.board import TargetBoard
from ndpresponder.targets.source import Source
from ndpresponder.targets.sources import Identity
from ndpresponder.targets.sources.unrouted_hosts import UnroutedHosts, followed
from ndpresponder.targets.uncounted_log import UncountedLog
from ndpresponder.uplink.uplink import Uplink
from ndpresponder.wire.addresses import best_source
from ndpresponder.wire.solicitation import probe


class Belonging:
    """The admission of what sources find, and the hosts that `verify` found."""

    def __init__(self, board: TargetBoard, uplinks: Mapping[str, Uplink]) -> None:
        """Serve `uplinks`, by the tables of `board`."""
        loop = asyncio.get_running_loop()
        self._board = board
        self._uplinks = uplinks
        UncountedLog(board, get_logger().warning)
        self.admission = Admission(board, AddressConflicts(self._ask_resident, loop.call_later, loop.time))
        self.unrouted_hosts = UnroutedHosts(loop.time)

    def prepare(self, config: Config, links: Links) -> dict[Identity, Source]:
        """Go by `config`, and by `links` as far as they are known; return what else it follows."""
        self.admission.install_routes = config.install_routes
        if links:
            self.admission.follow_links({name: uplink.link for name, uplink in self._uplinks.items()} | dict(links))
        if config.install_routes and any(each.verify for each in config.interfaces):
            return {Identity(("verify",)): self.unrouted_hosts}
        return {}

    def followed(self) -> list[int]:
        """Return the indexes of the links where `verify` may find hosts that lack a route: none if they get none."""
        if not self.admission.install_routes:
            return []
        return followed((entry.source.kind, entry.targets.downstream) for entry in self._board.entries)

    def _ask_resident(self, uplink: str, target: bytes, lladdr: bytes) -> None:
        """Ask a neighbor on an uplink whether it still is there."""
        each = self._uplinks.get(uplink)
        if each is None or each.link is None or not each.ready or each.settings.dry_run:
            return
        source = best_source(each.link.sources, target) or min(each.link.sources, default=None)
        if source is not None:
            each.send_unasked([probe(each.link.lladdr, source, target, lladdr)])
