"""What is answered, to the byte: each row of the protocol is put on a wire, before the real daemon.

After each frame one more is sent that is certainly answered; what came before that answer is all that was sent.
"""

from collections.abc import Iterator

import pytest
from daemon_process import FOLLOW_DEADLINE_S, Installed, total, within
from frames import ROUTER, ROUTER_LLADDR, TARGET, UPLINK_LLADDR, advertisement, option, packed, solicitation, tagged
from kernel_runs import EVERY_FASTPATH, Fastpath
from peer import Peer, Wire, is_running, seconds_until
from requirements import require

LIVE = "2001:db8::c2"
GLOBAL = "2001:db8:ffff::2"  # not on this link
VIRTUAL_LLADDR = "00:00:5e:00:02:01"  # RFC 9568: of a VRRP router, whose frames come from another
ALL_NODES, ALL_NODES_LLADDR = "ff02::1", "33:33:00:00:00:01"
CONFIGURATION = """
version = 1
[[interface]]
name = "up0"
prefixes = ["2001:db8::/112", "2001:db8::c2"]
announce = "never"
[[interface]]
name = "up1"
prefixes = ["2001:db8::/112", "2001:db8::c2"]
announce = "never"
router_flag = "always"
override = "always"
unicast = "live"
[[interface]]
name = "up2"
prefixes = ["2001:db8::/112", "2001:db8::c2"]
announce = "never"
router_flag = "never"
override = "never"
"""

SLLA, TLLA, MTU, NONCE, CGA, TIMESTAMP, SIGNATURE = 1, 2, 5, 14, 11, 13, 12
STRANGE = option(NONCE, b"noncen") + option(TIMESTAMP, bytes(14)) + option(MTU, bytes(6)) + option(253, b"??????")


@pytest.fixture(scope="module", params=EVERY_FASTPATH)
def fastpath(request):
    return Fastpath(request.param)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    require("ip")
    with Wire("behave", cables=3) as wire:
        wire.near.sysctl({f"ipv6/conf/{name}/forwarding": 1 for name in ("up0", "up2")})
        yield wire


@pytest.fixture(scope="module")
def daemon(wire, fastpath, tmp_path_factory) -> Iterator[Installed]:
    file = tmp_path_factory.mktemp("config") / "ndpresponder.toml"
    file.write_text(CONFIGURATION)
    with Installed(wire.near, "--config", str(file), "--dad", "defend", *fastpath.flags(wire)) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def peers(wire, daemon) -> Iterator[list[Peer]]:
    with Peer(wire.far, "far0") as first, Peer(wire.far, "far1") as second, Peer(wire.far, "far2") as third:
        yield [first, second, third]


@pytest.fixture
def peer(peers) -> Peer:
    peers[0].drain()
    return peers[0]


def answer(target: str = TARGET, destination: str = ROUTER, **fields) -> bytes:
    """Return what is answered on `up0`, which forwards."""
    return advertisement(target, destination, **{"router": True, **fields})


def to_all_nodes(target: str = TARGET, **fields) -> bytes:
    return answer(target, ALL_NODES, ethernet_destination=ALL_NODES_LLADDR, solicited=False, **fields)


def with_traffic_class(frame: bytes) -> bytes:
    return frame[:14] + bytes.fromhex("6fcabcde") + frame[18:]


