"""Group memberships on one link, held by as many sockets as the kernel's limit per socket makes necessary.

The kernel announces each join and each leave by MLD itself, from a link-local address. Needs no capability.
"""

import errno
import socket
import struct
from typing import Final

_FULL: Final = (errno.ENOMEM, errno.ENOBUFS)  # net.core.optmem_max: 2,340 groups with the usual 128 KiB


class Memberships:
    """The groups joined on the link with one index; closing leaves all of them."""

    def __init__(self, index: int) -> None:
        """Join nothing yet on the link `index`."""
        self._index = index
        self._sockets: list[socket.socket] = []
        self._joined: dict[bytes, socket.socket] = {}

    @property
    def joined(self) -> frozenset[bytes]:
        """The groups that are joined now."""
        return frozenset(self._joined)

    def follow(self, groups: frozenset[bytes]) -> int:
        """Join and leave until exactly `groups` are joined; return the errno that prevented some, or 0."""
        for group in self._joined.keys() - groups:
            self._change(self._joined.pop(group), socket.IPV6_LEAVE_GROUP, group)
        error = 0
        for group in sorted(groups - self._joined.keys()):
            error = self._join(group)
            if error:
                break
        return error

    def close(self) -> None:
        """Leave all groups."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        self._joined.clear()

    def _join(self, group: bytes) -> int:
        # Leaving makes room in any socket, the last one has room unless none has
        for sock in reversed(self._sockets):
            error = self._change(sock, socket.IPV6_JOIN_GROUP, group)
            if not error:
                self._joined[group] = sock
            if error not in _FULL:
                return error
        try:
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        except OSError as failure:
            return failure.errno or errno.EIO
        self._sockets.append(sock)
        error = self._change(sock, socket.IPV6_JOIN_GROUP, group)
        if not error:
            self._joined[group] = sock
        return error

    def _change(self, sock: socket.socket, option: int, group: bytes) -> int:
        try:
            sock.setsockopt(socket.IPPROTO_IPV6, option, group + struct.pack("@I", self._index))
        except OSError as failure:
            return failure.errno or errno.EIO
        return 0
