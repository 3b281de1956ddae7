"""The protocol a second time, slow and from scapy's parts: what a frame must end in.

It knows all reasons for silence of a frame, not just the first, so it does not care in which order they are looked
for. It remembers nothing. Nothing here comes from the code under test but the names of the outcomes.
"""

import struct
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6, in6_chksum
from scapy.layers.l2 import Ether
from scapy.utils6 import in6_getnsma

from ndpresponder.outcome import Outcome

NO_STATION = "00:00:00:00:00:00"
ALL_NODES = IPv6Address("ff02::1")


@dataclass(frozen=True)
class World:
    """An uplink, what is ours on it, and how it is configured."""

    lladdr: str
    own_addresses: frozenset[IPv6Address]
    gateways: frozenset[IPv6Address]
    forwarding: bool
    live: frozenset[IPv6Address]
    claimed: frozenset[IPv6Network]
    excluded: frozenset[IPv6Network]
    policy: dict[str, object] = field(default_factory=dict)
    anycast: frozenset[IPv6Address] = frozenset()
    verifies: bool = False

    def _policy(self, name: str, default: str) -> object:
        return self.policy.get(name, default)

    def flag(self, name: str, auto: bool) -> bool:
        setting = self._policy(name, "auto")
        return setting == "always" or (setting == "auto" and auto)

    def reasons_of_policy(self, target: IPv6Address, kind: Outcome) -> set[Outcome]:
        """Return why a valid solicitation for `target` stays without an answer."""
        if target in self.own_addresses | self.gateways | self.anycast or any(
            target in prefix for prefix in self.excluded
        ):
            reasons = {Outcome.EXCLUDED}
        elif target not in self.live and not any(target in prefix for prefix in self.claimed):
            reasons = {Outcome.NOT_OURS}
        else:
            reasons = set()
        if target.is_link_local:
            reasons.add(Outcome.LINK_LOCAL_TARGET)
        unicast = self._policy("unicast", "always")
        if kind is Outcome.ANSWERED_UNICAST and (unicast == "never" or (unicast == "live" and target not in self.live)):
            reasons.add(Outcome.UNICAST_POLICY)
        dad = self._policy("dad", "live")
        if kind is Outcome.ANSWERED_DAD and (
            dad == "ignore" or (dad == "live" and target not in self.live and not self.verifies)
        ):
            reasons.add(Outcome.DAD_POLICY)
        if self._policy("dry_run", "") and not reasons:
            reasons.add(Outcome.DRY_RUN)
        return reasons


@dataclass
class Expected:
    """How a frame may end: for one of these reasons or, without any, in this answer."""

    reasons: set[Outcome]
    kind: Outcome = Outcome.ANSWERED_MULTICAST
    advertisement: bytes | None = None


def text(station: bytes) -> str:
    return station.hex(":")


def is_station(station: bytes) -> bool:
    return station[0] % 2 == 0 and text(station) != NO_STATION


def _header_reasons(world: World, frame: bytes) -> set[Outcome]:
    ether_type, first_word, length, next_header, hop_limit = struct.unpack("!HIHBB", frame[12:22])
    source = IPv6Address(frame[22:38])
    if ether_type != 0x86DD or first_word >> 28 != 6:
        return {Outcome.NOT_IPV6}
    reasons = set()
    if next_header != 58:
        reasons.add(Outcome.NOT_ICMPV6)
    if length == 0 or length > len(frame) - 54:
        reasons.add(Outcome.BAD_PAYLOAD_LENGTH)
    if 0 < length < 24:
        reasons.add(Outcome.MESSAGE_TOO_SHORT)
    elif length % 8:  # options are multiples of 8 octets: one is cut
        reasons.add(Outcome.BAD_OPTION)
    if hop_limit != 255:
        reasons.add(Outcome.BAD_HOP_LIMIT)
    if text(frame[6:12]) == world.lladdr:
        reasons.add(Outcome.OWN_FRAME)
    if not is_station(frame[6:12]):
        reasons.add(Outcome.BAD_ETHERNET_SOURCE)
    if source.is_multicast or source.is_loopback or source.ipv4_mapped is not None:
        reasons.add(Outcome.BAD_SOURCE)
    if source in world.own_addresses:
        reasons.add(Outcome.OWN_SOURCE)
    return reasons


