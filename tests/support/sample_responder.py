"""A responder with something to answer: the uplink of the lab, a claimed prefix, a live target, an exclusion."""

from collections.abc import Callable, Iterable
from ipaddress import IPv6Network
from typing import Any

from frames import UPLINK_LLADDR, lladdr, packed

from ndpresponder.outcome import Outcome
from ndpresponder.policy.responder import Policy, Responder, UplinkState
from ndpresponder.policy.table import Prefix, TargetTable

CLAIMED = "2001:db8::/64"  # the on-link prefix, gateway and uplink included
CLAIMED_TARGET = "2001:db8::c1"
LIVE_TARGET = "2001:db8::11fe"
EXCLUDED = "2001:db8::bad:0/112"
EXCLUDED_TARGET = "2001:db8::bad:1"
GATEWAY = "2001:db8::ffff:0:0:1"
OWN_ADDRESS = "2001:db8::ffff:0:0:2"
OWN_LINK_LOCAL = "fe80::2"


def prefixes(*texts: str) -> list[Prefix]:
    """Return prefixes given as text."""
    networks = [IPv6Network(text) for text in texts]
    return [Prefix(int(network.network_address), network.prefixlen) for network in networks]


def addresses(*texts: str) -> frozenset[bytes]:
    """Return addresses given as text."""
    return frozenset(packed(text) for text in texts)


def uplink_state(station: str = UPLINK_LLADDR, forwarding: bool = False) -> UplinkState:
    """Return what the kernel says of the lab's uplink."""
    return UplinkState(lladdr(station), addresses(OWN_ADDRESS, OWN_LINK_LOCAL), addresses(GATEWAY), forwarding)


def make_responder(
    *,
    claimed: Iterable[str] = (CLAIMED,),
    live: Iterable[str] = (LIVE_TARGET,),
    excluded: Iterable[str] = (EXCLUDED,),
    forwarding: bool = False,
    take: Callable[[], bool] | None = None,
    is_there: Callable[[bytes], bool] | None = None,
    **policy: Any,
) -> Responder:
    """Return a responder on the lab's uplink; further arguments are the fields of its `Policy`."""
    responder = Responder(Policy(**policy), take)
    responder.is_there = is_there
    responder.set_state(uplink_state(forwarding=forwarding))
    responder.table = TargetTable.build(addresses(*live), prefixes(*claimed), prefixes(*excluded))
    return responder


def outcome_of(frame: bytes, **settings: Any) -> Outcome:
    """Return how `frame` ends, and make sure that silence is silent."""
    outcome, advertisement = make_responder(**settings).respond(frame)
    assert (advertisement is not None) == outcome.answered
    return outcome
