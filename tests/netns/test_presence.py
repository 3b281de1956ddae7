"""What the installed command says unasked, seen at the far end of the wire, and what its kernel listens to."""

import itertools
import select
import signal
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from daemon_process import Installed
from frames import ROUTER_LLADDR, TARGET, UPLINK_LLADDR, advertisement, packed, solicitation, solicited_node
from peer import Peer, Wire
from scapy.layers.inet6 import (
    ICMPv6MLQuery,
    ICMPv6MLQuery2,
    ICMPv6MRD_Solicitation,
    IPv6,
    IPv6ExtHdrHopByHop,
    PadN,
    RouterAlert,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from ndpresponder.lab.topology import wait_until
from ndpresponder.unsolicited.announcements import (
    BURST,
    INTERVAL_S,
    INTRODUCED_WITHIN_S,
    MAX_INTRODUCED,
    REPEATS,
    TARGETS_PER_S,
)
from ndpresponder.unsolicited.moved_targets import TARGETS_PER_S as MOVES_PER_S
from ndpresponder.unsolicited.recent_answers import MAX_TARGETS

OWN, GATEWAY, OTHER = "2001:db8:0:0:ffff::2", "2001:db8:0:0:ffff::1", "2001:db8::c2"
ROUTES = "route add default via 2001:db8:0:0:ffff::1"
LISTENING, LEFT, JOINED = 2, 3, 4  # RFC 3810 5.2.12
WIDE_LINE = "prefixes = ['2001:db8::/112']"


@pytest.fixture
def wire(wire) -> Wire:
    """Return a wire whose near end has an address and a gateway."""
    wire.near.ip(f"address add {OWN}/64 dev up0 nodad", ROUTES)
    return wire


def heard(peer: Peer, until_s: float, from_link_local: bool = False) -> list[tuple[float, bytes]]:
    """Return every IPv6 frame that arrives until `until_s` (monotonic), with its time.

    Those from link-local addresses, or none, are the kernel's and reports of groups: left out unless these are wanted.
    """
    frames: list[tuple[float, bytes]] = []
    while select.select([peer.socket], [], [], max(0.0, until_s - time.monotonic()))[0]:
        frame = peer.socket.recv(65536)
        if frame[12:14] == b"\x86\xdd":
            frames.append((time.monotonic(), frame))
    return frames if from_link_local else without_reports(frames)


def announced(target: str = TARGET) -> set[bytes]:
    """Return the two frames that announce a live target."""
    to_all = advertisement(target, "ff02::1", solicited=False, override=True, ethernet_destination="33:33:00:00:00:01")
    return {to_all, solicitation(GATEWAY, source=target, ethernet_source=UPLINK_LLADDR)}


def without_reports(frames: Iterable[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Return what `heard` returns unless reports are looked for."""
    return [(at, frame) for at, frame in frames if frame[22:24] not in (b"\xfe\x80", b"\0\0")]


def write(path: Path, *lines: str) -> str:
    """Replace the file of live addresses as another program would."""
    new = path.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n")
    new.rename(path)
    return str(path)


def configured(directory: Path, addresses: Path, *lines: str) -> str:
    """Write a configuration that follows a file of addresses."""
    if not addresses.exists():
        write(addresses, "# none yet")
    file = directory / "ndpresponder.toml"
    interface = ('name = "up0"', 'gateway_keepalive = "never"', *lines)
    file.write_text(
        "\n".join(("version = 1", "[[interface]]", *interface, "[[source.file]]", f'path = "{addresses}"', ""))
    )
    return str(file)


def test_a_live_target_is_announced_three_times_and_its_group_joined(wire, tmp_path):
    addresses = tmp_path / "addresses"
    with Peer(wire.far) as peer, Installed(wire.near, "-c", configured(tmp_path, addresses)) as daemon:
        write(addresses, TARGET)
        everything = heard(peer, time.monotonic() + (REPEATS - 1) * INTERVAL_S + 1, from_link_local=True)
        assert solicited_node(TARGET) in reported(frame for _, frame in everything)
        seen = without_reports(everything)
        frames = [frame for _, frame in seen]
        assert set(frames) == announced()
        assert Counter(frames) == Counter(dict.fromkeys(announced(), REPEATS))
        times = [at for at, frame in seen if frame[54] == 136]
        assert all(later - earlier > INTERVAL_S - 0.05 for earlier, later in itertools.pairwise(times))
        assert daemon.counters()["sent unsolicited"] == REPEATS
        write(addresses, "# gone")
        frames = [frame for _, frame in heard(peer, time.monotonic() + 0.5, from_link_local=True)]
        assert solicited_node(TARGET) in groups_in(frames, LEFT)


def test_a_target_that_goes_is_announced_no_more(wire, tmp_path):
    addresses = tmp_path / "addresses"
    with Peer(wire.far) as peer, Installed(wire.near, "-c", configured(tmp_path, addresses)):
        write(addresses, TARGET, OTHER)
        first = heard(peer, time.monotonic() + 0.5)
        assert {frame for _, frame in first} == announced() | announced(OTHER)
        write(addresses, OTHER)
        later = heard(peer, time.monotonic() + 2.5)
        assert {frame for _, frame in later[2:]} <= announced(OTHER)  # what was on its way already
        assert sum(frame in announced() for _, frame in later) == 0


def test_two_thousand_at_once_are_spread(wire, tmp_path):
    addresses = tmp_path / "addresses"
    targets = [f"2001:db8::1:{number:x}" for number in range(2000)]
    with Peer(wire.far) as peer, Installed(wire.near, "-c", configured(tmp_path, addresses)):
        write(addresses, *targets)
        frames = heard(peer, time.monotonic() + 3, from_link_local=True)
        times = [at for at, frame in frames if frame[54] == 136]
        assert len(times) > 2 * TARGETS_PER_S
        # a busy machine may hold frames back and let them go at once: half a second more than a second
        in_a_second = max(sum(start <= at < start + 1 for at in times) for start in times[::20])
        assert in_a_second <= BURST + 1.5 * TARGETS_PER_S
        wanted = {solicited_node(target) for target in targets}
        assert wanted <= reported(frame for _, frame in frames)
        peer.await_answer(targets[-1])


def test_gateways_are_solicited_from_no_more_targets_than_leave_their_tables_room(wire, tmp_path):
    addresses = tmp_path / "addresses"
    targets = [f"2001:db8::1:{number:x}" for number in range(1000)]
    with Peer(wire.far) as peer, Installed(wire.near, "-c", configured(tmp_path, addresses)) as daemon:
        write(addresses, *targets)
        frames = [frame for _, frame in heard(peer, time.monotonic() + 6)]
        announced = {frame[22:38] for frame in frames if frame[54] == 136}
        introduced = {frame[22:38] for frame in frames if frame[54] == 135}
        assert announced == {packed(target) for target in targets}
        refilled = 8 * MAX_INTRODUCED // INTRODUCED_WITHIN_S
        assert MAX_INTRODUCED <= len(introduced & announced) <= MAX_INTRODUCED + refilled
        assert len(daemon.lines("more live targets than")) == 1


@pytest.mark.parametrize("excluded", [OWN, GATEWAY, "2001:db8::bad"])
def test_what_is_not_answered_for_is_not_announced(wire, tmp_path, excluded):
    addresses = tmp_path / "addresses"
    write(addresses, excluded, TARGET)
    flags = configured(tmp_path, addresses, 'exclude = ["2001:db8::bad"]')
    with Peer(wire.far) as peer, Installed(wire.near, "-c", flags):
        frames = {frame for _, frame in heard(peer, time.monotonic() + 0.4)}
    assert frames == announced()


def test_a_link_that_returns_is_told_again_and_groups_are_joined_again(wire):
    with Peer(wire.far) as peer, Installed(wire.near, "-i", "up0", "-n", TARGET) as daemon:
        heard(peer, time.monotonic() + 0.2)
        wire.near.ip("link set up0 down")
        daemon.await_line("interface is down")
        assert heard(peer, time.monotonic() + 0.3) == []
        wire.near.ip("link set up0 up")
        daemon.await_line("interface is up")
        frames = [frame for _, frame in heard(peer, time.monotonic() + 2.5, from_link_local=True)]
        assert len([frame for frame in frames if frame[54] == 136]) == REPEATS
        assert solicited_node(TARGET) in reported(frames)


def test_a_changed_lladdr_is_announced(wire):
    with Peer(wire.far) as peer, Installed(wire.near, "-i", "up0", "-n", TARGET):
        heard(peer, time.monotonic() + 0.2)
        wire.near.ip("link set up0 address 02:00:00:00:00:77")
        frames = [frame for _, frame in heard(peer, time.monotonic() + 0.5) if frame[54] == 136]
        assert {frame[-6:].hex(":") for frame in frames} == {"02:00:00:00:00:77"}


def test_of_ten_thousand_claimed_targets_that_were_answered_so_many_are_told_of_and_spread(wire):
    targets = [f"2001:db8:0:1::{number:x}" for number in range(10_000)]
    flags = ("-i", "up0", "-n", "2001:db8:0:1::/64", "--mld-router", "never")
    with Peer(wire.far) as peer, Installed(wire.near, *flags) as daemon:
        for target in targets:
            peer.send(solicitation(target))
        wait_until(lambda: daemon.counters()["received multicast"] >= len(targets), 10, "the solicitations")
        peer.send(solicitation(targets[0]))  # in use
        time.sleep(0.2)
        peer.drain()
        wire.near.ip("link set up0 address 02:00:00:00:00:77")
        frames = heard(peer, time.monotonic() + 5)
        told = [(at, frame) for at, frame in frames if frame[54] == 136 and frame[-6:].hex(":") == "02:00:00:00:00:77"]
        assert MAX_TARGETS // 2 <= len({frame[62:78] for _, frame in told}) <= MAX_TARGETS
        assert packed(targets[0]) in {frame[62:78] for _, frame in told[:20]}
        times = [at for at, _ in told]
        assert max(sum(start <= at < start + 1 for at in times) for start in times[::50]) <= BURST + 1.5 * MOVES_PER_S
        assert {frame[58] for _, frame in told} == {0x20}  # Override, and not Solicited
        gateways = {frame for _, frame in frames if frame[54] == 135 and frame[62:78] == packed(GATEWAY)}
        assert not {frame[22:38] for frame in gateways} & {packed(target) for target in targets}


def test_never_announces_nothing_and_joins_all_the_same(wire):
    with Peer(wire.far) as peer, Installed(wire.near, "-i", "up0", "-n", TARGET, "-a", "never"):
        frames = heard(peer, time.monotonic() + 1, from_link_local=True)
        assert solicited_node(TARGET) in reported(frame for _, frame in frames)
        assert without_reports(frames) == []


def test_dry_run_sends_nothing_at_all_and_joins_nothing(wire):
    wire.near.sysctl({"ipv6/conf/all/forwarding": 1})
    with Peer(wire.far) as peer, Installed(wire.near, "-i", "up0", "-n", TARGET, "--dry-run") as daemon:
        peer.send(solicitation())
        frames = heard(peer, time.monotonic() + 1.5, from_link_local=True)
        assert without_reports(frames) == []
        assert solicited_node(TARGET) not in reported(frame for _, frame in frames)
        assert daemon.counters()["ignored dry_run"] == 1


def test_a_narrow_claimed_prefix_is_joined_and_a_wide_one_is_said_once(wire):
    prefixes = ("-n", "2001:db8::/120", "-n", "2001:db8:1::/96")
    with Peer(wire.far) as peer, Installed(wire.near, "-i", "up0", *prefixes) as daemon:
        wanted = {solicited_node(f"2001:db8::{number:x}") for number in range(256)}
        assert wanted <= reported(frame for _, frame in heard(peer, time.monotonic() + 1, from_link_local=True))
        (line,) = daemon.lines("not listening to all")
        assert "left_out=16777216" in line


def groups_in(frames: Iterable[bytes], *records: int) -> set[bytes]:
    """Return the groups of which the MLD reports among `frames` have a record of one of these types."""
    return {
        frame[at + 4 : at + 20]
        for frame in frames
        if frame[20] == 0 and frame[62] == 143
        for at in range(70, len(frame), 20)
        if frame[at] in records
    }


def reported(frames: Iterable[bytes]) -> set[bytes]:
    """Return the groups that the MLD reports of ours among `frames` say are listened to."""
    return groups_in(frames, LISTENING, JOINED)


@pytest.mark.parametrize(("mld_source", "from_link_local"), [("global", False), ("both", True)])
def test_reports_come_from_a_global_source_where_asked_for(wire, tmp_path, mld_source, from_link_local):
    addresses = tmp_path / "addresses"
    settings = (f'mld_source = "{mld_source}"', 'announce = "never"')
    with Peer(wire.far) as peer, Installed(wire.near, "-c", configured(tmp_path, addresses, *settings)):
        write(addresses, TARGET)
        frames = [frame for _, frame in heard(peer, time.monotonic() + 1.8, from_link_local=True)]
        reports = [frame for frame in frames if frame[22:38] == packed(OWN)]
        assert [(frame[22:38], frame[62], frame[70], frame[74:90]) for frame in reports] == [
            (packed(OWN), 143, record, solicited_node(TARGET))
            for record in (4, 2)  # joined; and again: listening
        ]
        others = [frame for frame in frames if frame not in reports]
        assert from_link_local == (solicited_node(TARGET) in reported(others))
        write(addresses, "# gone")
        reports = [frame for _, frame in heard(peer, time.monotonic() + 0.5)]
        assert [frame[70] for frame in reports] == [3]  # left


def on_link(message: Packet, hop_limit: int = 1, source: str = "fe80::1") -> bytes:
    """Return a message to all nodes as multicast routers and bridges send it (RFC 3810 5)."""
    frame = (
        Ether(src=ROUTER_LLADDR, dst="33:33:00:00:00:01")
        / IPv6(src=source, dst="ff02::1", hlim=hop_limit)
        / IPv6ExtHdrHopByHop(options=[RouterAlert(value=0), PadN(optdata=b"")])
        / message
    )
    return bytes(frame)


def query(hop_limit: int = 1, source: str = "fe80::1") -> bytes:
    """Return a general query, as a bridge or router that asks for listeners sends it (RFC 3810 5.1)."""
    return on_link(ICMPv6MLQuery2(), hop_limit, source)


def test_who_asks_for_listeners_is_answered_but_not_as_often_as_they_like(wire, tmp_path):
    flags = configured(
        tmp_path, Path(write(tmp_path / "addresses", TARGET)), 'mld_source = "global"', 'announce = "never"'
    )
    with Peer(wire.far) as peer, Installed(wire.near, "-c", flags):
        heard(peer, time.monotonic() + 1.3)  # the first report and its repeat
        peer.send(query(hop_limit=2), query(source="2001:db8::bad"))
        assert heard(peer, time.monotonic() + 0.8) == []
        for _ in range(20):
            peer.send(query())
        reports = [frame for _, frame in heard(peer, time.monotonic() + 1.5)]
        assert [(frame[62], frame[70], frame[74:90]) for frame in reports] == [(143, 2, solicited_node(TARGET))]


def test_reports_are_of_the_version_of_who_asks_for_them(wire, tmp_path):
    addresses = Path(write(tmp_path / "addresses", TARGET))
    flags = configured(tmp_path, addresses, 'mld_source = "global"', 'announce = "never"')
    with Peer(wire.far) as peer, Installed(wire.near, "-c", flags):
        heard(peer, time.monotonic() + 1.3)  # the first report and its repeat
        peer.send(on_link(ICMPv6MLQuery()))
        (report,) = [frame for _, frame in heard(peer, time.monotonic() + 0.8)]
        assert (report[62], report[38:54], report[70:]) == (131, solicited_node(TARGET), solicited_node(TARGET))
        write(addresses, OTHER)
        changes = [frame for _, frame in heard(peer, time.monotonic() + 0.5)]
        assert [(frame[62], frame[38:54], frame[70:]) for frame in changes] == [
            (132, packed("ff02::2"), solicited_node(TARGET)),
            (131, solicited_node(OTHER), solicited_node(OTHER)),
        ]


def test_four_thousand_groups_are_spread_where_each_takes_a_report_of_its_own(wire, tmp_path):
    flags = ("-i", "up0", "-n", "2001:db8::/116")
    with Peer(wire.far) as peer, Installed(wire.near, *flags):
        heard(peer, time.monotonic() + 1.5, from_link_local=True)
        peer.send(on_link(ICMPv6MLQuery()))
        start_s = time.monotonic()
        reports = [
            (at, frame)
            for at, frame in heard(peer, start_s + 6, from_link_local=True)
            if frame[20] == 0 == 131 - frame[62]
        ]
        wanted = {solicited_node(f"2001:db8::{number:x}") for number in range(4096)}
        assert wanted <= {frame[70:86] for _, frame in reports}
        assert max(sum(start <= at < start + 0.5 for at, _ in reports) for start, _ in reports[::50]) < 2048


WIDE = ("-i", "up0", "-n", "2001:db8::/112")
ADVERTISED, TERMINATED = 151, 153


def routers(peer: Peer, seconds: float) -> list[int]:
    """Return the types of the messages of multicast router discovery that arrive."""
    frames = heard(peer, time.monotonic() + seconds, from_link_local=True)
    return [frame[62] for _, frame in frames if frame[38:54] == packed("ff02::6a") and frame[20:22] == b"\0\1"]


def test_the_end_is_a_termination(wire):
    with Peer(wire.far) as peer, Installed(wire.near, *WIDE) as daemon:
        assert set(routers(peer, 0.3)) == {ADVERTISED}
        daemon.stop()
        assert routers(peer, 0.3) == [TERMINATED]


def test_an_upgrade_and_a_restart_by_the_manager_are_not_the_end(wire):
    environment = {"INVOCATION_ID": "0" * 32}  # as systemd sets it, which keeps the sockets
    with Peer(wire.far) as peer, Installed(wire.near, *WIDE, environment=environment) as daemon:
        routers(peer, 0.3)
        daemon.process.send_signal(signal.SIGUSR2)
        daemon.await_line("replaced by the installed version", 10)
        daemon.await_notice("READY=1", 10)
        assert set(routers(peer, 0.3)) <= {ADVERTISED}
        daemon.stop()
        assert routers(peer, 0.3) == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (WIDE_LINE, WIDE_LINE, []),
        (WIDE_LINE, f"{WIDE_LINE}\nmld_router = 'never'", [TERMINATED]),
        (WIDE_LINE, "prefixes = ['2001:db8::/124']", [TERMINATED]),
        ("prefixes = ['2001:db8::/124']", WIDE_LINE, [ADVERTISED]),
        (WIDE_LINE, f"{WIDE_LINE}\nannounce = 'never'", [ADVERTISED]),
        (WIDE_LINE, f"{WIDE_LINE}\nmld_router = 'always'", [ADVERTISED]),
    ],
)
def test_what_a_reload_says_to_bridges(wire, tmp_path, before, after, said):
    flags = configured(tmp_path, tmp_path / "addresses", before)
    with Peer(wire.far) as peer, Installed(wire.near, "-c", flags) as daemon:
        routers(peer, 4.5)  # the first three
        configured(tmp_path, tmp_path / "addresses", after)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_line("configuration reloaded")
        assert routers(peer, 0.5) == said


def test_a_search_for_routers_is_answered_but_not_as_often_as_they_like(wire):
    with Peer(wire.far) as peer, Installed(wire.near, *WIDE):
        routers(peer, 4.5)
        peer.send(
            on_link(ICMPv6MRD_Solicitation(), hop_limit=2), on_link(ICMPv6MRD_Solicitation(), source="2001:db8::bad")
        )
        assert routers(peer, 2.2) == []
        for _ in range(40):
            peer.send(on_link(ICMPv6MRD_Solicitation()))
            time.sleep(0.02)
        assert 1 <= len(routers(peer, 2.2)) <= 3
