"""Group memberships on one link, held by as many sockets as the kernel's limit per socket makes necessary.

The kernel announces each join and each leave by MLD itself, from a link-local address. Needs no capability. A join
takes the longer the more there are (35 us each with 5,000), so the caller makes the changes in portions.
"""

import errno
import socket
import struct
from typing import Final

_FULL: Final = (errno.ENOMEM, errno.ENOBUFS)  # net.core.optmem_max: 2,340 groups with the usual 128 KiB


class Memberships:
    """The groups joined on the link with one index; closing leaves all of them."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._sockets: list[socket.socket] = []
        self._joined: dict[bytes, socket.socket] = {}
        self._to_leave: list[bytes] = []
        self._to_join: list[bytes] = []

    @property
    def joined(self) -> frozenset[bytes]:
        return frozenset(self._joined)

    @property
    def settled(self) -> bool:
        """Whether there is nothing left for `change` to do."""
        return not self._to_leave and not self._to_join

    def set_groups(self, groups: frozenset[bytes]) -> None:
        """Plan the changes after which exactly `groups` are joined."""
        self._to_leave = sorted(self._joined.keys() - groups)
        self._to_join = sorted(groups - self._joined.keys(), reverse=True)

    def change(self, most: int) -> int:
        """Leave and join at most so many groups; return 0, or the errno after which the rest is not joined."""
        while self._to_leave and most:
            group = self._to_leave.pop()
            self._set(self._joined.pop(group), socket.IPV6_LEAVE_GROUP, group)
            most -= 1
        while self._to_join and most:
            if error := self._join(self._to_join.pop()):
                self._to_join.clear()
                return error
            most -= 1
        return 0

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        self._joined.clear()
        self.set_groups(frozenset())

    def _join(self, group: bytes) -> int:
        # Leaving makes room in any socket; the last one has room unless none has
        for sock in reversed(self._sockets):
            error = self._set(sock, socket.IPV6_JOIN_GROUP, group)
            if error not in _FULL:
                return error
        try:
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        except OSError as failure:
            return failure.errno or errno.EIO
        if error := self._set(sock, socket.IPV6_JOIN_GROUP, group):
            sock.close()
        else:
            self._sockets.append(sock)
        return error

    def _set(self, sock: socket.socket, option: int, group: bytes) -> int:
        try:
            sock.setsockopt(socket.IPPROTO_IPV6, option, group + struct.pack("@I", self._index))
        except OSError as failure:
            return failure.errno or errno.EIO
        if option == socket.IPV6_JOIN_GROUP:
            self._joined[group] = sock
        return 0
