"""The policy: one received frame in, one advertisement or one named reason for silence out.

Pure: no socket, no clock of its own, no logging. `Responder.respond` never raises, whatever the bytes.
RFC numbers without a name are sections of RFC 4861.

The responder remembers two things, both bounded, and forgets both when the uplink or the table changes:
- What the solicitations of a requester have in common (see `requester`), so that each frame leaves its message and its
  target to judge. A requester that solicited once makes room for any other. One that solicited again is known.
- Whole answers: a router solicits the same target with the same octets every time, checksum included.
"""

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ndpresponder.outcome import Outcome
from ndpresponder.policy.known_requesters import KnownRequesters
from ndpresponder.policy.requester import (
    Bodies,
    Policy,
    Requester,
    UplinkState,
    judge,
    judge_short,
    override_flag,
    prepare_answers,
    prepare_bodies,
    router_flag,
)
from ndpresponder.policy.table import EMPTY, Match, TargetTable
from ndpresponder.wire.addresses import SOLICITED_NODE_PREFIX, UNSPECIFIED
from ndpresponder.wire.advertisement import fill
from ndpresponder.wire.icmpv6 import word_sum
from ndpresponder.wire.layout import (
    ADVERTISEMENT_LENGTH,
    ETHERNET_DESTINATION,
    ETHERNET_SOURCE,
    NEIGHBOR_SOLICITATION,
    OPTIONS,
)
from ndpresponder.wire.solicitation import judge_target

# For so many requesters answers are prepared, about 1 kB each: known ones, and ones that solicited once. A link has a
# handful of routers; a host can make up any number. All of a kind are forgotten at once: coming first keeps none.
MAX_REQUESTERS: Final = 4096
MAX_NEWCOMERS: Final = 1024
# Longer options are read again in each frame: with SEND they differ anyway, and a hostile host fills a whole frame.
MAX_REMEMBERED_OPTIONS: Final = 64
# How many answers are remembered, about 0.4 kB each. A scan must not pay for filling a memory it never uses: when it is
# full, nothing more is remembered until so many frames were not found in it.
MAX_ANSWERS: Final = 1024
MISSES_BEFORE_FORGETTING: Final = 65536

_from_bytes = int.from_bytes
_LIVE, _CLAIMED, _EXCLUDED = Match.LIVE, Match.CLAIMED, Match.EXCLUDED
_MULTICAST, _UNICAST, _DAD = Outcome.ANSWERED_MULTICAST, Outcome.ANSWERED_UNICAST, Outcome.ANSWERED_DAD

# Ethernet destination, `REQUESTER`, destination; type and code, checksum, reserved bits, target
_FIELDS = struct.Struct("!6s32s16sHHI16s")
_GROUPS_SUM = word_sum(SOLICITED_NODE_PREFIX + bytes(3))  # of a solicited-node group, without its low 24 bits
_SOLICITATION = NEIGHBOR_SOLICITATION << 8  # type and code

Answer = tuple[Outcome, bytes | None]
Take = Callable[[bool], bool]


