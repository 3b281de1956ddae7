"""A requester: what its solicitations have in common, judged once, and what its advertisements have in common.

Pure: no socket, clock or logging; never raises, whatever the bytes. RFC numbers without a name are sections of
RFC 4861.

A frame's octets 6 to 38 (`REQUESTER`) are the same in every solicitation of one requester: link-layer source,
EtherType, version, payload length, next header, hop limit, IPv6 source.
"""

import struct
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from ndpresponder.outcome import Outcome
from ndpresponder.policy.table import Match
from ndpresponder.wire import layout
from ndpresponder.wire.addresses import (
    ALL_NODES,
    ALL_NODES_LLADDR,
    LOOPBACK,
    UNSPECIFIED,
    V4_MAPPED_PREFIX,
    is_multicast,
    is_unicast_lladdr,
)
from ndpresponder.wire.advertisement import Body, Envelope, address, prepare
from ndpresponder.wire.icmpv6 import word_sum
from ndpresponder.wire.solicitation import lladdr_option

_ETHER_TYPE = layout.ETH_P_IPV6.to_bytes(2, "big")
_STATION: Final = slice(0, 6)  # where the octets `REQUESTER` hold the Ethernet source
# `REQUESTER`: Ethernet source and type; version, payload length, next header, hop limit, source
_FIELDS = struct.Struct("!6sHB3xHBB16s")
_NO_ENVELOPE, _NO_BODY = address(bytes(6), bytes(6), UNSPECIFIED, 0), prepare(bytes(6), 0)


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of one uplink that shape its answers; the words are those of the configuration."""

    router_flag: Literal["auto", "always", "never"] = "auto"
    override: Literal["auto", "always", "never"] = "auto"
    unicast: Literal["always", "live", "never"] = "always"
    dad: Literal["live", "defend", "ignore"] = "live"
    dry_run: bool = False

    def defends(self, match: Match, verifies: bool) -> bool:
        """Tell whether a target is defended from duplicate address detection by another host (RFC 4862 5.4).

        A claim alone is no ownership: on a shared link the address may be free for another host, which would end
        without it. With `verifies` one that is not found is left alone by the check that follows.
        """
        return self.dad == "defend" or (self.dad == "live" and (match is Match.LIVE or verifies))


@dataclass(frozen=True, slots=True)
class UplinkState:
    """What the kernel says of an uplink now."""

    lladdr: bytes
    own_addresses: frozenset[bytes] = frozenset()
    gateways: frozenset[bytes] = frozenset()
    forwarding: bool = False
    anycast: frozenset[bytes] = frozenset()  # of the subnet's routers, for each prefix of the link
    index: int = 0  # of the interface

    @property
    def never(self) -> frozenset[bytes]:
        """What is never answered for, whatever a source says: others answer for it, or the kernel."""
        return self.own_addresses | self.gateways | self.anycast


@dataclass(slots=True)  # quicker to make and to read than one that is frozen
class Requester:
    """A requester whose octets `REQUESTER` are in order, and what its last options made of the answer."""

    end: int  # where its message ends in the frame
    options: bytes | None  # as last seen; None before the first were read
    source: bytes
    source_sum: int  # the `word_sum` of the source
    known_sum: int  # of the pseudo-header, without the destination, and of `options`
    envelope: Envelope
    live: Body
    claimed: Body

    def sum_with(self, options: bytes) -> int:
        """Return what `known_sum` is with other options."""
        return self.source_sum + self.end - layout.ICMP + layout.ICMPV6 + word_sum(options)


class Bodies(NamedTuple):
    """What an uplink advertises in its state, by its policy."""

    live: Body
    claimed: Body
    defended_live: Body  # to all nodes
    defended_claimed: Body


def prepare_bodies(state: UplinkState, policy: Policy) -> Bodies:
    """Prepare what the uplink advertises now, to every requester alike."""
    bodies = (
        prepare(state.lladdr, solicited | router_flag(state, policy) | override_flag(policy, is_live))
        for solicited in (layout.SOLICITED_FLAG, 0)  # 7.2.4: to all nodes Solicited must be zero
        for is_live in (True, False)
    )
    return Bodies(*bodies)


def judge(state: UplinkState, key: bytes) -> "Requester | Outcome":
    """Judge what the frames of one requester have in common: `key`, their octets `REQUESTER`."""
    ethernet_source, ether_type, version, length, next_header, hop_limit, source = _FIELDS.unpack(key)
    if ether_type != layout.ETH_P_IPV6 or version >> 4 != 6:
        return Outcome.NOT_IPV6
    if next_header != layout.ICMPV6:  # RFC 6980 5: fragments and headers in between are silent
        return Outcome.NOT_ICMPV6
    if hop_limit != layout.NDP_HOP_LIMIT:  # 7.1.1: Hop Limit is 255; first of all, as in the kernel's program
        return Outcome.BAD_HOP_LIMIT
    if length == 0:
        return Outcome.BAD_PAYLOAD_LENGTH
    if length < layout.SOLICITATION_HEADER:  # 7.1.1: ICMP length is 24 or more octets
        return Outcome.MESSAGE_TOO_SHORT
    if length % 8:  # 4.6: options come in units of 8 octets, so the last one reaches past the end
        return Outcome.BAD_OPTION
    if ethernet_source == state.lladdr:
        return Outcome.OWN_FRAME
    if not is_unicast_lladdr(ethernet_source):
        return Outcome.BAD_ETHERNET_SOURCE
    if is_multicast(source) or source == LOOPBACK or source.startswith(V4_MAPPED_PREFIX):
        return Outcome.BAD_SOURCE
    if source in state.own_addresses:
        return Outcome.OWN_SOURCE
    return Requester(layout.ICMP + length, None, source, word_sum(source), 0, _NO_ENVELOPE, _NO_BODY, _NO_BODY)


def judge_short(frame: bytes) -> Outcome:
    """Judge a frame that is too short for a solicitation: one that a router forwarded is no less forwarded."""
    if len(frame) <= layout.ICMP_TYPE or frame[layout.ETHER_TYPE] != _ETHER_TYPE or frame[layout.VERSION] >> 4 != 6:
        return Outcome.TOO_SHORT
    forwarded = frame[layout.NEXT_HEADER] == layout.ICMPV6 and frame[layout.HOP_LIMIT] != layout.NDP_HOP_LIMIT
    return Outcome.BAD_HOP_LIMIT if forwarded else Outcome.TOO_SHORT


def prepare_answers(
    state: UplinkState, bodies: Bodies, key: bytes, options: bytes, requester: Requester
) -> Outcome | None:
    """Address the advertisements to a requester as the options of a whole message say, or return what is wrong."""
    lladdr = lladdr_option(options, layout.SOURCE_LLADDR_OPTION)
    if isinstance(lladdr, Outcome):
        return lladdr
    if requester.source == UNSPECIFIED:
        if lladdr is not None:  # 7.1.1: no source link-layer address option
            return Outcome.DAD_WITH_SLLA
        requester.envelope = address(state.lladdr, ALL_NODES_LLADDR, ALL_NODES, word_sum(ALL_NODES))  # 7.2.4
        requester.live, requester.claimed = bodies.defended_live, bodies.defended_claimed
        return None
    station = key[_STATION]
    if lladdr not in (None, station, state.lladdr) and is_unicast_lladdr(lladdr):
        station = lladdr  # behind VRRP it differs from the frame's source
    requester.envelope = address(state.lladdr, station, requester.source, requester.source_sum)
    requester.live, requester.claimed = bodies.live, bodies.claimed
    return None


def router_flag(state: UplinkState, policy: Policy) -> int:
    """Return the Router flag of advertisements now, or 0."""
    wanted = policy.router_flag
    return layout.ROUTER_FLAG if wanted == "always" or (wanted == "auto" and state.forwarding) else 0


def override_flag(policy: Policy, is_live: bool) -> int:
    """Return the Override flag for a live or a claimed target, or 0."""
    # 7.2.8 asks a proxy to leave it unset, so that the address's real owner wins; nobody else owns a live one
    override = policy.override
    return layout.OVERRIDE_FLAG if override == "always" or (override == "auto" and is_live) else 0
