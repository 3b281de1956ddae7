"""Tell neighbors that claimed targets have moved: with this uplink's link-layer address, to this host, or away from it.

Who is there in a claimed prefix nobody knows, so only targets that were answered lately are spoken of, and those that
are solicited next. None of it makes an entry in a neighbor's table: an unsolicited advertisement changes one that is
there (RFC 4861 7.2.5). It must never take a target from a host on the link that owns it, unless that was asked for.

- Another link-layer address: what was answered lately is announced, once nobody else has claimed it as his own.
- A prefix taken over: what is solicited in it is announced for a while, and a narrow prefix as a whole and at once.
- A prefix given up: what was answered lately is solicited, so that the host that took it over announces it.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Final

from ndpresponder.linux.loop import Timer
from ndpresponder.linux.netlink import Link
from ndpresponder.observe.uplink_part import UplinkContext, UplinkPart
from ndpresponder.policy.requester import UplinkState
from ndpresponder.policy.responder import Responder
from ndpresponder.policy.table import EMPTY, Match, TargetTable
from ndpresponder.unsolicited.announcements import Announcer, announcement
from ndpresponder.unsolicited.owner_search import OwnerSearch
from ndpresponder.unsolicited.recent_answers import MAX_TARGETS, RecentAnswers
from ndpresponder.wire.layout import TARGET

EXPECT_S: Final = 120.0  # so long after a prefix was taken over, what is solicited in it is announced
MAX_EXPECTED: Final = 1024  # prefixes; more are taken over without a word
MAX_WHOLE: Final = 1024  # addresses of a prefix that is announced as a whole: one second's announcements
MAX_PLANNED: Final = 4096  # announcements; what is solicited in a prefix that was taken over could be any number
# Four times what live targets get: each is one small frame and makes no entry in any table
TARGETS_PER_S: Final = 1000
_ROUNDS_S: Final = (0.0, 1.0, 2.0, 4.0, 8.0)  # pauses before each time that a target which was given up is asked for
LLADDR: Final = 6  # octets
_ROW: Final = Struct(f"{LLADDR}s16s")
_LAST: Final = 256  # targets that are asked for, all at once, by a daemon that ends


class MovedTargets(UplinkPart):
    """What one uplink says of claimed targets that moved."""

    def __init__(self, context: UplinkContext, responder: Responder) -> None:
        """Say what `responder` would answer."""
        self._send = send = context.send
        self._responder = responder
        self._log = context.log.logger
        self.recent = RecentAnswers()
        self.elsewhere: Callable[[], list[bytes]] = list  # returns what was answered without us, the latest first
        self.on_expecting: Callable[[], None] = lambda: None  # called when `expecting` changes
        self._silent = True
        self._speaks = self._takes_over = False
        self._link: Link | None = None
        self._lladdr = b""  # that was advertised of late
        self._table = EMPTY
        self._announcer = Announcer(context.clock, TARGETS_PER_S)
        self._next = Timer(self._announce_now)
        # Bits to shift away -> network -> what will end it
        self._expected: dict[int, dict[int, asyncio.TimerHandle]] = {}
        self._said: set[bytes] = set()  # of the targets in those
        self._owners = OwnerSearch(send)
        self._successors = OwnerSearch(send)

    def configure(self, silent: bool, speaks: bool, takes_over: bool) -> None:
        """Say nothing at all when `silent`, and no more than is asked for unless it `speaks`.

        When it `takes_over`, that is each claimed prefix that a table has and the one before had not.
        """
        self._silent, self._speaks, self._takes_over = silent, speaks and not silent, takes_over

    @property
    def expecting(self) -> bool:
        """Whether answers are being waited for, so that somebody must see all of them."""
        return bool(self._expected)

    def note(self, advertisements: Sequence[bytes], now_s: float) -> None:
        """Take a batch of advertisements that were sent at `now_s`."""
        self.recent.note(advertisements, now_s)
        if self._expected:
            self._announce_expected(advertisement[TARGET] for advertisement in advertisements)

    def lately(self, most: int = MAX_TARGETS) -> list[bytes]:
        """Return what was answered lately, here and elsewhere in turn, the latest first."""
        both = itertools.zip_longest(self.recent.targets(most), self.elsewhere())
        distinct = dict.fromkeys(target for pair in both for target in pair if target is not None)
        return list(itertools.islice(distinct, most))

    def follow_link(self, link: Link, state: UplinkState | None) -> None:
        """Adapt to the link as it is now; say nothing while it is down."""
        if state is None:
            self.lose_link()
            return
        self._link = link
        before, self._lladdr = self._lladdr, link.lladdr
        if before not in (b"", link.lladdr) and self._speaks:
            self._announcer.stop()
            targets = [target for target in self.lately() if self._is_claimed(self._table, target)]
            if targets:
                self._log.info("telling neighbors of the link-layer address that changed", targets=len(targets))
                self._owners.begin(link, targets, (0.0,), self._announce)
        self._announce_now()

    def lose_link(self) -> None:
        """Say nothing until there is a link again."""
        self._link = None
        self._owners.close()
        self._successors.close()

    def set_table(self, table: TargetTable) -> None:
        """Go by the targets of `table`."""
        before, self._table = self._table, table
        if before.claims() == table.claims():
            return
        had = dict(before.claims())
        if self._takes_over:
            for shift, networks in table.claims():
                for network in networks - had.get(shift, frozenset()):
                    self.take_over(network, shift)
        if self._link is not None and self._speaks:
            gone = [
                target
                for target in self.lately()
                if self._is_claimed(before, target) and _match(table, target) is Match.NOT_OURS
            ]
            if gone:
                self._successors.begin(self._link, gone, _ROUNDS_S)

    def take_over(self, network: int, shift: int) -> None:
        """Announce what is solicited next in a prefix, and a narrow one as a whole."""
        if self._silent or sum(map(len, self._expected.values())) >= MAX_EXPECTED:
            return
        begins = not self._expected
        networks = self._expected.setdefault(shift, {})
        if network in networks:
            networks[network].cancel()
        networks[network] = asyncio.get_running_loop().call_later(EXPECT_S, self._expect_no_more, network, shift)
        if begins:
            self.on_expecting()
        if 1 << shift <= MAX_WHOLE:
            first = network << shift
            self._announce(value.to_bytes(16, "big") for value in range(first, first + (1 << shift)))

    def to_keep(self) -> bytes:
        """Return what a successor `inherit`s: the link-layer address, then each requester's with one of its targets."""
        elsewhere = [(bytes(LLADDR), target) for target in reversed(self.elsewhere()[:MAX_TARGETS])]
        return self._lladdr.ljust(LLADDR, b"\0") + b"".join(map(b"".join, (*elsewhere, *self.recent.rows())))

    def inherit(self, kept: bytes) -> None:
        """Remember what a predecessor answered, from what it kept: nothing if that is something else."""
        rows = kept[LLADDR:]
        if kept and len(rows) % _ROW.size == 0 and not self._lladdr:
            self._lladdr = kept[:LLADDR] if any(kept[:LLADDR]) else b""
            self.recent.restore(_ROW.iter_unpack(rows))

    def say_farewell(self) -> None:
        """Ask for what was answered lately: a host that took over announces it."""
        if self._link is not None and self._speaks:
            targets = [target for target in self.lately(_LAST) if self._is_claimed(self._table, target)]
            self._successors.ask(self._link, targets)

    def close(self) -> None:
        """Fall silent for good."""
        self.lose_link()
        self._next.cancel()
        for networks in self._expected.values():
            for ends in networks.values():
                ends.cancel()

    def _is_claimed(self, table: TargetTable, target: bytes) -> bool:
        return _match(table, target) is Match.CLAIMED and target not in self._responder.never

    # Prefixes taken over

    def _announce_expected(self, targets: Iterable[bytes]) -> None:
        for target in targets:
            if target in self._said:
                continue
            value = int.from_bytes(target, "big")
            expected = any(value >> shift in networks for shift, networks in self._expected.items())
            if expected and len(self._said) < MAX_PLANNED:
                self._said.add(target)
                self._announce((target,))

    def _expect_no_more(self, network: int, shift: int) -> None:
        del self._expected[shift][network]
        if not self._expected[shift]:
            del self._expected[shift]
        if not self._expected:
            self._said.clear()
            self.on_expecting()

    # Announcements

    def _announce(self, targets: Iterable[bytes]) -> None:
        self._announcer.add(targets, MAX_PLANNED)
        self._announce_now()

    def _announce_now(self) -> None:
        if (link := self._link) is None or self._silent:
            return
        frames = [
            frame
            for target in self._announcer.due()
            if self._is_claimed(self._table, target)
            for frame in announcement(link.lladdr, target, self._responder.unsolicited_flags(), ())
        ]
        if (wait_s := self._announcer.wait_s()) is not None:
            self._next.within(wait_s)
        if frames:  # last, so that whatever this ends in does not end the rest
            self._send(frames)


def _match(table: TargetTable, target: bytes) -> Match:
    return table.match(target, int.from_bytes(target, "big"))
