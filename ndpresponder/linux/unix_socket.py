"""Unix sockets: one that listens and knows its clients, and one that sends datagrams and hardly waits.

The listening socket may replace the file that a dead process left behind, and must never remove anything else.
"""

import contextlib
import errno
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Final, NamedTuple

_MODE: Final = 0o660
_SO_PEERGROUPS: Final = 59  # asm-generic/socket.h
_MOST_GROUPS: Final = 1024  # octets, all that Python lets us ask for
_TIMEOUT_S: Final = 0.1  # what is solicited meanwhile waits in the ring, which holds four times as much at 20,000/s


class Peer(NamedTuple):
    """The process that made a connection, as the kernel says."""

    uid: int
    groups: frozenset[int]


class UnixSocket:
    """A listening socket and its file, which is for owner and group."""

    def __init__(self, path: Path, listener: socket.socket) -> None:
        self.listener = listener
        self._path = path
        status = path.lstat()
        self._inode = (status.st_dev, status.st_ino)

    @property
    def group(self) -> int | None:
        """The group that the file belongs to now; None when another stands in its place."""
        try:
            status = self._path.lstat()
        except OSError:
            return None
        return status.st_gid if (status.st_dev, status.st_ino) == self._inode else None

    def remove(self) -> None:
        """Unlink the file, unless somebody has put another in its place."""
        if self.group is not None:
            with contextlib.suppress(OSError):  # the directory was taken from us: the next start replaces the file
                self._path.unlink()


def open_unix_socket(path: Path) -> UnixSocket:
    """Listen at `path`; raise OSError if the system refuses it, with ENOTSOCK if there is something else."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        before = os.umask(0o777 & ~_MODE)  # so that nobody else can connect between bind and a chmod
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen()
        return UnixSocket(path, listener)
    except BaseException:
        listener.close()
        raise


def peer_of(connection: socket.socket) -> Peer:
    """Return the process at the other end of a connected socket (SO_PEERCRED, SO_PEERGROUPS)."""
    _, uid, gid = struct.unpack("=iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        octets = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS)
    except OSError:  # ERANGE: in more groups than that, or an old kernel
        octets = b""
    return Peer(uid, frozenset((gid, *struct.unpack(f"={len(octets) // 4}I", octets))))


def _clear(path: Path) -> None:
    """Remove a socket that no process listens on; one that is in use will make `bind` fail."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.ENOTSOCK, "this is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
            path.unlink(missing_ok=True)


class DatagramSender:
    """Sends datagrams; a receiver that does not read is waited for once, and not again until it reads.

    It is not connected, so that a receiver that was started anew is found again.
    """

    def __init__(self, address: str, timeout_s: float = _TIMEOUT_S) -> None:
        """Send to a path, or an abstract address; open nothing yet."""
        self._address = address
        self._timeout_s = self._wait_s = timeout_s
        self._socket: socket.socket | None = None

    def send(self, data: bytes, descriptor: int | None = None) -> bool:
        """Return whether the receiver took `data`, with a descriptor if one is given; never raise."""
        passed = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", descriptor))]
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(self._wait_s)
            self._socket.sendmsg([data], passed, 0, self._address)
        except (TimeoutError, BlockingIOError):  # full
            self._wait_s = 0.0
            return False
        except OSError:  # gone or too large (EMSGSIZE)
            return False
        self._wait_s = self._timeout_s
        return True

    def close(self) -> None:
        """Close the socket; a later `send` opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
