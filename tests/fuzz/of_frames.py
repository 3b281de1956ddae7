"""The frame path under any frames, states, tables, policies and limits, which change in between; the second protocol
in `model` says what each frame must end in."""

from ipaddress import IPv6Address, IPv6Network

import frames
from frames import with_right_checksum
from octets import Octets, packet
from protocol_model import World, expected

from ndpresponder.outcome import Outcome
from ndpresponder.policy.requester import Policy, UplinkState
from ndpresponder.policy.responder import Responder
from ndpresponder.policy.table import Prefix, TargetTable
from ndpresponder.wire.solicitation import kind_of

STEPS_MAX = 12  # the model takes half a millisecond for each
LEFT_TO_WHAT_IS_URGENT = 2
LARGEST_GROWTH = 8  # octets: 78 are the shortest solicitation, 86 every advertisement
POOL = tuple(
    map(
        IPv6Address,
        (
            "2001:db8::c1",
            "2001:db8::c2",
            "2001:db8::1:c1",
            "2001:db8:1::c1",
            "2001:db8:ffff::2",
            "fd00::c1",
            "fe80::1",
            "fe80::2",
            "::",
            "::1",
            "::2",
            "::ffff:192.0.2.1",
            "ff02::1",
            "ff02::1:ff00:c1",
            "feff:ffff::c1",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ),
    )
)
LENGTHS = (128, 127, 112, 104, 64, 60, 10, 8, 4, 1, 0)
STATIONS = (frames.UPLINK_LLADDR, frames.ROUTER_LLADDR, "00:00:5e:00:02:01")
WORDS = ("auto", "always", "never")
MEND_LENGTH, MEND_CHECKSUM, TO_GROUP, TO_OTHER_HOST, FOR_POOL, FROM_POOL = (1 << bit for bit in range(6))


