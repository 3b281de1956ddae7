"""Pins each default gateway of an uplink to its link-layer address: a permanent neighbor entry in the kernel.

The stronger alternative to the keep-alive, for CAP_NET_ADMIN. The kernel learns nothing about a permanent entry, so
the gateway's station is probed here again and again, and its answers are heard on a small socket of their own. Only
when it has answered none of its probes (7.3.3) is the gateway sought elsewhere. An entry that somebody else made
permanent is left alone; ours become ordinary entries again at the end.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from ipaddress import IPv6Address
from typing import Final

from ndpresponder.errors import PermissionMissing, SourceUnavailable
from ndpresponder.linux.loop import watch
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.netlink.own_entries import find_pin, pin, require_net_admin, unpin
from ndpresponder.linux.packet.listener import Listener
from ndpresponder.observe.logs import Logger
from ndpresponder.wire.addresses import best_source
from ndpresponder.wire.advertisement import Received, read_advertisement
from ndpresponder.wire.filters import advertisements_by, advertisements_of
from ndpresponder.wire.solicitation import probe, solicit

_SEEKING_S: Final = 1.0  # between solicitations while a gateway is not pinned, or somebody else claims to be it
_HOLDING_S: Final = 3.0  # and while all is well
_SETTLE_S: Final = 0.1  # for other answers to the same solicitation
_PROBES: Final = 3  # MAX_UNICAST_SOLICIT, RFC 4861 10: so many go unanswered before a pin may move
# Of one solicitation: stations that answer for one gateway, and frames on one socket. Who answers most comes last, and
# the pinned station is heard on a socket of its own
_MAX_ANSWERS: Final = 64
_MAX_HEARD: Final = 512

_Listening = tuple[str, int, frozenset[bytes], frozenset[tuple[bytes, bytes]]]  # device, index, gateways, stations


class GatewayPin:
    """The pinned gateways of one uplink, of those that are served."""

    def __init__(
        self,
        link: Callable[[], Link | None],
        send: Callable[[list[bytes]], None],
        log: Logger,
        confirmed: Callable[[bytes], Collection[bytes]] = lambda _: (),
    ) -> None:
        """Solicit with `send` while `link` returns an uplink that is up; `confirmed` returns a gateway's stations."""
        self._link = link
        self._send = send
        self._log = log
        self._confirmed = confirmed
        self._ears: list[Listener] = []
        self._deaf: set[Listener] = set()  # of these, those that heard enough
        self._heard: dict[Listener, int] = {}
        self._listening: _Listening | None = None
        self._answers: dict[bytes, dict[bytes, int]] = {}  # gateway -> who answered the last solicitation, how often
        self._unanswered: dict[tuple[int, bytes], int] = {}  # index, gateway -> probes since its station answered
        self._lost: set[tuple[int, bytes]] = set()  # those whose station has not answered any of its probes
        self._pinned: dict[tuple[int, bytes], bytes] = {}  # index, gateway -> link-layer address
        self._foreign: set[tuple[int, bytes]] = set()  # somebody else's permanent entries that were told of
        self._suspicious = False
        self._news = asyncio.Event()

    def ring(self) -> None:
        """Look again: the link changed."""
        self._news.set()

    async def run(self) -> None:
        """Keep the gateways pinned until cancelled.

        Raises:
            PermissionMissing: CAP_NET_ADMIN is missing.
            LinkNotReady, SourceUnavailable: run again.
        """
        await require_net_admin("pin_gateway")
        loop = asyncio.get_running_loop()
        solicited_s = -_HOLDING_S
        pause_s = 0.0
        try:
            while True:
                self._news.clear()
                link = self._link()
                self._listen(link)
                if link is None:
                    pause_s = _HOLDING_S
                else:
                    if loop.time() >= solicited_s + pause_s:
                        self._solicit(link)
                        solicited_s = loop.time()
                    pause_s = _HOLDING_S if await self._hold(link) and not self._suspicious else _SEEKING_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(solicited_s + pause_s if link else loop.time() + pause_s):
                        await self._news.wait()
                await asyncio.sleep(_SETTLE_S)
        finally:
            self._listen(None)

    async def release(self) -> None:
        """Give all gateways back to the kernel."""
        try:
            await self._drop(keep=set())
        except (SourceUnavailable, PermissionMissing) as error:
            self._log.warning("a permanent neighbor entry of the gateway may be left", why=str(error))

    # Asking and hearing

    def _solicit(self, link: Link) -> None:
        """Probe the stations of gateways that are pinned, and seek the others, or those whose station is lost."""
        self._answers.clear()
        self._suspicious = False
        frames = []
        for gateway in link.served_gateways:
            if (source := best_source(link.sources, gateway)) is None:
                continue
            key = (link.index, gateway)
            station, unanswered = self._pinned.get(key), self._unanswered.get(key, 0)
            if station is not None:
                frames.append(probe(link.lladdr, source, gateway, station))
                self._unanswered[key] = min(unanswered + 1, _PROBES)
            if unanswered >= _PROBES:  # 7.3.3: and the last one a while ago
                self._lost.add(key)
            if station is None or key in self._lost:
                frames.append(solicit(link.lladdr, source, gateway))
        self._send(frames)
        for ear in self._deaf:
            watch(ear, self._on_readable, ear)
        self._deaf.clear()
        self._heard.clear()

    def _listen(self, link: Link | None) -> None:
        """Listen to the gateways of `link`; to their pinned stations apart, so that nobody crowds them out."""
        wanted = None
        if link and link.gateways:
            stations = {gateway: station for (index, gateway), station in self._pinned.items() if index == link.index}
            wanted = (link.device, link.index, frozenset(link.served_gateways), frozenset(stations.items()))
        if wanted == self._listening and all(ear.bound for ear in self._ears):
            return
        loop = asyncio.get_running_loop()
        for ear in self._ears:
            loop.remove_reader(ear)
            ear.close()
        self._ears.clear()
        self._deaf.clear()
        self._heard.clear()
        self._listening = None
        if wanted is not None:
            device, _, gateways, pinned = wanted
            self._hear(Listener(device, advertisements_of(gateways)))
            if pinned:
                self._hear(Listener(device, advertisements_by(pinned)))
            self._listening = wanted

    def _hear(self, ear: Listener) -> None:
        self._ears.append(ear)
        watch(ear, self._on_readable, ear)

    def _on_readable(self, ear: Listener) -> None:
        link, frames = self._link(), ear.receive()
        for frame in frames:
            heard = read_advertisement(frame)
            if heard is not None and link is not None:
                self._take(heard, link)
        self._heard[ear] = self._heard.get(ear, 0) + len(frames)
        if self._heard[ear] >= _MAX_HEARD:  # somebody floods: no more until the next solicitation
            asyncio.get_running_loop().remove_reader(ear)
            self._deaf.add(ear)

    def _take(self, heard: Received, link: Link) -> None:
        if heard.target not in link.gateways or heard.lladdr == link.lladdr:
            return
        key = (link.index, heard.target)
        differs = heard.lladdr != self._pinned.get(key)
        if heard.solicited and heard.destination in link.addresses:
            if not differs and self._unanswered.pop(key, 0):
                self._lost.discard(key)
                self._news.set()
            answers = self._answers.setdefault(heard.target, {})
            if heard.lladdr in answers or len(answers) < _MAX_ANSWERS:
                answers[heard.lladdr] = answers.get(heard.lladdr, 0) + 1
        elif differs:  # said unasked: a reason to ask, but not an answer
            self._suspicious = True
        if differs:
            self._news.set()

    # The kernel's entries

    async def _hold(self, link: Link) -> bool:
        """Pin those gateways that answered; return whether each is pinned."""
        gateways = link.served_gateways
        keep = {(link.index, gateway) for gateway in gateways}
        self._foreign &= keep
        await self._drop(keep)
        return all([await self._hold_one(link.index, gateway) for gateway in gateways])

    async def _hold_one(self, index: int, gateway: bytes) -> bool:
        key = (index, gateway)
        found = await find_pin(index, gateway)
        if found is not None and not found.ours:
            if key not in self._foreign:
                self._foreign.add(key)
                self._log.info("the gateway is pinned by somebody else already", gateway=str(IPv6Address(gateway)))
            return True
        answers = self._answers.get(gateway, {})
        before = found.lladdr if found is not None else None
        if before is not None:
            self._pinned[key] = before
            if key not in self._lost or before in answers:
                return not self._unanswered.get(key)
        else:
            self._pinned.pop(key, None)
        if not answers:
            return False
        # A station that answers once to each solicitation is more likely to be it than one that floods
        confirmed = self._confirmed(gateway)
        station = min(answers, key=lambda each: (each not in confirmed, answers[each]))
        self._pinned[key] = station  # before the kernel has it: a task cancelled meanwhile must still release it
        if not await pin(index, gateway, station):
            del self._pinned[key]
            return False
        self._lost.discard(key)
        self._unanswered.pop(key, None)
        told = {"gateway": str(IPv6Address(gateway)), "lladdr": station.hex(":")}
        if before is None:
            self._log.info("gateway pinned", **told)
        else:
            self._log.warning("the pin of a gateway moved: its station answers no more", **told, before=before.hex(":"))
        return True

    async def _drop(self, keep: set[tuple[int, bytes]]) -> None:
        for index, gateway in sorted(self._pinned.keys() - keep):
            await unpin(index, gateway)
            del self._pinned[index, gateway]
            self._unanswered.pop((index, gateway), None)
            self._lost.discard((index, gateway))
