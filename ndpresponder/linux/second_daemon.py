"""Tells whether another of us answers on the same interface: two would send two answers to each solicitation.

The mark is an abstract Unix socket (unix(7)), which belongs to one network namespace and goes with its process. Any
local process can take the name, so that it is a reason to warn and must never be one to fall silent.
"""

import errno
import socket


class Claim:
    """The mark on one interface; `close` it."""

    def __init__(self, index: int) -> None:
        """Put the mark on the interface `index`, unless another has it: then `taken` is true."""
        self.taken = False
        self._socket: socket.socket | None = None
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.bind(f"\0ndpresponder/{index}")
        except OSError as error:  # one that cannot be had says nothing
            self.taken = error.errno == errno.EADDRINUSE
            self.close()

    def close(self) -> None:
        """Take the mark away."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
