"""Kernel settings below /proc/sys/net, read only."""

from pathlib import Path


def forwarding(device: str) -> bool:
    """Tell whether the kernel forwards IPv6 packets that arrive on `device`; False if the device is gone."""
    try:
        return Path("/proc/sys/net/ipv6/conf", device, "forwarding").read_text().strip() != "0"
    except OSError:
        return False
