"""Log the life of one uplink: changes of state, first answers, and at level debug frames.

A requester can cause lines without end, so all of them are limited: so many a second, so many targets remembered.
"""

import time
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from ndpresponder.config import InterfaceConfig
from ndpresponder.linux.netlink import MAX_SERVED_GATEWAYS, Link
from ndpresponder.linux.suitability import deafness
from ndpresponder.observe.logs import RateLimiter, get_logger
from ndpresponder.outcome import Outcome
from ndpresponder.policy.table import Match, Prefix, TargetTable
from ndpresponder.policy.token_bucket import TokenBucket
from ndpresponder.wire.layout import DESTINATION, ETHERNET_SOURCE, SOURCE, TARGET

# Targets remembered as answered: a scan must neither grow memory nor flood the log. Of more, the one that was logged
# longest ago is forgotten, and few are logged
MAX_LOGGED_TARGETS: Final = 4096
_LINES_AT_ONCE: Final = 8  # under load the line may come later, the answer never
_LINES_PER_S, _LINES_BURST = 1.0, 64
_SELDOM_PER_S: Final = 1 / 60
_DEFENCE_INTERVAL_S: Final = 60.0  # between two lines of one host and one target
_DEFENCES_PER_S, _DEFENCE_BURST = 1.0, 16  # lines of all of them: a host can make up any number
_MAX_OVERLAPS: Final = 64  # a link has a handful of prefixes; router advertisements can make up any number


