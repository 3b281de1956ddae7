"""A ping that goes on while other things happen, and may lose nothing. Import it as `from pinging import Pinging`."""

import re
import signal
import subprocess
from types import TracebackType
from typing import Self

from ndpresponder.lab import Lab


class Pinging:
    """A ping from the internet while the context is open; the end of it fails if one was lost, or if few were sent."""

    def __init__(self, lab: Lab, target: str, least: int = 100) -> None:
        self._lab = lab
        self._target = target
        self._least = least

    def __enter__(self) -> Self:
        argv = ("ping", "-6", "-n", "-i0.02", self._target)
        self._process = self._lab.popen("inet", *argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        output = self._process.communicate(timeout=10)[0]
        if kind is not None:
            return
        sent = int(re.findall(r"(\d+) packets transmitted", output)[0])
        came = {int(number) for number in re.findall(r"bytes from .* icmp_seq=(\d+)", output)}
        lost = set(range(1, sent)) - came  # the last may be on its way
        assert sent > self._least
        assert not lost, f"{self._target}: {len(lost)} of {sent} lost: {sorted(lost)[:20]}"
