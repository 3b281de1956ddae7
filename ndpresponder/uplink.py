"""One uplink's life: its socket comes and goes with the link, its frames go through the responder, all is counted.

The frame path runs inside one event loop callback: no task, queue or await per frame, nothing logged unless
asked for, nothing that grows with what strangers send.
"""

import asyncio
import errno
import os
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address
from typing import Final

from ndpresponder.config import InterfaceConfig, LimitsConfig
from ndpresponder.errors import LinkNotReady, SourceUnavailable
from ndpresponder.limits import TokenBucket
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.packet_socket import PacketSocket, open_packet_socket
from ndpresponder.observe.logs import Logs, RateLimiter, get_logger
from ndpresponder.observe.tally import Tally
from ndpresponder.outcome import Kind, Outcome
from ndpresponder.presence import Presence
from ndpresponder.responder import Policy, Responder, UplinkState
from ndpresponder.targets.probe import Kept
from ndpresponder.targets.table import TargetTable
from ndpresponder.verification import Verification
from ndpresponder.wire.bpf import SOLICITATIONS
from ndpresponder.wire.layout import DESTINATION, ICMP_TYPE, NEIGHBOR_ADVERTISEMENT, SOURCE, TARGET
from ndpresponder.wire.solicitation import kind_of

MAX_GREETED: Final = 4096  # targets whose first answer is logged; a scan must neither grow memory nor flood the log
_GREETINGS_PER_BATCH: Final = 8  # under load the line may come later, the answer never
_GREETING_BURST: Final = 64
_GREETINGS_PER_S: Final = 1.0
_NOT_VERIFIED: Final = Outcome.NOT_VERIFIED
_ANSWERED: Final = (
    (Kind.MULTICAST, Outcome.ANSWERED_MULTICAST),
    (Kind.UNICAST, Outcome.ANSWERED_UNICAST),
    (Kind.DAD, Outcome.ANSWERED_DAD),
)


