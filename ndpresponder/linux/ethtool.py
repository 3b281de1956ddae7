"""Ask an interface's driver what it is, what it does with VLAN tags, and what it counts (linux/ethtool.h)."""

import ctypes
import fcntl
import socket
import struct
from typing import Final

_SIOCETHTOOL: Final = 0x8946
_GDRVINFO: Final = 0x03
_GSTRINGS: Final = 0x1B
_GSTATS: Final = 0x1D
_GFLAGS: Final = 0x25

_ETH_FLAG_RXVLAN: Final = 1 << 8
_ETH_SS_STATS: Final = 1
_NAME_SIZE: Final = 32  # ETH_GSTRING_LEN
_NUMBER: Final = struct.Struct("=Q")
# The kernel writes as many as there are, however many were asked for: a driver may have got more queues since
_SPARE: Final = 4096


def takes_tags_away(name: str) -> bool:
    """Tell whether an interface takes VLAN tags out of the frames before XDP sees these (`ethtool -k`: rxvlan)."""
    answer = _ask(name, struct.pack("=II", _GFLAGS, 0))
    return answer is not None and bool(struct.unpack("=II", answer)[1] & _ETH_FLAG_RXVLAN)


def driver(name: str) -> str:
    """Return the name of an interface's driver, "" if it does not say."""
    answer = _ask(name, struct.pack("=I192x", _GDRVINFO))
    return answer[4:36].partition(b"\0")[0].decode(errors="replace") if answer else ""


def statistics(name: str) -> dict[str, int] | None:
    """Return what the driver of an interface counts (`ethtool -S`); None if it does not say now."""
    try:
        return _statistics(name)
    except OSError:  # no descriptor is left
        return None


def _statistics(name: str) -> dict[str, int] | None:
    answer = _ask(name, struct.pack("=I192x", _GDRVINFO))
    count = struct.unpack_from("=I", answer, 180)[0] if answer else None  # n_stats
    if not count:
        return None if count is None else {}
    room = count + _SPARE
    names = _ask(name, struct.pack("=III", _GSTRINGS, _ETH_SS_STATS, count) + bytes(room * _NAME_SIZE))
    numbers = _ask(name, struct.pack("=II", _GSTATS, count) + bytes(room * _NUMBER.size))
    if names is None or numbers is None:
        return None
    return {
        names[12 + place * _NAME_SIZE :][:_NAME_SIZE].partition(b"\0")[0].decode(errors="replace"): number
        for place, (number,) in enumerate(_NUMBER.iter_unpack(numbers[8:][: count * _NUMBER.size]))
    }


def _ask(name: str, request: bytes) -> bytes | None:
    data = ctypes.create_string_buffer(request, len(request))
    ifreq = struct.pack("16sP16x", name.encode(), ctypes.addressof(data))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, ifreq)
        except OSError:
            return None
    return data.raw