ROWS = {
    "address resolution from link-local": (answer(), solicitation()),
    "address resolution from a global address": (answer(destination=GLOBAL), solicitation(source=GLOBAL)),
    "a live target overrides": (answer(LIVE, override=True), solicitation(LIVE)),
    "to the option's address, not the frame's": (
        answer(ethernet_destination=VIRTUAL_LLADDR),
        solicitation(slla=VIRTUAL_LLADDR),
    ),
    "to the frame's source without option": (answer(), solicitation(slla=None)),
    "to the frame's source if the option is multicast": (answer(), solicitation(slla="01:00:5e:00:00:01")),
    "to the frame's source if the option is broadcast": (answer(), solicitation(slla="ff:ff:ff:ff:ff:ff")),
    "to the frame's source if the option is zero": (answer(), solicitation(slla=bytes(6))),
    "to the frame's source if the option is ours": (answer(), solicitation(slla=UPLINK_LLADDR)),
    "the first of two options counts": (
        answer(ethernet_destination=VIRTUAL_LLADDR),
        solicitation(slla=VIRTUAL_LLADDR, options=option(SLLA, ROUTER_LLADDR)),
    ),
    "reachability probe": (answer(), solicitation(destination=TARGET)),
    "reachability probe without option": (answer(), solicitation(destination=TARGET, slla=None)),
    "reachability probe of a live target": (answer(LIVE, override=True), solicitation(LIVE, destination=LIVE)),
    "reachability probe from a global address": (
        answer(destination=GLOBAL),
        solicitation(source=GLOBAL, destination=TARGET),
    ),
    "duplicate address detection": (to_all_nodes(), solicitation(source="::")),
    "duplicate address detection in a frame to us alone": (
        answer(destination=ALL_NODES, solicited=False),
        solicitation(source="::", ethernet_destination=UPLINK_LLADDR),
    ),
    "duplicate address detection of a live target": (to_all_nodes(LIVE, override=True), solicitation(LIVE, "::")),
    "duplicate address detection with a nonce": (
        to_all_nodes(),
        solicitation(source="::", options=option(NONCE, b"noncen")),
    ),
    "multicast IPv6 in a unicast frame": (answer(), solicitation(ethernet_destination=UPLINK_LLADDR)),
    "a broadcast frame": (answer(), solicitation(ethernet_destination="ff:ff:ff:ff:ff:ff")),
    "an all-nodes frame": (answer(), solicitation(ethernet_destination=ALL_NODES_LLADDR)),
    "unknown options after": (answer(), solicitation(options=STRANGE)),
    "unknown options before": (
        answer(ethernet_destination=VIRTUAL_LLADDR),
        solicitation(slla=None, options=STRANGE + option(SLLA, VIRTUAL_LLADDR)),
    ),
    "a target link-layer address option changes nothing": (answer(), solicitation(options=option(TLLA, bytes(6)))),
    "reserved bits set": (answer(), solicitation(reserved=b"\xff\xff\xff\xff")),
    "traffic class and flow label set": (answer(), with_traffic_class(solicitation())),
    "padding that is no option": (answer(), solicitation(padding=b"\x01\x00" + b"\xa5" * 44)),
    "padding that looks like an option": (
        answer(),
        solicitation(slla=None, padding=option(SLLA, VIRTUAL_LLADDR) + bytes(2)),
    ),
    "the subnet-router anycast address": (answer("2001:db8::"), solicitation("2001:db8::")),
    "the last address of the prefix": (answer("2001:db8::fffe"), solicitation("2001:db8::fffe")),
    "a target and a requester of equal low 24 bits": (
        answer(destination="fe80::c1"),
        solicitation(source="fe80::c1"),
    ),
    "a frame that just fits a slot of the ring": (answer(), solicitation(options=option(NONCE, bytes(102)))),
    "a frame that just does not": (answer(), solicitation(options=option(NONCE, bytes(110)))),
    "SEND, 1000 octets of options": (
        answer(),
        solicitation(options=option(CGA, bytes(600)) + option(SIGNATURE, bytes(380)) + option(TIMESTAMP, bytes(14))),
    ),
    "1500 octets": (answer(), solicitation(options=option(CGA, bytes(1422)))),
    "a priority tag, VID 0": (answer(), tagged(solicitation(), vid=0, priority=5)),
}


@pytest.mark.parametrize(("expected", "frame"), ROWS.values(), ids=ROWS)
def test_is_answered_once_and_to_the_byte(peer, expected, frame):
    assert [expected] == peer.ask(frame)


def test_the_rows_of_frame_size_mean_what_they_say():
    sizes = [len(frame) for name, (_, frame) in ROWS.items() if "slot" in name or "just" in name or "octets" in name]
    assert sizes == [190, 198, 1094, 1510]


POLICIES = {
    "always": (1, {"router": True, "override": True}),
    "never": (2, {"router": False, "override": False}),
}


