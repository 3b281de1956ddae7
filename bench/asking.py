"""How soon a change is answered: one process that makes it at once, and one that asks until it is answered.

What is asked is one target at a time, by the address and the link-layer address of the generator's first requester.
"""

import select
import subprocess
import time
from ipaddress import IPv6Address
from typing import Final, Self

from link import BenchError, Link

from ndpresponder.wire.solicitation import solicit

_ASKER_LLADDR, _ASKER = bytes.fromhex("020000000001"), IPv6Address("fe80::1").packed
_ASK_EVERY_S: Final = 0.0005
_ANSWER_DEADLINE_S: Final = 30.0


class Changer:
    """An `ip` in the responder's namespace that waits for lines to run, on the asker's core."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __enter__(self) -> Self:
        self._ip = self._link.responder.popen(
            "taskset", "-c", str(self._link.asker_core), "ip", "-batch", "-", stdin=subprocess.PIPE
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._ip.kill()
        self._ip.communicate()

    def change(self, *lines: str) -> None:
        """Hand lines to `ip`, which runs them at once."""
        assert self._ip.stdin is not None
        self._ip.stdin.write("".join(f"{line}\n" for line in lines))
        self._ip.stdin.flush()


class Asker:
    """Asks for one target until it is answered, on one of the links."""

    def __init__(self, link: Link, number: int = 0) -> None:
        self._wire = link.asker_socket(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    def await_answer(self, value: int) -> None:
        """Return when the target is answered."""
        target = value.to_bytes(16, "big")
        frame = solicit(_ASKER_LLADDR, _ASKER, target)
        end = time.monotonic() + _ANSWER_DEADLINE_S
        while time.monotonic() < end:
            self._wire.send(frame)
            while select.select([self._wire], [], [], _ASK_EVERY_S)[0]:
                heard = self._wire.recv(2048)
                if heard[54:55] == b"\x88" and heard[62:78] == target and heard[58] & 0x40:  # solicited
                    return
        raise BenchError(f"{IPv6Address(value)} is not answered")
