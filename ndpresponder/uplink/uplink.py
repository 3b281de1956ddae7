"""One uplink's life: its socket opens and closes with the link, its frames are answered, its parts follow."""

import time
from collections.abc import Callable

from ndpresponder.errors import LinkNotReady, SourceUnavailable
from ndpresponder.linux.netlink import Link
from ndpresponder.observe.logs import Logs
from ndpresponder.observe.uplink_log import UplinkLog
from ndpresponder.policy.requester import UplinkState
from ndpresponder.policy.table import Match, TargetTable
from ndpresponder.uplink.frames import Frames
from ndpresponder.uplink.parts import Parts, Settings, Surroundings
from ndpresponder.uplink.stall import TOLERATED_S


class Uplink:
    """Answers on one interface. Tell it what the kernel says (`follow_link`) and what is ours (`set_table`)."""

    def __init__(
        self, settings: Settings, logs: Logs, surroundings: Surroundings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare an uplink that has no socket yet; one from a predecessor is read only once `resume` is called."""
        self.name = settings.interface.name
        self.link: Link | None = None
        self.log = UplinkLog(settings.interface, clock)
        self.log.claimers = surroundings.claimers
        self._frames = Frames(self.log, logs, surroundings.handover, clock)
        self._frames.on_lost = surroundings.on_lost
        self.tally = self._frames.tally
        self.responder = self._frames.responder
        self.requesters = self._frames.requesters
        self.send_unasked = self._frames.send_unasked
        self._parts = Parts(settings, self._frames, surroundings)
        self.moved_targets = self._parts.moved

    @property
    def settings(self) -> Settings:
        """What it goes by."""
        return self._parts.settings

    def configure(self, settings: Settings) -> None:
        """Change the settings, from the next frame on; what does not differ goes on as it is.

        Raises:
            SourceUnavailable, PermissionMissing, SystemRefused: the system refuses what they need; nothing was changed.
        """
        if settings != self.settings:
            self._parts.configure(settings)
            self.log.configure(settings.interface)

    @property
    def ready(self) -> bool:
        """Whether solicitations are being answered."""
        return self.tally.up and not self.stalled

    @property
    def stalled(self) -> bool:
        """Whether frames wait and none is taken, as of the last `collect`."""
        return self.tally.stalled_s > TOLERATED_S

    async def settle(self) -> None:
        """Wait until all that is counted is counted where it is for good; at once while nothing is answered here."""
        if self.tally.up:
            await self._frames.counting.settled.wait()

    @property
    def gateways(self) -> frozenset[bytes]:
        """Every default gateway that was ever seen here."""
        return frozenset(self.requesters.gateways.seen_s)

    def knows(self, target: bytes) -> bool | None:
        """Tell whether a target was verified of late; None where nothing is verified."""
        verifier = self._frames.verifier
        return verifier.knows(target) if verifier else None

    def is_ours(self, target: bytes) -> bool:
        """Tell whether a target is answered for, by what the sources say."""
        return self.responder.table.match(target, int.from_bytes(target, "big")) in (Match.CLAIMED, Match.LIVE)

    def set_table(self, table: TargetTable) -> None:
        """Answer for the targets of `table` from the next frame on."""
        self.responder.table = table
        self._frames.counting.set_table(table)
        self._parts.set_table(table)

    def follow_link(self, link: Link | None) -> None:
        """Adapt to what the kernel says of the link now.

        Raises:
            LinkNotReady: it changed since; try again.
            PermissionMissing, SystemRefused: as `open_packet_socket`.
        """
        if link is None or not link.ethernet:
            self._close()
            self._parts.check()
            self.log.missing(link)
            self.link = None
            return
        socket = self._frames.socket
        if socket is not None and (socket.index != link.index or not socket.bound):
            self._close()
        if self._frames.socket is None:
            self._open(link)
        link = self.requesters.follow_link(link)
        now = UplinkState(link.lladdr, link.addresses, self.gateways, link.forwarding, link.anycast, link.index)
        state = now if link.up else None
        self._frames.set_state(state)
        self.tally.up = link.up and link.hears
        self._parts.follow_link(link, state)
        self.log.follow_link(self.link, link)
        self.link = link

    def resume(self) -> None:
        """Read a socket that was taken over: all that is ours is known."""
        self._frames.resume()

    def collect(self) -> None:
        """Add what the kernel counted, dropped and answered by itself since the last call to the tally."""
        self._parts.collect()
        self._frames.collect()

    def close(self) -> None:
        """Stop answering."""
        self._parts.say_farewell()
        self._close()
        self._parts.close()

    def _open(self, link: Link) -> None:
        try:
            self._frames.open(link)
            self._parts.open(link)
        except (LinkNotReady, SourceUnavailable):
            self._close()
            raise

    def _close(self) -> None:
        self.tally.up = False
        self._frames.set_state(None)
        self._parts.lose_link()
        self._frames.close()
