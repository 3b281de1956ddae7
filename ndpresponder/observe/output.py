"""Write the lines of the log to a stream, as far as it takes them now.

It must never wait for a reader, nor raise because the stream is full, gone or closed. Lines that cannot be written are
counted, and the log says how many when there is room again.
"""

import os
import select
import stat
from collections.abc import Callable
from typing import Final, TextIO

_TAKEN_AT_ONCE: Final = 4096  # octets, by a pipe that is writable (pipe(7))


class Output:
    """Writes lines, and when it cannot, counts them."""

    def __init__(self, stream: TextIO, say_lost: Callable[[int], None]) -> None:
        """Write to `stream`; `say_lost` logs, through `write`, how many lines were lost before."""
        self._stream = stream
        self._say_lost = say_lost
        self._said = 0  # of `lost`
        self._torn = False  # the last line has no end
        self.lost = 0

    def write(self, line: str) -> None:
        """Write one line, unless it would have to wait."""
        try:
            written = self._put(line)
        except (OSError, ValueError):  # a broken pipe, a full disk, a closed stream: logging is not worth dying for
            written = False
        if written:
            self.tell_lost()
        else:
            self.lost += 1

    def tell_lost(self) -> None:
        """Have it logged, if it is not yet, how many lines were lost: there is room for one."""
        if self.lost > self._said:
            before, self._said = self._said, self.lost
            self._say_lost(self.lost - before)
            if self.lost > self._said:  # that one as well
                self._said = before

    def _put(self, line: str) -> bool:
        """Return whether all of the line was written."""
        try:
            descriptor = self._stream.fileno()
        except OSError:  # an in-memory stream has none
            self._stream.write(line + "\n")
            return True
        data = f"{line}\n".encode(self._stream.encoding, "backslashreplace")
        own = _open_without_waiting(descriptor)
        target = descriptor if own is None else own
        writable = select.poll()
        writable.register(target, select.POLLOUT)
        left = memoryview(b"\n" + data if self._torn else data)
        try:
            while left:
                if not writable.poll(0):
                    return False
                left = left[os.write(target, left[:_TAKEN_AT_ONCE]) :]
                self._torn = bool(left)
        finally:
            if own is not None:
                os.close(own)
        return True

    debug = info = warning = error = critical = write


def _open_without_waiting(descriptor: int) -> int | None:
    """Open the pipe or terminal of a descriptor anew, for writes that never wait; None: it is neither, or is not ours.

    A terminal is writable when it takes a single octet. The descriptor itself stays as it is: other processes may share
    it.
    """
    kind = os.fstat(descriptor).st_mode
    if not (stat.S_ISFIFO(kind) or os.isatty(descriptor)):
        return None
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
