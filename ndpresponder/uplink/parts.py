"""The settings of an uplink, what it is given of the daemon, and the parts beside its frames that follow from both."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ndpresponder.config import InterfaceConfig, LimitsConfig
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.netlink.resolver import Resolver
from ndpresponder.linux.packet.handover import Handover
from ndpresponder.observe.uplink_part import UplinkPart
from ndpresponder.policy.requester import Policy
from ndpresponder.policy.table import Prefix
from ndpresponder.targets.sources.unrouted_hosts import UnroutedHosts
from ndpresponder.targets.verify import Verifier
from ndpresponder.uplink.frames import Frames

VERIFICATION: Final = "verification"
FASTPATH: Final = "fast path"
UNSOLICITED: Final = "unsolicited"


class Settings(NamedTuple):
    """The settings of one uplink."""

    interface: InterfaceConfig
    limits: LimitsConfig
    dry_run: bool = False

    @property
    def policy(self) -> Policy:
        """What the responder goes by."""
        each = self.interface
        return Policy(each.router_flag, each.override, each.unicast, each.dad, self.dry_run)

    @property
    def verify(self) -> bool:
        """Whether claimed targets are looked for first."""
        return self.interface.verify and not self.dry_run

    def parts(self) -> dict[str, tuple[object, ...]]:
        """Return the names of the parts that they ask for, and the settings that each part depends on."""
        each, found = self.interface, dict[str, tuple[object, ...]]()
        if self.verify:
            found[VERIFICATION] = ()
        if each.fastpath != "off":
            found[FASTPATH] = each.fastpath, self.verify, self.policy, self.limits
        if not self.dry_run:
            found[UNSOLICITED] = each.announce, each.mld_source, each.mld_router
        return found


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an uplink is given of the daemon and of the other uplinks."""

    handover: Handover
    indexes: Callable[[], Collection[int]] = tuple  # of the links of all uplinks: no target is behind one
    followed: Callable[[], Collection[int]] = tuple  # indexes of links on which hosts without a route are found
    unrouted_hosts: UnroutedHosts = field(default_factory=UnroutedHosts)  # takes those hosts
    on_lost: Callable[[], None] = lambda: None  # called when the link went from under the socket
    claimers: Callable[[Prefix], str] = lambda _: ""  # returns the sources of a claimed prefix


class Verification(UplinkPart):
    """The verification of claimed targets, while there is a link."""

    def __init__(self, frames: Frames, surroundings: Surroundings) -> None:
        self._frames = frames
        self._surroundings = surroundings

    def open(self, link: Link) -> None:
        frames, around = self._frames, self._surroundings
        resolver = Resolver(lambda: {link.index, *around.indexes()}, link.index, around.followed)
        call_later, clock = asyncio.get_running_loop().call_later, frames.context.clock
        verifier = Verifier(resolver, frames.finish, call_later, clock, around.unrouted_hosts)
        frames.verifier, frames.responder.is_there = verifier, verifier.is_there
        verifier.open()

    def close(self) -> None:
        frames = self._frames
        if frames.verifier is not None:
            frames.verifier.close()
            frames.verifier = frames.responder.is_there = None
