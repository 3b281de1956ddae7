"""A router that asks for one target after the other at a steady rate, and keeps book of who answered and when.

Each solicitation is for a target of its own, so that an answer tells which one it is for. Import it as
`from traffic import Traffic`.
"""

import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Address
from types import TracebackType
from typing import Self

from frames import packed, solicitation
from peer import Peer

LAST_ANSWERS_S = 3.0  # after the last solicitation


class Traffic:
    """Solicitations from the start of the context to its end; what became of them is known after it."""

    def __init__(self, peer: Peer, first: str = "2001:db8::1000", rate: int = 200, most: int = 0xE000) -> None:
        """Ask `rate` times a second, for `first` and the addresses after it, `most` of them before it begins again."""
        self._peer = peer
        self._first = int(IPv6Address(first))
        self._pause_s = 1 / rate
        self._most = most
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._ask, self._listen)]
        self.asked_s: dict[bytes, float] = {}
        self.answered_s: dict[bytes, list[float]] = {}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def await_answers(self, count: int, deadline_s: float = 10.0) -> None:
        """Wait until so many more solicitations are answered."""
        enough = len(self.answered_s) + count
        end_s = time.monotonic() + deadline_s
        while len(self.answered_s) < enough:
            if time.monotonic() > end_s:
                raise TimeoutError(f"{len(self.answered_s)} of {len(self.asked_s)} answered")
            time.sleep(0.005)

    @property
    def lost(self) -> list[str]:
        """The targets that were not answered for."""
        return [str(IPv6Address(target)) for target in self.asked_s if target not in self.answered_s]

    @property
    def repeated(self) -> list[str]:
        """The targets that were answered for more than once."""
        return [str(IPv6Address(target)) for target, times in self.answered_s.items() if len(times) > 1]

    @property
    def longest_s(self) -> float:
        """How long the slowest answer took."""
        return max(times[0] - self.asked_s[target] for target, times in self.answered_s.items())

    def _ask(self) -> None:
        next_s = time.monotonic()
        while not self._stop.is_set() and len(self.asked_s) < self._most:
            target = packed(str(IPv6Address(self._first + len(self.asked_s))))
            self.asked_s[target] = time.monotonic()
            self._peer.send(solicitation(target))
            next_s += self._pause_s
            time.sleep(max(0.0, next_s - time.monotonic()))

    def _listen(self) -> None:
        end_s = float("inf")
        while time.monotonic() < end_s and (end_s == float("inf") or len(self.answered_s) < len(self.asked_s)):
            for advertisement in self._peer.advertisements(0.05):
                target = advertisement[62:78]
                if target in self.asked_s:
                    self.answered_s.setdefault(target, []).append(time.monotonic())
            if end_s == float("inf") and self._stop.is_set():
                end_s = time.monotonic() + LAST_ANSWERS_S


def lose_none(peer: Peer, act: Callable[[Traffic], None], rate: int = 200) -> Traffic:
    """Ask while `act` goes on; fail unless each solicitation was answered exactly once. Return the book."""
    with Traffic(peer, rate=rate) as traffic:
        traffic.await_answers(20)
        act(traffic)
        traffic.await_answers(20)
    assert traffic.lost == []
    assert traffic.repeated == []
    return traffic
