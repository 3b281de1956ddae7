"""Kernel settings below /proc/sys/net, read only."""

from pathlib import Path

from ndpresponder.errors import is_shortage


def forwarding(device: str) -> bool:
    """Tell whether the kernel forwards IPv6 packets that arrive on `device`; False if the device is gone.

    Raises:
        OSError: there is too little of something to find out: that is no reason to say that it does not.
    """
    return _is_set(device, "forwarding")


def ipv6_disabled(device: str) -> bool:
    """Tell whether the kernel speaks no IPv6 on `device`; False if the device is gone.

    Raises:
        OSError: there is too little of something to find out.
    """
    return _is_set(device, "disable_ipv6")


def answers_by_proxy(device: str) -> bool:
    """Tell whether the kernel answers on `device` for its proxy entries there (net/ipv6/ndisc.c, ndisc_recv_ns).

    Raises:
        OSError: there is too little of something to find out.
    """
    return _is_set(device, "forwarding") and (_is_set(device, "proxy_ndp") or _is_set("all", "proxy_ndp"))


def _is_set(device: str, name: str) -> bool:
    try:
        return Path("/proc/sys/net/ipv6/conf", device, name).read_text().strip() != "0"
    except OSError as error:
        if is_shortage(error):
            raise
        return False


def accepts_advertisements(device: str) -> bool:
    """Tell whether the kernel takes router advertisements on `device`: those of 1 only where it does not forward."""
    try:
        value = Path(f"/proc/sys/net/ipv6/conf/{device}/accept_ra").read_text().strip()
    except OSError:  # no IPv6 there
        return False
    return value == "2" or (value == "1" and not forwarding(device))
