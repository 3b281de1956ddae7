"""Kernel settings below /proc/sys/net, read only."""

from pathlib import Path

from ndpresponder.errors import is_shortage


def forwarding(device: str) -> bool:
    """Tell whether the kernel forwards IPv6 packets that arrive on `device`; False if the device is gone.

    Raises:
        OSError: there is too little of something to find out: that is no reason to say that it does not.
    """
    try:
        return Path("/proc/sys/net/ipv6/conf", device, "forwarding").read_text().strip() != "0"
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
