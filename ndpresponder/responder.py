"""The policy: one received frame in, one advertisement or one named reason for silence out.

Pure: no socket, no clock of its own, no logging. `Responder.respond` never raises, whatever the bytes.
RFC numbers without a name are sections of RFC 4861.

A frame's octets 6 to 38 (`REQUESTER`) are the same in every solicitation of one requester: link-layer source,
EtherType, version, payload length, next header, hop limit, IPv6 source. They are judged once and the result is
remembered, be it a reason for silence or the advertisement prepared for that requester; what is left for each
frame is the message itself and its target.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from ndpresponder.outcome import Outcome
from ndpresponder.targets.table import EMPTY, Match, TargetTable
from ndpresponder.wire.addresses import (
    ALL_NODES,
    ALL_NODES_LLADDR,
    LOOPBACK,
    SOLICITED_NODE_PREFIX,
    UNSPECIFIED,
    V4_MAPPED_PREFIX,
    is_link_local,
    is_multicast,
    is_unicast_lladdr,
)
from ndpresponder.wire.advertisement import Template, fill, prepare
from ndpresponder.wire.checksum import word_sum
from ndpresponder.wire.layout import (
    DESTINATION,
    ETH_P_IPV6,
    ETHER_TYPE,
    ETHERNET_DESTINATION,
    ETHERNET_SOURCE,
    HOP_LIMIT,
    ICMP,
    ICMP_CODE,
    ICMP_TYPE,
    ICMPV6,
    NDP_HOP_LIMIT,
    NEIGHBOR_SOLICITATION,
    NEXT_HEADER,
    OPTIONS,
    OVERRIDE_FLAG,
    PAYLOAD_LENGTH,
    REQUESTER,
    ROUTER_FLAG,
    SOLICITATION_HEADER,
    SOLICITED_FLAG,
    SOURCE,
    TARGET,
    VERSION,
)
from ndpresponder.wire.solicitation import source_lladdr

# How many requesters are remembered. A link has a handful of routers; strangers can make up any number, so
# the memory is emptied when it is full: about 1 kB each, rebuilt in some microseconds.
MAX_REQUESTERS: Final = 4096
# Longer options are read again in each frame: with SEND they differ anyway, and a stranger fills a whole frame.
MAX_REMEMBERED_OPTIONS: Final = 64

_from_bytes = int.from_bytes
_SUMMED = slice(DESTINATION.start, OPTIONS)  # what the checksum covers and no requester repeats
_ETHER_TYPE = ETH_P_IPV6.to_bytes(2, "big")
_NO_TEMPLATE = prepare(bytes(6), bytes(6), UNSPECIFIED, 0)
_LIVE, _CLAIMED, _EXCLUDED = Match.LIVE, Match.CLAIMED, Match.EXCLUDED
_MULTICAST, _UNICAST, _DAD = Outcome.ANSWERED_MULTICAST, Outcome.ANSWERED_UNICAST, Outcome.ANSWERED_DAD


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of one uplink that shape its answers; the words are those of the configuration."""

    router_flag: Literal["auto", "always", "never"] = "auto"
    override: Literal["auto", "always", "never"] = "auto"
    unicast: Literal["always", "live", "never"] = "always"
    dad: Literal["defend", "ignore"] = "defend"
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class UplinkState:
    """What the kernel says of an uplink now."""

    lladdr: bytes
    own_addresses: frozenset[bytes] = frozenset()
    gateways: frozenset[bytes] = frozenset()
    forwarding: bool = False


class _Requester(NamedTuple):
    """A requester whose octets `REQUESTER` are in order, and what its last options made of the answer."""

    end: int  # where its message ends in the frame
    options: bytes | None  # as last seen; None before the first were read
    header_sum: int  # of the pseudo-header, without the destination
    source: bytes
    known_sum: int  # `header_sum` and the sum of `options`
    live: Template
    claimed: Template


