"""Duplicate address detection by other hosts (RFC 4862 5.4): which addresses are defended, and in which frame.

Pure. A claim alone is no ownership: on a shared link the address may be free for another host, which would end without
it. So by default only what is known to be behind this host is defended.
"""

from ndpresponder.policy.table import Match
from ndpresponder.wire.layout import ETHERNET_DESTINATION, ETHERNET_SOURCE


def defends(policy: str, match: Match, verifies: bool) -> bool:
    """Tell whether a target is defended by the `dad` setting; `verifies` is whether claimed ones are looked for first.

    If so, one that is not found is left alone by the check that follows.
    """
    return policy == "defend" or (policy == "live" and (match is Match.LIVE or verifies))


def defence(frame: bytes, advertisement: bytes) -> bytes:
    """Return the `advertisement` to all nodes in the Ethernet frame that answers `frame`.

    A switch may send a solicitation to us alone (RFC 6085): then only its sender waits for the answer, and a
    neighbor that sends frames to one station must not have us flood the link.
    """
    if frame[ETHERNET_DESTINATION.start] & 1:
        return advertisement
    return frame[ETHERNET_SOURCE] + advertisement[ETHERNET_DESTINATION.stop :]
