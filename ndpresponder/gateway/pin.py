"""Pins each default gateway of an uplink to its link-layer address: a permanent neighbor entry in the kernel.

The stronger alternative to the keep-alive, for CAP_NET_ADMIN. The kernel learns nothing about a permanent entry, so
the gateway is probed here again and again at that address, and its answers are heard on a small socket of their own.
Only when it has answered none of its probes (7.3.3) is the gateway sought elsewhere. An entry that somebody else made
permanent is left alone; ours become ordinary entries again at the end.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Final

from ndpresponder.errors import PermissionMissing, SourceUnavailable
from ndpresponder.linux.loop import wait, watch
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.netlink.own_entries import find_pin, pin, require_net_admin, unpin
from ndpresponder.linux.packet.listener import Listener
from ndpresponder.observe.logs import Logger
from ndpresponder.wire.addresses import best_source
from ndpresponder.wire.advertisement import Received, read_advertisement
from ndpresponder.wire.classic_bpf import Program
from ndpresponder.wire.filters import advertisements_by, advertisements_of
from ndpresponder.wire.solicitation import probe, solicit

_SEEKING_S: Final = 1.0  # between solicitations while a gateway is not pinned, or somebody else claims to be it
_HOLDING_S: Final = 3.0  # and while all is well
_SETTLE_S: Final = 0.1  # for other answers to the same solicitation
_PROBES: Final = 3  # MAX_UNICAST_SOLICIT, RFC 4861 10: so many go unanswered before a pin may move
# Of one solicitation: link-layer addresses that answer for one gateway, and frames on one socket. A host that answers
# most comes last, and the pinned one is heard on a socket of its own
_MAX_ANSWERS: Final = 64
_MAX_HEARD: Final = 512

_Key = tuple[int, bytes]  # index of a link, gateway


@dataclass(slots=True)
class _Gateway:
    lladdr: bytes = b""  # that it is pinned to, if it is
    unanswered: int = 0  # probes since an answer came from there; beyond `_PROBES` it is lost
    answers: dict[bytes, int] = field(default_factory=dict)  # to the last solicitation: link-layer address, how often
    foreign: bool = False  # somebody else made its entry permanent, and the log said so


class GatewayPin:
    """The pinned gateways of one uplink, of those that are served."""

    def __init__(
        self,
        link: Callable[[], Link | None],
        send: Callable[[list[bytes]], None],
        log: Logger,
        confirmed: Callable[[bytes], Collection[bytes]] = lambda _: (),
    ) -> None:
        """Solicit with `send` while `link` returns an uplink; `confirmed` returns a gateway's confirmed lladdrs."""
        self._link = link
        self._send = send
        self._log = log
        self._confirmed = confirmed
        self._ears: dict[Listener, int] = {}  # frames heard since the last solicitation
        self._listening: tuple[str, int, Program, Program] | None = None  # device, index, what the ears take
        self._gateways: defaultdict[_Key, _Gateway] = defaultdict(_Gateway)
        self._suspicious = False
        self._news = asyncio.Event()
        self.ring = self._news.set  # the link changed: look again

    async def run(self) -> None:
        """Keep the gateways pinned until cancelled.

        Raises:
            PermissionMissing: CAP_NET_ADMIN is missing.
            LinkNotReady, SourceUnavailable: run again.
        """
        await require_net_admin("pin_gateway")
        loop = asyncio.get_running_loop()
        solicited_s, pause_s = -_HOLDING_S, 0.0
        try:
            while True:
                self._news.clear()
                link = self._link()
                self._listen(link)
                if link is not None:
                    if loop.time() >= solicited_s + pause_s:
                        self._solicit(link)
                        solicited_s = loop.time()
                    pause_s = _HOLDING_S if await self._hold(link) and not self._suspicious else _SEEKING_S
                await wait(self._news, solicited_s + pause_s - loop.time() if link else _HOLDING_S)
                await asyncio.sleep(_SETTLE_S)
        finally:
            self._listen(None)

    async def release(self) -> None:
        """Give all gateways back to the kernel."""
        try:
            await self._drop(self._gateways.keys())
        except (SourceUnavailable, PermissionMissing) as error:
            self._log.warning("a permanent neighbor entry of the gateway may be left", why=str(error))

    # Asking and hearing

    def _solicit(self, link: Link) -> None:
        """Probe the gateways that are pinned, and seek the others and those that are lost."""
        self._suspicious = False
        frames = []
        for address in link.served_gateways:
            gateway = self._gateways[link.index, address]
            gateway.answers.clear()
            if (source := best_source(link.sources, address)) is None:
                continue
            if gateway.lladdr:
                frames.append(probe(link.lladdr, source, address, gateway.lladdr))
                gateway.unanswered += 1
            if not gateway.lladdr or gateway.unanswered > _PROBES:  # 7.3.3: and the last one a while ago
                frames.append(solicit(link.lladdr, source, address))
        self._send(frames)
        for ear in self._ears:
            self._hear(ear)

    def _listen(self, link: Link | None) -> None:
        """Listen to the gateways of `link`; apart to their pinned addresses, so that no host crowds these out."""
        wanted = None
        if link and link.gateways:
            here = {address: each.lladdr for (index, address), each in self._gateways.items() if index == link.index}
            pinned = [(address, lladdr) for address, lladdr in here.items() if lladdr]
            wanted = link.device, link.index, advertisements_of(link.served_gateways), advertisements_by(pinned)
        if wanted == self._listening and all(ear.bound for ear in self._ears):
            return
        for ear in self._ears:
            asyncio.get_running_loop().remove_reader(ear)
            ear.close()
        self._ears.clear()
        self._listening = wanted
        device, _, *programs = wanted or ("", 0)
        for program in programs:
            self._hear(Listener(device, program))

    def _hear(self, ear: Listener) -> None:
        self._ears[ear] = 0
        watch(ear, self._on_readable, ear)

    def _on_readable(self, ear: Listener) -> None:
        link, frames = self._link(), ear.receive()
        for frame in frames:
            heard = read_advertisement(frame)
            if heard is not None and link is not None:
                self._take(heard, link)
        self._ears[ear] += len(frames)
        if self._ears[ear] >= _MAX_HEARD:  # somebody floods: no more until the next solicitation
            asyncio.get_running_loop().remove_reader(ear)

    def _take(self, heard: Received, link: Link) -> None:
        gateway = self._gateways.get((link.index, heard.target))
        if gateway is None or heard.lladdr == link.lladdr:
            return
        differs = heard.lladdr != gateway.lladdr
        if heard.solicited and heard.destination in link.addresses:
            if not differs and gateway.unanswered:
                gateway.unanswered = 0
                self._news.set()
            if heard.lladdr in gateway.answers or len(gateway.answers) < _MAX_ANSWERS:
                gateway.answers[heard.lladdr] = gateway.answers.get(heard.lladdr, 0) + 1
        elif differs:  # said unasked: a reason to ask, but not an answer
            self._suspicious = True
        if differs:
            self._news.set()

    # The kernel's entries

    async def _hold(self, link: Link) -> bool:
        """Pin those gateways that answered; return whether each is pinned."""
        keys = [(link.index, address) for address in link.served_gateways]
        await self._drop(self._gateways.keys() - set(keys))
        return all([await self._hold_one(*key) for key in keys])

    async def _hold_one(self, index: int, address: bytes) -> bool:
        gateway = self._gateways[index, address]
        found = await find_pin(index, address)
        if found is not None and not found.ours:
            if not gateway.foreign:
                gateway.foreign = True
                self._log.info("the gateway is pinned by somebody else already", gateway=str(IPv6Address(address)))
            return True
        gateway.lladdr = before = found.lladdr if found is not None else b""
        if before and (gateway.unanswered <= _PROBES or before in gateway.answers):
            return not gateway.unanswered
        if not gateway.answers:
            return False
        # An address that answers once to each solicitation is more likely to be its own than one that floods
        confirmed = self._confirmed(address)
        lladdr = min(gateway.answers, key=lambda each: (each not in confirmed, gateway.answers[each]))
        gateway.lladdr = lladdr  # before the kernel has it: a task cancelled meanwhile must still release it
        if not await pin(index, address, lladdr):
            gateway.lladdr = b""
            return False
        gateway.unanswered = 0
        told = {"gateway": str(IPv6Address(address)), "lladdr": lladdr.hex(":")}
        if not before:
            self._log.info("gateway pinned", **told)
        else:
            was = before.hex(":")
            self._log.warning("the pin of a gateway moved: it answers no more where it was", **told, before=was)
        return True

    async def _drop(self, keys: Iterable[_Key]) -> None:
        for key in sorted(keys):
            if self._gateways[key].lladdr:
                await unpin(*key)
            del self._gateways[key]
