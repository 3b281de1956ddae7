"""Ask the uplink's link who has some targets, and tell which of them nobody else owns.

An advertisement with the Override flag is an owner's (RFC 4861 7.2.8: a proxy leaves it unset). Solicitations are
paced, the caller bounds their number; of advertisements only those for what was asked count, until the search ends.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final

from ndpresponder.linux.netlink import Link
from ndpresponder.linux.packet.listener import Ear
from ndpresponder.wire.addresses import best_source
from ndpresponder.wire.advertisement import read_advertisement
from ndpresponder.wire.filters import ADVERTISEMENTS
from ndpresponder.wire.layout import FLAGS, OVERRIDE_FLAG
from ndpresponder.wire.solicitation import solicit

ANSWER_S: Final = 0.25  # for an owner to answer
_AGAIN_S: Final = 1.0  # until it is tried again to listen
_TRIES: Final = 30  # neighbors have found out by themselves by then
_BATCH: Final = 32
_PAUSE_S: Final = 0.025  # after each batch: 1,280 solicitations a second


class OwnerSearch:
    """One search at a time; another one ends it."""

    def __init__(self, send: Callable[[list[bytes]], None]) -> None:
        self._send = send
        self._task: asyncio.Task[None] | None = None

    def begin(
        self,
        link: Link,
        targets: Sequence[bytes],
        rounds_s: Sequence[float],
        done: Callable[[list[bytes]], None] = lambda _: None,
    ) -> None:
        """Ask for `targets` on `link`, in each round for those that nobody has answered for.

        `done` gets those that nobody owns, in their order, a part at a time; nothing while no answer can be heard.
        """
        self.close()
        self._task = asyncio.get_running_loop().create_task(self._run(link, targets, rounds_s, done))

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def ask(self, link: Link, targets: Sequence[bytes]) -> None:
        """Ask for `targets`, once and at once, from an address that a provider's filter lets pass if there is one."""
        sources = ((best_source(link.sources, target) or min(link.sources, default=None), target) for target in targets)
        self._send([solicit(link.lladdr, source, target) for source, target in sources if source is not None])

    async def _run(
        self, link: Link, targets: Sequence[bytes], rounds_s: Sequence[float], done: Callable[[list[bytes]], None]
    ) -> None:
        asked, owned, answered = set(targets), set[bytes](), set[bytes]()  # the last by anybody

        def take(frame: bytes) -> None:
            heard = read_advertisement(frame)
            if heard is None or heard.target not in asked or heard.lladdr == link.lladdr:
                return
            answered.add(heard.target)
            if frame[FLAGS.start] & OVERRIDE_FLAG:
                owned.add(heard.target)

        def conclude(batch: Sequence[bytes]) -> None:
            done([target for target in batch if target not in owned])

        with contextlib.ExitStack() as at_end:
            ear = Ear(ADVERTISEMENTS, take)
            at_end.callback(ear.close)
            if not await _opened(ear, link):
                return
            for pause_s in rounds_s:
                await asyncio.sleep(pause_s)
                waiting = [target for target in targets if target not in answered]
                for first in range(0, len(waiting), _BATCH):
                    batch = waiting[first : first + _BATCH]
                    self.ask(link, batch)
                    at_end.callback(asyncio.get_running_loop().call_later(ANSWER_S, conclude, batch).cancel)
                    await asyncio.sleep(_PAUSE_S)
            await asyncio.sleep(ANSWER_S + _PAUSE_S)


async def _opened(ear: Ear, link: Link) -> bool:
    """Open an ear for the answers; return False if there is no room for one, as then no owner would be heard."""
    for _ in range(_TRIES):
        if ear.try_open(link.device):
            return True
        await asyncio.sleep(_AGAIN_S)
    return False