class Uplink:
    """Answers on one interface. Tell it what the kernel says (`follow`) and what is ours (`apply`)."""

    def __init__(
        self,
        config: InterfaceConfig,
        limits: LimitsConfig,
        logs: Logs,
        dry_run: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare an uplink that has no socket yet."""
        self.name = config.name
        self.tally = Tally()
        self.link: Link | None = None
        self._config = config
        self._logs = logs
        self._log = get_logger(interface=config.name)
        self._clock = clock
        self._limiter = RateLimiter()
        self._socket: PacketSocket | None = None
        self._greeted: set[bytes] = set()
        self._greetings = TokenBucket(_GREETINGS_PER_S, _GREETING_BURST, clock)
        self._warned: set[bytes] = set()
        self._missing = False
        self._verify = config.verify and not dry_run
        self._verification: Verification | None = None
        policy = Policy(config.router_flag, config.override, config.unicast, config.dad, dry_run)
        take = TokenBucket(limits.rate, limits.burst, clock).take if limits.rate else None
        self.responder = Responder(policy, take)
        self._presence: Presence | None = None
        if not dry_run:
            flags = self.responder.unsolicited_flags
            self._presence = Presence(config.announce, config.mld_source, self.send_unasked, flags, self._log)

    @property
    def ready(self) -> bool:
        """Whether solicitations are being answered."""
        return self.tally.up

    def apply(self, table: TargetTable) -> None:
        """Answer for the targets of `table` from the next frame on."""
        self.responder.table = table
        if self._presence is not None:
            # In a turn of its own: among thousands of targets this takes milliseconds, and solicitations wait
            asyncio.get_running_loop().call_soon(self._presence.apply, table)

    def follow(self, link: Link | None) -> None:
        """Adapt to what the kernel says of the link now.

        Raises:
            PermissionMissing, SystemRefused: as `open_packet_socket`.
        """
        if link is None or not link.ethernet:
            self._close()
            self._tell_missing(link)
            self.link = None
            return
        self._missing = False
        if self._socket is not None and self._socket.index != link.index:
            self._close()
        if self._socket is None and not self._open(link):
            return
        state = UplinkState(link.lladdr, link.addresses, link.gateways, link.forwarding)
        self.responder.follow(state if link.up else None)
        self.tally.up = link.up
        if self._presence is not None:
            self._presence.follow(link if link.up else None)
        self._tell(self.link, link)
        self._warn_of_gateways(link)
        self.link = link

    def close(self) -> None:
        """Stop answering."""
        self._close()

    def collect_drops(self) -> None:
        """Add what the kernel dropped since the last call to the tally."""
        if self._socket is None:
            return
        drops = self._socket.take_drops()
        self.tally.kernel_drops += drops
        if drops and (held_back := self._limiter.admit("drops", self._clock())) is not None:
            self._log.warning("the kernel dropped solicitations: the ring was full", drops=drops, suppressed=held_back)

    # The socket

    def _open(self, link: Link) -> bool:
        try:
            self._socket = open_packet_socket(link.device, link.index, SOLICITATIONS)
        except LinkNotReady as error:
            # The link changed since netlink described it, and netlink is about to say so
            self._log.debug("not ready", why=str(error))
            return False
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable)
        if self._verify:
            try:
                self._verification = Verification(link.index, self._finish, self._clock)
            except SourceUnavailable:
                self._close()
                raise
            self.responder.is_there = self._verification.verifier.is_there
        return True

    def _close(self) -> None:
        self.tally.up = False
        self.responder.follow(None)
        if self._presence is not None:
            self._presence.follow(None)
        if self._verification is not None:
            self._verification.close()
            self._verification = self.responder.is_there = None
        if self._socket is not None:
            self.collect_drops()
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    # Frames

    def _on_readable(self) -> None:
        socket = self._socket
        if socket is None:
            return
        oldest_s = socket.waiting_since()
        if oldest_s is None:
            self._take_error(socket)
            return
        self._answer(socket, socket.receive(), oldest_s)

    def _answer(self, socket: PacketSocket, frames: Iterable[Kept], oldest_s: float) -> None:
        tally, respond, debug, verification = self.tally, self.responder.respond, self._logs.debug, self._verification
        outcomes: list[Outcome] = []
        advertisements: list[bytes] = []
        for frame, to_other_host in frames:
            outcome, advertisement = respond(frame, to_other_host)
            if advertisement is not None:
                outcomes.append(outcome)
                advertisements.append(advertisement)
            elif outcome is _NOT_VERIFIED and verification and verification.verifier.keep(frame, to_other_host):
                continue  # it ends later, and is counted then
            else:
                tally.received[kind_of(frame)] += 1
                tally.ended[outcome] += 1
            if debug:
                self._log_frame(outcome, frame)
        if advertisements:
            for kind, answered in _ANSWERED:
                count = outcomes.count(answered)
                tally.received[kind] += count
                tally.ended[answered] += count
            if refused := socket.send(advertisements):
                self._count_refused(refused, outcomes)
            if len(refused) < len(advertisements):
                tally.last_answer_s = now_s = time.time()
                tally.durations.observe(max(0.0, now_s - oldest_s))
            if not refused and len(self._greeted) < MAX_GREETED:
                self._greet(advertisements[:_GREETINGS_PER_BATCH])

    def _finish(self, kept: list[Kept], since_s: float) -> None:
        """Answer, or not, what waited for its target to be verified since `since_s` of the clock."""
        if self._socket is not None:
            self._answer(self._socket, kept, time.time() - (self._clock() - since_s))

    def send_unasked(self, frames: list[bytes]) -> None:
        """Send what nobody solicited: announcements, solicitations of ours, reports."""
        socket, tally = self._socket, self.tally
        if socket is None:
            return
        for frame in frames:
            if error := socket.send_one(frame):
                self._say_refused(error)
            elif frame[ICMP_TYPE] == NEIGHBOR_ADVERTISEMENT:
                tally.unsolicited += 1

    def _take_error(self, socket: PacketSocket) -> None:
        """Clear what made an empty socket readable, or the loop would spin on it."""
        error = socket.take_error()
        if error not in (0, errno.ENETDOWN, errno.ENODEV):
            self._log.warning("the packet socket failed", error=os.strerror(error))

    def _count_refused(self, refused: list[tuple[int, int]], outcomes: list[Outcome]) -> None:
        ended = self.tally.ended
        for position, error in refused:
            ended[outcomes[position]] -= 1
            ended[Outcome.SEND_FAILED] += 1
            self._say_refused(error)

    def _say_refused(self, error: int) -> None:
        self.tally.send_errors[error] = self.tally.send_errors.get(error, 0) + 1
        if (held_back := self._limiter.admit(error, self._clock())) is not None:
            self._log.warning("the kernel refused to send", error=os.strerror(error), suppressed=held_back)

    def _greet(self, advertisements: list[bytes]) -> None:
        """Log the first answer for each target."""
        greeted = self._greeted
        for advertisement in advertisements:
            target = advertisement[TARGET]
            if target not in greeted and len(greeted) < MAX_GREETED and self._greetings.take():
                greeted.add(target)
                self._log.info(
                    "first answer for this target",
                    target=str(IPv6Address(target)),
                    destination=str(IPv6Address(advertisement[DESTINATION])),
                )

    def _log_frame(self, outcome: Outcome, frame: bytes) -> None:
        held_back = self._limiter.admit(outcome, self._clock())
        if held_back is None:
            return
        addresses = {
            name: str(IPv6Address(frame[place]))
            for name, place in (("source", SOURCE), ("destination", DESTINATION), ("target", TARGET))
            if len(frame) >= place.stop
        }
        event = "answered" if outcome.answered else "ignored"
        self._log.debug(event, reason=outcome.label, **addresses, suppressed=held_back)

    # What a person reads

    def _tell_missing(self, link: Link | None) -> None:
        if link is not None:
            self._log.error(
                "not an Ethernet interface: nobody solicits neighbors there", hardware_type=link.hardware_type
            )
        elif not self._missing:
            self._log.warning("waiting for the interface to appear")
        self._missing = link is None

    def _tell(self, before: Link | None, link: Link) -> None:
        facts = {"index": link.index, "lladdr": link.lladdr.hex(":"), "router": link.forwarding}
        if before is None or before.index != link.index:
            event = "answering" if link.up else "interface found, but it is down"
        elif before.up != link.up:
            event = "interface is up: answering" if link.up else "interface is down"
        elif (before.lladdr, before.forwarding) != (link.lladdr, link.forwarding):
            event = "interface changed"
        else:
            return
        self._log.info(event, **facts)

    def _warn_of_gateways(self, link: Link) -> None:
        for gateway in link.gateways | link.addresses:
            address = IPv6Address(gateway)
            prefix = next((prefix for prefix in self._config.prefixes if address in prefix), None)
            if prefix is None or gateway in self._warned:
                continue
            self._warned.add(gateway)
            self._log.warning(
                "the prefix covers an address that is not ours to answer for: it is excluded",
                prefix=str(prefix),
                target=str(address),
                owner="default gateway" if gateway in link.gateways else "this interface",
            )