class Responder:
    """Decides for one uplink; feed it frames, and tell it when the uplink or the table changes."""

    def __init__(self, policy: Policy, take: Take | None = None, known: KnownRequesters | None = None) -> None:
        """Start with nothing to answer; `take` spends one answer of a rate limit, or says there is none left.

        It is told whether the answer is urgent: for a live target, or to a reachability probe. Others, which a scan
        of a claimed prefix asks for without end, must leave it something (RFC 6583 7.1). Requesters that ask a valid
        question again become `known`.
        """
        self._policy = policy
        self._take = take
        self._state: UplinkState | None = None
        self._bodies: Bodies  # of the last state
        self.never: frozenset[bytes] = frozenset()  # are never answered for, whatever the table says
        self._requesters: dict[bytes, Requester] = {}
        self._newcomers: dict[bytes, Requester | Outcome] = {}
        self.known = known if known is not None else KnownRequesters(lambda: 0.0)
        self._answers: dict[bytes, Answer] = {}
        # Finds what `respond` would answer at once, to a frame that is not to another host
        self.recall: Callable[[bytes], Answer | None] = self._answers.get
        self._misses = 0
        # Told of each solicitation by which another host finds that an address is taken
        self.on_defence: Callable[[bytes], None] = lambda _: None
        self._table: TargetTable = EMPTY
        self._is_there: Callable[[bytes], bool] | None = None

    @property
    def table(self) -> TargetTable:
        """The targets answered for."""
        return self._table

    @table.setter
    def table(self, table: TargetTable) -> None:
        self._table = table
        self._forget_answers()

    @property
    def is_there(self) -> Callable[[bytes], bool] | None:
        """Who must say that a claimed target is there before it is answered for; None: nobody."""
        return self._is_there

    @is_there.setter
    def is_there(self, is_there: Callable[[bytes], bool] | None) -> None:
        self._is_there = is_there
        self._forget_answers()

    def configure(self, policy: Policy, take: Take | None) -> None:
        """Answer by another policy and another rate limit from the next frame on."""
        self._policy = policy
        self._take = take
        self.set_state(self._state)

    def set_state(self, state: UplinkState | None) -> None:
        """Answer from now on for an uplink in `state`; None while it cannot be answered on."""
        self._state = state
        self.never = frozenset()
        if state is not None:
            self._bodies = prepare_bodies(state, self._policy)
            self.never = state.never
        self._requesters.clear()
        self._newcomers.clear()
        self._forget_answers()

    def rehearse(self, frame: bytes, is_there: Callable[[bytes], bool] | None) -> Outcome:
        """Return how `frame` would end: no limit is spent, nobody is looked for, nothing is remembered."""
        twin = Responder(self._policy)
        twin.set_state(self._state)
        twin.table, twin.is_there = self._table, is_there
        return twin.respond(frame)[0]

    def respond(self, frame: bytes, to_other_host: bool = False) -> Answer:
        """Return how `frame` ends and, when that is an answer, the advertisement to send.

        `to_other_host` is the kernel's PACKET_OTHERHOST: set although the frame is for us, it is the one sign
        left of a VLAN tag.
        """
        answer = self.recall(frame)
        return self.decide(frame, to_other_host) if answer is None or to_other_host else answer

    def decide(self, frame: bytes, to_other_host: bool = False) -> Answer:
        """Return the same, without a look at what was answered before."""
        state = self._state
        if state is None:
            return Outcome.NOT_READY, None
        if len(frame) < OPTIONS:
            return judge_short(frame), None
        ethernet_destination, key, destination, message, check, reserved, target = _FIELDS.unpack_from(frame)
        requester = self._requesters.get(key)
        if requester is None:
            met = self._meet(state, key)
            if not isinstance(met, Requester):
                return met, None
            requester = met
        end, source = requester.end, requester.source
        if len(frame) < end:
            return Outcome.BAD_PAYLOAD_LENGTH, None
        if message != _SOLICITATION:  # 7.1.1: ICMP Code is 0
            return Outcome.BAD_CODE if message >> 8 == NEIGHBOR_SOLICITATION else Outcome.NOT_SOLICITATION, None
        options = frame[OPTIONS:end]
        is_new = options != requester.options
        known_sum = requester.sum_with(options) if is_new else requester.known_sum
        value = _from_bytes(target, "big")
        target_sum = value % 65535  # `wire.icmpv6` says why one division tells
        is_group = destination == SOLICITED_NODE_PREFIX + target[13:]
        destination_sum = _GROUPS_SUM + (value & 0xFFFFFF) if is_group else word_sum(destination)
        # 7.1.1: ICMP Checksum is valid
        if (known_sum + destination_sum + message + check + reserved + target_sum) % 65535:
            return Outcome.BAD_CHECKSUM, None
        if is_new:
            if len(options) > MAX_REMEMBERED_OPTIONS:
                requester = replace(requester)  # what is remembered stays as it is
            wrong = prepare_answers(state, self._bodies, key, options, requester)
            if wrong is not None:
                return wrong, None
            requester.options, requester.known_sum = options, known_sum

        if is_group:
            answered = _MULTICAST if source != UNSPECIFIED else _DAD
        elif source == UNSPECIFIED:  # 7.1.1: to the solicited-node group
            return Outcome.DAD_BAD_DESTINATION, None
        elif destination == target:
            answered = _UNICAST
        else:
            return Outcome.BAD_DESTINATION, None
        if source == target:
            return Outcome.SOURCE_IS_TARGET, None
        if ethernet_destination[0] & 1:
            if answered is _UNICAST:
                return Outcome.UNICAST_IN_MULTICAST, None
        elif ethernet_destination != state.lladdr:
            return Outcome.OTHER_LLADDR, None
        if to_other_host:
            return Outcome.VLAN_TAGGED, None

        match = self._table.match(target, value)
        if match is _LIVE:
            body = requester.live
        elif match is _CLAIMED:
            body = requester.claimed
        else:
            return self._unmatched(match, target), None
        if target in self.never:
            return Outcome.EXCLUDED, None

        policy = self._policy
        if answered is _UNICAST:
            if policy.unicast != "always" and (policy.unicast == "never" or match is _CLAIMED):
                return Outcome.UNICAST_POLICY, None
        elif answered is _DAD and not policy.defends(match, self._is_there is not None):
            return Outcome.DAD_POLICY, None
        if match is _CLAIMED and self._is_there is not None and not self._is_there(target):
            return Outcome.NOT_VERIFIED, None
        if self._take is not None and not self._take(answered is _UNICAST or match is _LIVE):
            return Outcome.RATE_LIMITED, None
        if policy.dry_run:
            return Outcome.DRY_RUN, None
        answer = answered, fill(requester.envelope, body, target, target_sum)
        if answered is _DAD:  # not remembered: each one is told of
            self.on_defence(frame)
            return answered, _defence(frame, answer[1])
        # What must be verified again, or spends of a limit, is decided again
        if self._take is None and (match is _LIVE or self._is_there is None):
            if len(self._answers) >= MAX_ANSWERS:
                self._misses += 1
                if self._misses >= MISSES_BEFORE_FORGETTING:
                    self._forget_answers()
            elif key in self.known.since_s and len(frame) <= ADVERTISEMENT_LENGTH:
                # Others would never become known by one target; longer frames are few, and a hostile host fills them
                self._answers[frame] = answer
        return answer

    def _forget_answers(self) -> None:
        self._answers.clear()
        self._misses = 0

    def _meet(self, state: UplinkState, key: bytes) -> Requester | Outcome:
        """Judge what a requester's frames have in common, and remember it; who asks again is no newcomer any more."""
        known = self._newcomers.get(key)
        if known is None:
            known = judge(state, key)
            if len(self._newcomers) >= MAX_NEWCOMERS:
                self._newcomers.clear()
            self._newcomers[key] = known
        elif isinstance(known, Requester) and known.options is not None and self.known.meet(key):
            del self._newcomers[key]
            if len(self._requesters) >= MAX_REQUESTERS:
                self._requesters.clear()
            self._requesters[key] = known
        return known

    def unsolicited_flags(self) -> int:
        """Return the flags of the advertisement that announces a live target: R and O, never S (7.2.6)."""
        return (router_flag(self._state, self._policy) if self._state else 0) | override_flag(self._policy, True)

    def _unmatched(self, match: Match, target: bytes) -> Outcome:
        if (wrong := judge_target(target)) is not None:
            return wrong
        return Outcome.EXCLUDED if match is _EXCLUDED or target in self.never else Outcome.NOT_OURS


def _defence(frame: bytes, advertisement: bytes) -> bytes:
    """Return the `advertisement` to all nodes in the Ethernet frame that answers `frame`.

    A switch may send a solicitation to us alone (RFC 6085): then only its sender waits for the answer, and a
    neighbor that sends frames to one station must not have us flood the link.
    """
    if frame[ETHERNET_DESTINATION.start] & 1:
        return advertisement
    return frame[ETHERNET_SOURCE] + advertisement[ETHERNET_DESTINATION.stop :]
