"""Multicast router discovery as octets (RFC 4286): how a bridge that snoops MLD learns which port leads to a router.

Pure. Sections are those of RFC 4286.
"""

import struct
from typing import Final

from ndpresponder.wire.mld import on_link

ADVERTISEMENT: Final = 151  # 3.2: "a multicast router is here"
TERMINATION: Final = 153  # 5.2: "it is one no more"
ALL_SNOOPERS: Final = bytes.fromhex("ff02000000000000000000000000006a")  # ff02::6a, 3.2


def advertise(lladdr: bytes, source: bytes, interval_s: int) -> bytes:
    """Return the frame in which `source` passes for a multicast router and promises to repeat it every `interval_s`.

    Query Interval and Robustness Variable are zero, as 3.2 asks of a router that sends no MLD queries.
    """
    return on_link(lladdr, source, ALL_SNOOPERS, struct.pack("!BBHHH", ADVERTISEMENT, interval_s, 0, 0, 0))


def terminate(lladdr: bytes, source: bytes) -> bytes:
    """Return the frame in which `source` says that it is no multicast router any more."""
    return on_link(lladdr, source, ALL_SNOOPERS, struct.pack("!BBH", TERMINATION, 0, 0))