class Responder:
    """Decides for one uplink; feed it frames, and tell it when the uplink or the table changes."""

    __slots__ = ("_never", "_policy", "_requesters", "_state", "_take", "is_there", "table")

    def __init__(self, policy: Policy, take: Callable[[], bool] | None = None) -> None:
        """Start with nothing to answer; `take` spends one answer of a rate limit, or says there is none left."""
        self._policy = policy
        self._take = take
        self._state: UplinkState | None = None
        self._never: frozenset[bytes] = frozenset()
        self._requesters: dict[bytes, _Requester | Outcome] = {}
        self.table: TargetTable = EMPTY
        self.is_there: Callable[[bytes], bool] | None = None  # must say so before a claimed target is answered for

    def follow(self, state: UplinkState | None) -> None:
        """Answer from now on for an uplink in `state`; None while it cannot be answered on."""
        self._state = state
        self._never = state.own_addresses | state.gateways if state else frozenset()
        self._requesters.clear()

    def respond(self, frame: bytes, to_other_host: bool = False) -> tuple[Outcome, bytes | None]:
        """Return how `frame` ends and, when that is an answer, the advertisement to send.

        `to_other_host` is the kernel's PACKET_OTHERHOST: set although the frame is for us, it is the one sign
        left of a VLAN tag.
        """
        state = self._state
        if state is None:
            return Outcome.NOT_READY, None
        if len(frame) < OPTIONS:
            return Outcome.TOO_SHORT, None
        requester = self._requesters.get(frame[REQUESTER])
        if requester is None:
            requester = self._meet(state, frame)
        if not isinstance(requester, _Requester):
            return requester, None
        end, options, _, source, known_sum, live, claimed = requester

        if len(frame) < end:
            return Outcome.BAD_PAYLOAD_LENGTH, None
        if frame[ICMP_TYPE] != NEIGHBOR_SOLICITATION:
            return Outcome.NOT_SOLICITATION, None
        if frame[ICMP_CODE]:  # 7.1.1: ICMP Code is 0
            return Outcome.BAD_CODE, None
        if frame[OPTIONS:end] != options:
            prepared = self._prepare(state, frame, requester)
            if isinstance(prepared, Outcome):
                return prepared, None
            _, _, _, _, known_sum, live, claimed = prepared
        # 7.1.1: ICMP Checksum is valid; `wire.checksum` says why one division tells
        if (_from_bytes(frame[_SUMMED], "big") + known_sum) % 65535:
            return Outcome.BAD_CHECKSUM, None

        target = frame[TARGET]
        destination = frame[DESTINATION]
        if destination == SOLICITED_NODE_PREFIX + target[13:]:
            answered = _MULTICAST if source != UNSPECIFIED else _DAD
        elif source == UNSPECIFIED:  # 7.1.1: to the solicited-node group
            return Outcome.DAD_BAD_DESTINATION, None
        elif destination == target:
            answered = _UNICAST
        else:
            return Outcome.BAD_DESTINATION, None
        if source == target:
            return Outcome.SOURCE_IS_TARGET, None
        if frame[0] & 1:
            if answered is _UNICAST:
                return Outcome.UNICAST_IN_MULTICAST, None
        elif frame[ETHERNET_DESTINATION] != state.lladdr:
            return Outcome.OTHER_LLADDR, None
        if to_other_host:
            return Outcome.VLAN_TAGGED, None

        value = _from_bytes(target, "big")
        match = self.table.match(target, value)
        if match is _LIVE:
            template = live
        elif match is _CLAIMED:
            template = claimed
        else:
            return self._unmatched(match, target), None
        if target in self._never:
            return Outcome.EXCLUDED, None

        policy = self._policy
        if answered is _UNICAST:
            if policy.unicast != "always" and (policy.unicast == "never" or match is _CLAIMED):
                return Outcome.UNICAST_POLICY, None
        elif answered is _DAD and policy.dad == "ignore":
            return Outcome.DAD_POLICY, None
        if match is _CLAIMED and self.is_there is not None and not self.is_there(target):
            return Outcome.NOT_VERIFIED, None
        if self._take is not None and not self._take():
            return Outcome.RATE_LIMITED, None
        if policy.dry_run:
            return Outcome.DRY_RUN, None
        return answered, fill(template, target, value)

    def _meet(self, state: UplinkState, frame: bytes) -> "_Requester | Outcome":
        """Judge what a requester's frames have in common, and remember it."""
        known = self._judge(state, frame)
        self._remember(frame[REQUESTER], known)
        return known

    def _remember(self, key: bytes, known: "_Requester | Outcome") -> None:
        if len(self._requesters) >= MAX_REQUESTERS:
            self._requesters.clear()
        self._requesters[key] = known

    def _judge(self, state: UplinkState, frame: bytes) -> "_Requester | Outcome":
        if frame[ETHER_TYPE] != _ETHER_TYPE or frame[VERSION] >> 4 != 6:
            return Outcome.NOT_IPV6
        if frame[NEXT_HEADER] != ICMPV6:  # RFC 6980 5: fragments and headers in between are silent
            return Outcome.NOT_ICMPV6
        length = int.from_bytes(frame[PAYLOAD_LENGTH], "big")
        if length == 0:
            return Outcome.BAD_PAYLOAD_LENGTH
        if length < SOLICITATION_HEADER:  # 7.1.1: ICMP length is 24 or more octets
            return Outcome.MESSAGE_TOO_SHORT
        if length % 8:  # 4.6: options come in units of 8 octets, so the last one reaches past the end
            return Outcome.BAD_OPTION
        if frame[HOP_LIMIT] != NDP_HOP_LIMIT:  # 7.1.1: Hop Limit is 255
            return Outcome.BAD_HOP_LIMIT
        ethernet_source = frame[ETHERNET_SOURCE]
        if ethernet_source == state.lladdr:
            return Outcome.OWN_FRAME
        if not is_unicast_lladdr(ethernet_source):
            return Outcome.BAD_ETHERNET_SOURCE
        source = frame[SOURCE]
        if is_multicast(source) or source == LOOPBACK or source.startswith(V4_MAPPED_PREFIX):
            return Outcome.BAD_SOURCE
        if source in state.own_addresses:
            return Outcome.OWN_SOURCE
        header_sum = word_sum(source) + length + ICMPV6
        return _Requester(ICMP + length, None, header_sum, source, 0, _NO_TEMPLATE, _NO_TEMPLATE)

    def _prepare(self, state: UplinkState, frame: bytes, requester: _Requester) -> "_Requester | Outcome":
        """Read the options of a message and prepare the advertisements for its requester.

        A wrong checksum is found here as well: what is remembered comes from whole messages only.
        """
        options = frame[OPTIONS : requester.end]
        known_sum = requester.header_sum + word_sum(options)
        if (word_sum(frame[_SUMMED]) + known_sum) % 65535:
            return Outcome.BAD_CHECKSUM
        lladdr = source_lladdr(options)
        if isinstance(lladdr, Outcome):
            return lladdr
        destination, ethernet_destination, flags = requester.source, frame[ETHERNET_SOURCE], SOLICITED_FLAG
        if requester.source == UNSPECIFIED:
            if lladdr is not None:  # 7.1.1: no source link-layer address option
                return Outcome.DAD_WITH_SLLA
            # 7.2.4: to all nodes, and then Solicited must be zero
            destination, ethernet_destination, flags = ALL_NODES, ALL_NODES_LLADDR, 0
        elif lladdr is not None and is_unicast_lladdr(lladdr) and lladdr != state.lladdr:
            ethernet_destination = lladdr  # behind VRRP it differs from the frame's source
        flags |= self._router_flag(state)
        live, claimed = (
            prepare(state.lladdr, ethernet_destination, destination, flags | self._override_flag(is_live))
            for is_live in (True, False)
        )
        prepared = requester._replace(options=options, known_sum=known_sum, live=live, claimed=claimed)
        if len(options) <= MAX_REMEMBERED_OPTIONS:
            self._remember(frame[REQUESTER], prepared)
        return prepared

    def unsolicited_flags(self) -> int:
        """Return the flags of the advertisement that announces a live target: R and O, never S (7.2.6)."""
        return (self._router_flag(self._state) if self._state else 0) | self._override_flag(True)

    def _router_flag(self, state: UplinkState) -> int:
        router_flag = self._policy.router_flag
        return ROUTER_FLAG if router_flag == "always" or (router_flag == "auto" and state.forwarding) else 0

    def _override_flag(self, is_live: bool) -> int:
        # 7.2.8 asks a proxy to leave it unset, so that the address's real owner wins; nobody else owns a live one
        override = self._policy.override
        return OVERRIDE_FLAG if override == "always" or (override == "auto" and is_live) else 0

    def _unmatched(self, match: Match, target: bytes) -> Outcome:
        if is_multicast(target) or target in (UNSPECIFIED, LOOPBACK):  # 7.1.1: Target Address is not multicast
            return Outcome.BAD_TARGET
        if is_link_local(target):
            return Outcome.LINK_LOCAL_TARGET
        return Outcome.EXCLUDED if match is _EXCLUDED or target in self._never else Outcome.NOT_OURS
