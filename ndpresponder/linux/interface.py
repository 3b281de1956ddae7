"""Ask the kernel and the driver about one interface: its IPv6 settings, its driver's counters.

Each setting of an interface that does not exist is False here. A shortage, of descriptors say, raises OSError.
"""

import ctypes
import fcntl
import socket
import struct
from pathlib import Path
from typing import Final

from ndpresponder.errors import is_shortage

# linux/sockios.h, net/if.h
_SIOCETHTOOL: Final = 0x8946
_IFREQ_DATA: Final = struct.Struct("@16sP16x")

# linux/ethtool.h
_GDRVINFO, _GSTRINGS, _GSTATS, _GFLAGS = 0x03, 0x1B, 0x1D, 0x25
_ETH_FLAG_RXVLAN: Final = 1 << 8
_ETH_SS_STATS: Final = 1
_ETH_GSTRING_LEN: Final = 32
_DRVINFO: Final = struct.Struct("=I192x")
_COUNTER: Final = struct.Struct("=Q")
# The kernel writes all counters, however many were asked for: a driver may have got more queues since
_SPARE: Final = 4096


def is_set(device: str, name: str) -> bool:
    """Tell whether an IPv6 setting of `device`, such as forwarding or disable_ipv6, is there and not 0."""
    try:
        return _setting(device, name) != "0"
    except OSError as error:
        if is_shortage(error):
            raise
        return False


def answers_by_proxy(device: str) -> bool:
    """Tell whether the kernel answers on `device` for its proxy entries there (net/ipv6/ndisc.c, ndisc_recv_ns)."""
    return is_set(device, "forwarding") and (is_set(device, "proxy_ndp") or is_set("all", "proxy_ndp"))


def accepts_advertisements(device: str) -> bool:
    """Tell whether the kernel takes router advertisements on `device`: with accept_ra 1 only if it does not forward."""
    try:
        value = _setting(device, "accept_ra")
    except OSError:  # no IPv6 there
        return False
    return value == "2" or (value == "1" and not is_set(device, "forwarding"))


def _setting(device: str, name: str) -> str:
    return Path("/proc/sys/net/ipv6/conf", device, name).read_text().strip()


def strips_vlan_tags(name: str) -> bool:
    """Tell whether an interface takes VLAN tags out of frames before XDP sees these (`ethtool -k`: rxvlan)."""
    answer = _ask_driver(name, struct.pack("=II", _GFLAGS, 0))
    return answer is not None and bool(struct.unpack("=II", answer)[1] & _ETH_FLAG_RXVLAN)


def driver(name: str) -> str:
    """Return the name of an interface's driver, "" if it does not say."""
    answer = _ask_driver(name, _DRVINFO.pack(_GDRVINFO))
    return _text(answer[4:36]) if answer else ""


def driver_counters(name: str) -> dict[str, int] | None:
    """Return what the driver of an interface counts (`ethtool -S`); None if it does not say now."""
    try:
        answer = _ask_driver(name, _DRVINFO.pack(_GDRVINFO))
        count = struct.unpack_from("=I", answer, 180)[0] if answer else None  # n_stats
        if not count:
            return None if count is None else {}
        room = count + _SPARE
        names = _ask_driver(name, struct.pack("=III", _GSTRINGS, _ETH_SS_STATS, count) + bytes(room * _ETH_GSTRING_LEN))
        numbers = _ask_driver(name, struct.pack("=II", _GSTATS, count) + bytes(room * _COUNTER.size))
    except OSError:  # no descriptor is left
        return None
    if names is None or numbers is None:
        return None
    return {
        _text(names[12 + place * _ETH_GSTRING_LEN :][:_ETH_GSTRING_LEN]): number
        for place, (number,) in enumerate(_COUNTER.iter_unpack(numbers[8:][: count * _COUNTER.size]))
    }


def _text(octets: bytes) -> str:
    return octets.partition(b"\0")[0].decode(errors="replace")


def _ask_driver(name: str, request: bytes) -> bytes | None:
    data = ctypes.create_string_buffer(request, len(request))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, _IFREQ_DATA.pack(name.encode(), ctypes.addressof(data)))
        except OSError:
            return None
    return data.raw
