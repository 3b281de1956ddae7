"""Pins each default gateway of an uplink to its link-layer address: a permanent neighbor entry in the kernel.

The stronger alternative to the keep-alive, for CAP_NET_ADMIN. The kernel learns nothing about a permanent entry, so
the gateway is solicited here again and again, and its answers are heard on a small socket of their own. An entry
that somebody else made permanent is left alone; ours become ordinary entries again at the end.
"""

import asyncio
import contextlib
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Final

from ndpresponder.errors import PermissionMissing, SourceUnavailable
from ndpresponder.linux.listener import Listener
from ndpresponder.linux.loop import watch
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.netlink.admin import require_net_admin
from ndpresponder.linux.netlink.pins import find_pin, pin, unpin
from ndpresponder.observe.logs import Logger
from ndpresponder.wire.addresses import best_source
from ndpresponder.wire.bpf import advertisements_of
from ndpresponder.wire.heard import Heard, hear
from ndpresponder.wire.solicitation import solicit

_SEEKING_S: Final = 1.0  # between solicitations while a gateway is not pinned, or somebody else claims to be it
_HOLDING_S: Final = 3.0  # and while all is well
_SETTLE_S: Final = 0.1  # for other answers to the same solicitation
_MAX_ANSWERS: Final = 4  # stations that are remembered as answering for one gateway


class GatewayPin:
    """The pinned gateways of one uplink, of those that are served."""

    def __init__(self, link: Callable[[], Link | None], send: Callable[[list[bytes]], None], log: Logger) -> None:
        """Solicit with `send` while `link` returns an uplink that is up."""
        self._link = link
        self._send = send
        self._log = log
        self._listener: Listener | None = None
        self._listening: tuple[str, int, frozenset[bytes]] | None = None  # device, index, gateways
        self._answers: dict[bytes, list[bytes]] = {}  # gateway -> who answered the last solicitation
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
        self._answers.clear()
        self._suspicious = False
        sources = {gateway: best_source(link.sources, gateway) for gateway in link.served_gateways}
        self._send([solicit(link.lladdr, source, gateway) for gateway, source in sources.items() if source])

    def _listen(self, link: Link | None) -> None:
        """Listen to the gateways of `link`."""
        wanted = (link.device, link.index, frozenset(link.served_gateways)) if link and link.gateways else None
        if wanted == self._listening:
            return
        loop = asyncio.get_running_loop()
        if self._listener is not None:
            loop.remove_reader(self._listener)
            self._listener.close()
        self._listener = self._listening = None
        if wanted is not None:
            device, _, gateways = wanted
            self._listener = Listener(device, advertisements_of(gateways))
            watch(self._listener, self._on_readable, self._listener)
            self._listening = wanted

    def _on_readable(self, listener: Listener) -> None:
        link = self._link()
        for frame in listener.receive():
            heard = hear(frame)
            if heard is not None and link is not None:
                self._take(heard, link)

    def _take(self, heard: Heard, link: Link) -> None:
        if heard.target not in link.gateways or heard.lladdr == link.lladdr:
            return
        differs = heard.lladdr != self._pinned.get((link.index, heard.target))
        if heard.solicited and heard.destination in link.addresses:
            answers = self._answers.setdefault(heard.target, [])
            if heard.lladdr not in answers and len(answers) < _MAX_ANSWERS:
                answers.append(heard.lladdr)
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
        answers = self._answers.get(gateway, [])
        if found is not None:
            self._pinned[key] = found.lladdr
            if not answers or found.lladdr in answers:
                return True
        else:
            self._pinned.pop(key, None)
        if not answers:
            return False
        self._pinned[key] = answers[0]  # before the kernel has it: whoever is cancelled meanwhile must still release it
        if not await pin(index, gateway, answers[0]):
            del self._pinned[key]
            return False
        self._log.info("gateway pinned", gateway=str(IPv6Address(gateway)), lladdr=answers[0].hex(":"))
        return True

    async def _drop(self, keep: set[tuple[int, bytes]]) -> None:
        for index, gateway in sorted(self._pinned.keys() - keep):
            await unpin(index, gateway)
            del self._pinned[index, gateway]