def _options(octets: bytes) -> tuple[set[Outcome], list[bytes]]:
    """Return what is wrong with the options, and the source link-layer addresses among them."""
    if not octets:
        return set(), []
    if len(octets) < 2 or octets[1] == 0 or octets[1] * 8 > len(octets):
        return {Outcome.BAD_OPTION}, []
    reasons, stations = _options(octets[octets[1] * 8 :])
    if octets[0] == 1:
        if octets[1] != 1:
            return reasons | {Outcome.BAD_SLLA_LENGTH}, stations
        stations = [octets[2:8], *stations]
    return reasons, stations


def _kind(source: IPv6Address, destination: IPv6Address) -> Outcome:
    if source.is_unspecified:
        return Outcome.ANSWERED_DAD
    return Outcome.ANSWERED_MULTICAST if destination.is_multicast else Outcome.ANSWERED_UNICAST


def expected(world: World, frame: bytes, to_other_host: bool = False) -> Expected:
    """Return how `frame` must end in `world`."""
    if len(frame) < 14 + 40 + 24:
        header = len(frame) > 14 + 40 and frame[12:14] == b"\x86\xdd" and frame[14] >> 4 == 6 and frame[20] == 58
        return Expected({Outcome.TOO_SHORT} | ({Outcome.BAD_HOP_LIMIT} if header and frame[21] != 255 else set()))
    reasons = _header_reasons(world, frame)
    if reasons & {Outcome.NOT_IPV6, Outcome.NOT_ICMPV6, Outcome.BAD_PAYLOAD_LENGTH, Outcome.MESSAGE_TOO_SHORT}:
        return Expected(reasons)
    source, destination = IPv6Address(frame[22:38]), IPv6Address(frame[38:54])
    message = frame[54 : 54 + struct.unpack("!H", frame[18:20])[0]]
    if message[0] != 135:
        return Expected(reasons | {Outcome.NOT_SOLICITATION})
    if message[1] != 0:
        reasons.add(Outcome.BAD_CODE)
    if in6_chksum(58, IPv6(src=str(source), dst=str(destination)), message) != 0:
        reasons.add(Outcome.BAD_CHECKSUM)
    wrong, stations = _options(message[24:])
    reasons |= wrong

    target = IPv6Address(message[8:24])
    if target.is_multicast or target.is_unspecified or target.is_loopback:
        reasons.add(Outcome.BAD_TARGET)
    group = IPv6Address(in6_getnsma(target.packed))
    if source.is_unspecified:
        if stations:
            reasons.add(Outcome.DAD_WITH_SLLA)
        if destination != group:
            reasons.add(Outcome.DAD_BAD_DESTINATION)
    elif destination not in (target, group):
        reasons.add(Outcome.BAD_DESTINATION)
    if source == target:
        reasons.add(Outcome.SOURCE_IS_TARGET)
    if frame[0] % 2:
        if not destination.is_multicast or destination == target:
            reasons.add(Outcome.UNICAST_IN_MULTICAST)
    elif text(frame[:6]) != world.lladdr:
        reasons.add(Outcome.OTHER_LLADDR)
    if to_other_host:
        reasons.add(Outcome.VLAN_TAGGED)
    kind = _kind(source, destination)
    reasons |= world.reasons_of_policy(target, kind)
    return (
        Expected(reasons)
        if reasons
        else Expected(set(), kind, _answer(world, bool(frame[0] % 2), frame[6:12], source, target, stations))
    )


def _answer(
    world: World,
    to_group: bool,
    ethernet_source: bytes,
    source: IPv6Address,
    target: IPv6Address,
    stations: list[bytes],
) -> bytes:
    if source.is_unspecified:
        # whoever asked us alone is answered alone
        destination, station = ALL_NODES, "33:33:00:00:00:01" if to_group else text(ethernet_source)
    else:
        destination, station = source, text(ethernet_source)
        if stations and is_station(stations[0]) and text(stations[0]) != world.lladdr:
            station = text(stations[0])
    return bytes(
        Ether(src=world.lladdr, dst=station)
        / IPv6(src=str(target), dst=str(destination), hlim=255)
        / ICMPv6ND_NA(
            tgt=str(target),
            R=world.flag("router_flag", world.forwarding),
            S=not source.is_unspecified,
            O=world.flag("override", target in world.live),
        )
        / ICMPv6NDOptDstLLAddr(lladdr=world.lladdr)
    )