class Subject:
    """A responder, and the world as it should see it."""

    def __init__(self, choices: Octets) -> None:
        word = choices.byte()
        self.policy = {
            "router_flag": WORDS[word % 3],
            "override": WORDS[word // 3 % 3],
            "unicast": ("always", "live", "never")[word // 9 % 3],
            "dad": ("live", "defend", "ignore")[word // 27 % 3],
            "dry_run": word // 81 == 2,
        }
        limits = choices.byte()
        self.tokens = limits >> 1 if limits & 1 else None
        self.responder = Responder(Policy(**self.policy), None if self.tokens is None else self._take)
        self.verifying = False
        self.ready = True
        self.change_state(choices)
        self.change_table(choices)

    def _take(self, urgent: bool) -> bool:
        assert self.tokens is not None
        left = self.tokens > (0 if urgent else LEFT_TO_WHAT_IS_URGENT)
        self.tokens -= left
        return left

    def change_state(self, choices: Octets) -> None:
        station, self.forwarding = choices.pick(STATIONS), bool(choices.byte() & 1)
        self.lladdr, self.own, self.gateways = station, choices.some(POOL), choices.some(POOL)
        own, gateways = (frozenset(each.packed for each in some) for some in (self.own, self.gateways))
        self.responder.set_state(UplinkState(frames.lladdr(station), own, gateways, self.forwarding))
        self.ready = True

    def change_table(self, choices: Octets) -> None:
        self.live = choices.some(POOL)
        self.claimed, self.excluded = (self._prefixes(choices) for _ in range(2))
        self.responder.table = TargetTable.build(
            (address.packed for address in self.live), *map(_as_prefixes, (self.claimed, self.excluded))
        )

    @staticmethod
    def _prefixes(choices: Octets) -> frozenset[IPv6Network]:
        return frozenset(
            IPv6Network((choices.pick(POOL), choices.pick(LENGTHS)), strict=False) for _ in range(choices.byte() % 4)
        )

    def change_verification(self, choices: Octets) -> None:
        self.verifying = bool(choices.byte() & 1)
        self.responder.is_there = _is_odd if self.verifying else None

    def go_down(self) -> None:
        self.responder.set_state(None)
        self.ready = False

    def check(self, frame: bytes, to_other_host: bool) -> None:
        """Give the responder a frame and fail unless it ends as it must."""
        tokens = self.tokens
        outcome, advertisement = self.responder.respond(frame, to_other_host)
        kind_of(frame)
        assert (advertisement is not None) == outcome.answered
        if not self.ready:
            assert outcome is Outcome.NOT_READY
            return
        wanted = expected(self.world(), frame, to_other_host)
        reasons, answer = wanted.reasons, wanted.advertisement
        if reasons <= {Outcome.DRY_RUN}:  # what is decided after everything that the model knows
            if self.verifying and IPv6Address(frame[62:78]) not in self.live and not _is_odd(frame[62:78]):
                reasons, answer = {Outcome.NOT_VERIFIED}, None
            elif tokens is not None and tokens <= (0 if self._is_urgent(frame) else LEFT_TO_WHAT_IS_URGENT):
                reasons, answer = {Outcome.RATE_LIMITED}, None
        assert advertisement == answer
        assert outcome in reasons or (not reasons and outcome is wanted.kind)
        assert advertisement is None or len(advertisement) == 86 <= len(frame) + LARGEST_GROWTH

    def _is_urgent(self, frame: bytes) -> bool:
        return IPv6Address(frame[62:78]) in self.live or frame[38] != 0xFF

    def world(self) -> World:
        own, gateways, live = map(frozenset, (self.own, self.gateways, self.live))
        return World(
            self.lladdr,
            own,
            gateways,
            self.forwarding,
            live,
            self.claimed,
            self.excluded,
            policy=self.policy,
            verifies=self.verifying,
        )


def _as_prefixes(networks: frozenset[IPv6Network]) -> list[Prefix]:
    return [Prefix(int(network.network_address), network.prefixlen) for network in networks]


def _is_odd(target: bytes) -> bool:
    return bool(target[15] & 1)


def _frame(choices: Octets) -> tuple[bytes, bool]:
    """Return a frame and whether it was sent to another host; the flags before it make it likelier to be in order."""
    flags, pools = choices.byte(), choices.byte()
    frame = choices.packet()
    if len(frame) >= 78:
        if flags & FOR_POOL:
            frame = frame[:62] + POOL[pools & 15].packed + frame[78:]
        if flags & FROM_POOL:
            frame = frame[:22] + POOL[pools >> 4].packed + frame[38:]
        if flags & TO_GROUP:
            group = frames.solicited_node(frame[62:78])
            frame = b"\x33\x33" + group[12:] + frame[6:38] + group + frame[54:]
        if flags & MEND_LENGTH:
            frame = frame[:18] + (len(frame) - 54).to_bytes(2, "big") + frame[20:]
        if flags & MEND_CHECKSUM:
            frame = with_right_checksum(frame)
    return frame, bool(flags & TO_OTHER_HOST)


def check(octets: bytes) -> None:
    """Run one life of a responder."""
    choices = Octets(octets)
    subject = Subject(choices)
    last = b"", False
    for _ in range(STEPS_MAX):
        if not choices:
            break
        match choices.byte() % 8:
            case 0:
                subject.change_state(choices)
            case 1:
                subject.change_table(choices)
            case 2:
                subject.change_verification(choices)
            case 3:
                subject.go_down()
            case 4:
                subject.check(*last)
            case _:
                last = _frame(choices)
                subject.check(*last)


def _life(*frames_: bytes, flags: int = 0, limits: int = 0, policy: int = 0) -> bytes:
    """Return the octets of a life: 2001:db8::/64 is claimed, ::c1 live, each frame comes twice."""
    start = bytes((policy, limits, 0, 1, 0x00, 0x10, 0x00, 0x40, 0x00, 0x01, 1, 0, 4, 0))
    return start + b"".join(bytes((5, flags, 0)) + packet(frame) + b"\4" for frame in frames_)


SEEDS = (
    _life(frames.solicitation("2001:db8::c2"), frames.solicitation()),
    _life(frames.solicitation(source="::"), frames.solicitation(destination=frames.TARGET), limits=5),
    _life(frames.solicitation(slla=None), flags=MEND_CHECKSUM | MEND_LENGTH),
    _life(
        frames.solicitation(options=frames.option(14, b"noncen")), flags=MEND_CHECKSUM | TO_GROUP | FOR_POOL, policy=9
    ),
    _life(frames.solicitation(), policy=81 * 2),
    _life(frames.solicitation("2001:db8::c3"))[:-1] + bytes((2, 1, 4, 2, 0, 4, 3, 4, 0, 1, 1, 0, 0, 0, 0, 4)),
)
DICTIONARY = (b"\x86\xdd", b"\x60\x00\x00\x00", b"\x3a\xff", b"\x87\x00", b"\x01\x01", b"\x00\x56", b"\x00\x4e")
