"""scapy's solicitations are answered, and our answers are what scapy reads, and would write."""

from ipaddress import IPv6Address

import frames
import sample_responder
from generated_frames import good_options
from hypothesis import given
from hypothesis import strategies as st
from sample_responder import make_responder
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6NDOptUnknown,
    IPv6,
    in6_chksum,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils6 import in6_getnsma, in6_getnsmac

from ndpresponder.outcome import Outcome
from ndpresponder.wire.addresses import solicited_node
from ndpresponder.wire.icmpv6 import checksum, word_sum

stations = st.binary(min_size=5, max_size=5).map(lambda octets: (b"\x02" + octets).hex(":"))
hosts = st.integers(0, (1 << 48) - 1).map(lambda host: str(IPv6Address((0x20010DB8 << 96) + host)))
sources = st.one_of(
    st.integers(1, (1 << 64) - 1).map(lambda host: str(IPv6Address((0xFE80 << 112) + host))),
    st.integers(1, (1 << 90) - 1).map(lambda host: str(IPv6Address((0x20010DB9 << 96) + host))),
)
options = st.lists(
    st.one_of(
        st.binary(min_size=6, max_size=6).map(lambda nonce: ICMPv6NDOptUnknown(type=14, len=1, data=nonce)),
        st.binary(min_size=14, max_size=14).map(lambda data: ICMPv6NDOptUnknown(type=253, len=2, data=data)),
        st.integers(0, 9000).map(lambda mtu: ICMPv6NDOptMTU(mtu=mtu)),
    ),
    max_size=3,
)


def usable(source: str) -> bool:
    return source not in (sample_responder.OWN_LINK_LOCAL, sample_responder.OWN_ADDRESS)


def stacked(packet: Packet, more: list[Packet]) -> Packet:
    for layer in more:
        packet = packet / layer
    return packet


@given(hosts, sources.filter(usable), stations, options, st.booleans(), st.booleans())
def test_a_solicitation_of_scapy_is_answered_and_scapy_reads_the_answer(
    target: str, source: str, station: str, more: list[Packet], with_slla: bool, probe: bool
) -> None:
    group = in6_getnsma(IPv6Address(target).packed)
    destination = target if probe else str(IPv6Address(group))
    sent = (
        Ether(src=station, dst=frames.UPLINK_LLADDR if probe else in6_getnsmac(group))
        / IPv6(src=source, dst=destination, hlim=255)
        / ICMPv6ND_NS(tgt=target)
    )
    frame = bytes(stacked(sent, [ICMPv6NDOptSrcLLAddr(lladdr=station), *more] if with_slla else more))
    outcome, advertisement = make_responder(excluded=()).respond(frame)
    if station == frames.UPLINK_LLADDR:
        assert outcome is Outcome.OWN_FRAME
        return
    assert advertisement is not None
    assert outcome is (Outcome.ANSWERED_UNICAST if probe else Outcome.ANSWERED_MULTICAST)

    read = Ether(advertisement)
    message = read[ICMPv6ND_NA]
    assert (read.src, read.dst, read.type) == (frames.UPLINK_LLADDR, station, 0x86DD)
    assert (read[IPv6].src, read[IPv6].dst, read[IPv6].hlim) == (target, source, 255)
    assert (read[IPv6].tc, read[IPv6].fl, read[IPv6].plen, read[IPv6].nh) == (0, 0, 32, 58)
    assert (message.type, message.code, message.tgt, message.res) == (136, 0, target, 0)
    assert (message.R, message.S, message.O) == (0, 1, 0)
    assert (message[ICMPv6NDOptDstLLAddr].len, message[ICMPv6NDOptDstLLAddr].lladdr) == (1, frames.UPLINK_LLADDR)
    assert Raw not in read
    del message.cksum
    assert bytes(read) == advertisement


@given(hosts, sources, stations, good_options)
def test_the_solicitations_of_our_tests_are_those_of_scapy(target: str, source: str, station: str, more: bytes) -> None:
    group = in6_getnsma(IPv6Address(target).packed)
    assert frames.solicited_node(target) == solicited_node(IPv6Address(target).packed) == group
    written = (
        Ether(src=station, dst=in6_getnsmac(group))
        / IPv6(src=source, dst=str(IPv6Address(group)), hlim=255)
        / ICMPv6ND_NS(tgt=target)
        / ICMPv6NDOptSrcLLAddr(lladdr=station)
        / Raw(more)
    )
    assert frames.solicitation(target, source, ethernet_source=station, options=more) == bytes(written)


addresses = st.one_of(st.binary(min_size=16, max_size=16), st.just(bytes(16)), st.just(b"\xff" * 16))
messages = st.one_of(
    st.binary(max_size=200),
    st.integers(0, 100).map(lambda words: bytes(2 * words)),
    st.integers(0, 100).map(lambda words: b"\xff" * (2 * words)),
)


@given(addresses, addresses, messages)
def test_the_checksum_is_scapys_and_that_of_a_plain_loop(source: bytes, destination: bytes, message: bytes) -> None:
    header = IPv6(src=str(IPv6Address(source)), dst=str(IPv6Address(destination)))
    ours = checksum(source, destination, message)
    assert ours == in6_chksum(58, header, message) == frames.internet_checksum(source, destination, message)


@given(addresses, addresses, st.binary(min_size=4, max_size=200), st.sampled_from([None, 0, 0xFFFF, 0x1234]))
def test_a_checksum_is_valid_where_scapy_finds_it_so(
    source: bytes, destination: bytes, message: bytes, written: int | None
) -> None:
    blank = message[:2] + b"\0\0" + message[4:]
    if written is None:
        written = checksum(source, destination, blank)
    whole = message[:2] + written.to_bytes(2, "big") + message[4:]
    header = IPv6(src=str(IPv6Address(source)), dst=str(IPv6Address(destination)))
    assert (checksum(source, destination, whole) == 0) is (in6_chksum(58, header, whole) == 0)


@given(st.lists(st.binary(max_size=40).filter(lambda block: len(block) % 2 == 0)))
def test_sums_of_even_blocks_add_up(blocks: list[bytes]) -> None:
    assert word_sum(b"".join(blocks)) == sum(map(word_sum, blocks)) % 65535