class UplinkLog:
    """The log of one uplink."""

    def __init__(self, config: InterfaceConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.logger = get_logger(interface=config.name)
        self.claimers: Callable[[Prefix], str] = lambda _: ""  # names the sources that claim a prefix
        self._prefixes = config.prefixes
        self._clock = clock
        self._limiter = RateLimiter()
        self._logged: dict[bytes, None] = {}  # targets, in the order in which they were logged
        self._first_lines = TokenBucket(_LINES_PER_S, _LINES_BURST, clock)
        self._seldom = TokenBucket(_SELDOM_PER_S, 1, clock)
        self._warned: set[bytes] = set()
        self._overlaps: set[tuple[int, int]] = set()
        self._defences = RateLimiter(_DEFENCE_INTERVAL_S)
        self._defence_lines = TokenBucket(_DEFENCES_PER_S, _DEFENCE_BURST, clock)
        self._unlogged_defences = 0
        self._lacking: tuple[int, int] | tuple[()] | None = None  # told of: no link, or one by index and hardware type
        self._too_many_gateways = False

    def configure(self, config: InterfaceConfig) -> None:
        """Warn of what the prefixes of `config` cover."""
        if config.prefixes != self._prefixes:
            self._prefixes = config.prefixes
            self._warned.clear()

    def missing(self, link: Link | None) -> None:
        """Tell, once, that there is no such link, or that it is of no use."""
        before, self._lacking = self._lacking, (link.index, link.hardware_type) if link else ()
        if self._lacking == before:
            return
        if link is None:
            self.logger.warning("waiting for the interface to appear")
        else:
            self.logger.error(
                "not an Ethernet interface: nobody solicits neighbors there", hardware_type=link.hardware_type
            )

    def follow_link(self, before: Link | None, link: Link) -> None:
        """Tell what changed about the link."""
        self._lacking = None
        facts = {"index": link.index, "lladdr": link.lladdr.hex(":"), "router": link.forwarding}
        if before is None or before.index != link.index:
            before = None
            found = "answering" if link.hears else "interface found, but nothing can be heard there"
            self.logger.info(found if link.up else "interface found, but it is down", **facts)
        elif before.up != link.up:
            up = "interface is up: answering" if link.hears else "interface is up"
            self.logger.info(up if link.up else "interface is down", **facts)
        elif (before.lladdr, before.forwarding) != (link.lladdr, link.forwarding):
            self.logger.info("interface changed", **facts)
        self._log_usability(before, link)
        if len(link.gateways) > MAX_SERVED_GATEWAYS and not self._too_many_gateways:
            self._too_many_gateways = True
            self.logger.warning(
                "more default gateways than are kept in touch with: does another host send router advertisements?",
                gateways=len(link.gateways),
                served=MAX_SERVED_GATEWAYS,
            )
        for address in link.never - self._warned:
            target = IPv6Address(address)
            if prefix := next((prefix for prefix in self._prefixes if target in prefix), None):
                owner = "this interface" if address in link.addresses else "the routers of this link (anycast)"
                self._warned.add(address)
                self.logger.warning(
                    "the prefix covers an address that is not ours to answer for: it is excluded",
                    prefix=str(prefix),
                    target=str(target),
                    owner="default gateway" if address in link.gateways else owner,
                )

    def _log_usability(self, before: Link | None, link: Link) -> None:
        """Tell when a link becomes deaf, or IPv6 is disabled there, and when that ends."""
        deaf, was_deaf = deafness(link), deafness(before) if before else ""
        if deaf and deaf != was_deaf:
            self.logger.warning("no solicitation can be heard here", why=deaf)
        elif was_deaf and not deaf:
            self.logger.info("solicitations can be heard again" + (": answering" if link.up else ""))
        if link.ipv6_disabled and not (before and before.ipv6_disabled):
            self.logger.warning(
                "IPv6 is disabled on the interface: the kernel forwards nothing from there",
                mend=f"sysctl net.ipv6.conf.{link.device}.disable_ipv6=0",
            )
        elif before and before.ipv6_disabled and not link.ipv6_disabled:
            self.logger.info("IPv6 is enabled on the interface again")

    @property
    def unfit(self) -> bool:
        """Whether there is such a link, and it is not Ethernet."""
        return bool(self._lacking)

    def overlap(self, table: TargetTable, link: Link) -> None:
        """Warn, once for each, of prefixes of the link itself that `table` claims: other hosts live there."""
        for value, length in sorted(link.subnets - self._overlaps, key=lambda each: each[1]):  # the widest first
            if len(self._overlaps) >= _MAX_OVERLAPS:
                return
            prefix = _claim_over(table, value, length)
            if prefix is not None:
                self._overlaps.add((value, length))
                self.logger.warning(
                    "a claimed prefix covers the uplink's own: other hosts of this link are answered for as well; "
                    "claim a narrower one, exclude them, or use --verify",
                    prefix=str(IPv6Network((prefix.value, prefix.length))),
                    on_link=str(IPv6Network((value, length))),
                    claimed_by=self.claimers(prefix),
                )

    def defended(self, frame: bytes) -> None:
        """Warn that another host was denied an address that it wanted to use, by the solicitation that asked for it."""
        host, target, now_s = frame[ETHERNET_SOURCE], frame[TARGET], self._clock()
        if self._defences.admit((host, target), now_s) is None or not self._defence_lines.take():
            self._unlogged_defences += 1
            return
        self.logger.warning(
            "another host wants an address of ours: it was told that the address is taken",
            target=str(IPv6Address(target)),
            lladdr=host.hex(":"),
            suppressed=self._unlogged_defences,
        )
        self._unlogged_defences = 0

    def first_answers(self, advertisements: list[bytes]) -> None:
        """Log the first answer for each target."""
        logged = self._logged
        full = len(logged) >= MAX_LOGGED_TARGETS
        for advertisement in advertisements[: 1 if full or len(advertisements) > _LINES_AT_ONCE else _LINES_AT_ONCE]:
            target = advertisement[TARGET]
            if target not in logged and (self._seldom if full else self._first_lines).take():
                if full:
                    del logged[next(iter(logged))]
                logged[target] = None
                self.logger.info(
                    "first answer for this target",
                    target=str(IPv6Address(target)),
                    destination=str(IPv6Address(advertisement[DESTINATION])),
                )

    def frame(self, outcome: Outcome, frame: bytes) -> None:
        """Log one frame, at most one of each outcome a second."""
        held_back = self._limiter.admit(outcome, self._clock())
        if held_back is None:
            return
        addresses = {
            name: str(IPv6Address(frame[place]))
            for name, place in (("source", SOURCE), ("destination", DESTINATION), ("target", TARGET))
            if len(frame) >= place.stop
        }
        event = "answered" if outcome.answered else "ignored"
        self.logger.debug(event, reason=outcome.label, **addresses, suppressed=held_back)

    def limited(self, event: str, **facts: object) -> None:
        """Warn, at most once a second for each event and its facts' text."""
        if (held_back := self._limiter.admit((event, facts.get("error")), self._clock())) is not None:
            self.logger.warning(event, **facts, suppressed=held_back)


def _claim_over(table: TargetTable, value: int, length: int) -> Prefix | None:
    """Return the claimed prefix, if any, that holds all of the one with this value and length."""
    inside = value | 1 << 127 - length  # an address that is neither the first, which is excluded anyway, nor likely
    if table.match(inside.to_bytes(16, "big"), inside) is not Match.CLAIMED:
        return None
    for shift, networks in table.claims():
        if shift >= 128 - length and value >> shift in networks:
            return Prefix(value >> shift << shift, 128 - shift)
    return None