@pytest.mark.parametrize("target", [TARGET, LIVE], ids=["claimed", "live"])
@pytest.mark.parametrize(("number", "flags"), POLICIES.values(), ids=POLICIES)
def test_flags_are_as_configured(peers, number, flags, target):
    assert [advertisement(target, **flags)] == peers[number].ask(solicitation(target))
    in_defence = advertisement(target, ALL_NODES, ethernet_destination=ALL_NODES_LLADDR, solicited=False, **flags)
    assert [in_defence] == peers[number].ask(solicitation(target, "::"))


def test_unicast_live_answers_probes_of_live_targets(peers):
    (reply,) = peers[1].ask(solicitation(LIVE, destination=LIVE), solicitation(TARGET, destination=TARGET))
    assert packed(LIVE) == reply[62:78]


def test_the_same_requester_is_answered_by_what_each_of_its_frames_says(fastpath, peer):
    frames = [
        solicitation(slla=VIRTUAL_LLADDR),
        solicitation(),
        solicitation(destination=TARGET, slla=None),
        solicitation(LIVE),
        solicitation(ethernet_source=VIRTUAL_LLADDR),
    ]
    expected = [
        answer(ethernet_destination=VIRTUAL_LLADDR),
        answer(),
        answer(),
        answer(LIVE, override=True),
        answer(ethernet_destination=VIRTUAL_LLADDR),
    ]
    assert fastpath.arranged(expected) == fastpath.arranged(peer.ask(*frames))


def test_a_thousand_solicitations_back_to_back_are_all_answered_in_order(peer):
    targets = [f"2001:db8::{number:x}" for number in range(0x1000, 0x1000 + 1000)]
    frames = [solicitation(target) for target in targets]
    assert [answer(target) for target in targets] == peer.ask(*frames)


def test_a_thousand_requesters_at_once_are_all_answered(peer):
    sources = [(f"fe80::{number:x}", f"02:00:00:01:{number >> 8:02x}:{number & 255:02x}") for number in range(1000)]
    frames = [solicitation(source=source, ethernet_source=station) for source, station in sources]
    expected = [answer(destination=source, ethernet_destination=station) for source, station in sources]
    assert expected == peer.ask(*frames)


def test_large_and_small_frames_mixed_keep_their_order(fastpath, peer):
    targets = [f"2001:db8::{number:x}" for number in range(0x2000, 0x2100)]
    fill = option(CGA, bytes(998))
    frames = [solicitation(target, options=fill * (number % 3 == 0)) for number, target in enumerate(targets)]
    assert fastpath.arranged([answer(target) for target in targets]) == fastpath.arranged(peer.ask(*frames))


def test_the_router_flag_follows_forwarding(wire, daemon, peer):
    def switch(on: bool) -> float:
        wire.near.sysctl({"ipv6/conf/up0/forwarding": int(not on)})
        seconds_until(lambda: [answer(router=not on)] == peer.ask(solicitation()), 5)
        wire.near.sysctl({"ipv6/conf/up0/forwarding": int(on)})
        return seconds_until(lambda: [answer(router=on)] == peer.ask(solicitation()), 5)

    within(FOLLOW_DEADLINE_S, lambda: switch(False))
    within(FOLLOW_DEADLINE_S, lambda: switch(True))


def test_the_answer_carries_the_present_lladdr(wire, daemon, peer):
    def change() -> float:
        for station in ("02:00:00:00:00:99", UPLINK_LLADDR):
            wire.near.ip(f"link set up0 address {station}")
            expected = [answer(ethernet_source=station)]
            taken = seconds_until(lambda expected=expected: expected == peer.ask(solicitation()), 5)
        return taken

    within(FOLLOW_DEADLINE_S, change)
    assert is_running(wire.near, "up0")


def test_what_the_host_itself_sends_is_not_received(wire, daemon, peer):
    before = daemon.counters()
    wire.near.run("ping", "-6", "-c1", "-W0.1", "-I", "up0", "fe80::1234", check=False)
    assert peer.ask() == []
    after = daemon.counters()
    assert total(after, "received") == total(before, "received") + 1  # the one that asks for the marker
    assert "ignored own_frame" not in after
