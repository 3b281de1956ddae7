"""The fast path at work: who answers, what is counted, and what is left of it when things change or end.

That its answers are right is shown by the tests of behaviour and silence, which run with each fast path too.
"""

import contextlib
import os
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon_process import COMMAND, Installed, clean_environment
from fastpath_daemon import FLAGS, ended, in_user_space, said
from frames import TARGET, UPLINK_LLADDR, advertisement, option, packed, solicitation
from kernel_runs import Fastpath, attached_programs, require_bpf
from peer import Flood, Peer, Wire, seconds_until
from requirements import require

from ndpresponder.lab import wait_until
from ndpresponder.linux.bpf import syscall
from ndpresponder.linux.bpf.syscall import Hook
from ndpresponder.offload import map_entries
from ndpresponder.offload.kernel_maps import SLICE
from ndpresponder.offload.kernel_program import KernelProgram
from ndpresponder.policy.requester import Policy
from ndpresponder.policy.table import EMPTY

TCX = ("--fastpath", "tcx")
TCX_NEXT, TCX_PASS, TCX_DROP = -1, 0, 2  # linux/bpf.h: the next program, no other program, nobody
LEFT_TO_US = solicitation(options=option(14, b"noncen"))
HOOKS = {"tcx": "tcx", "auto": "tcx", "xdp": "generic XDP", "xdp-native": "native XDP"}
CONFIGURATION = """
version = 1
[[interface]]
name = "up0"
fastpath = "{}"
prefixes = ["2001:db8::/112"]
"""


@pytest.fixture
def wire() -> Iterator[Wire]:
    require("ip", "setpriv")
    require_bpf()
    with Wire("fast") as wire:
        yield wire


@pytest.mark.parametrize(("mode", "hook"), HOOKS.items(), ids=HOOKS)
def test_the_plain_case_never_reaches_user_space_and_is_counted_all_the_same(wire, peer, mode, hook):
    with Installed(wire.near, *FLAGS, *Fastpath(mode).flags(wire)) as daemon:
        assert hook in said(daemon, "fast path attached")
        frames = [solicitation(), solicitation(slla=None), solicitation(destination=TARGET)] * 10
        counted = daemon.caused(lambda: peer.send(*frames), len(frames))
        assert [advertisement()] * 30 == peer.collect(30)
        assert counted == Counter({"received multicast": 20, "received unicast": 10, "sent solicited": 30})
        assert in_user_space(daemon) == 0
        assert peer.ask(LEFT_TO_US) == [advertisement()]
        assert in_user_space(daemon) > 0


@pytest.mark.parametrize(
    ("verdict", "answers", "batches"),
    [(TCX_NEXT, 1, 0), (TCX_PASS, 1, 1), (TCX_DROP, 0, 0)],
    ids=["next", "pass", "drop"],
)
def test_it_stands_behind_a_program_of_others_and_gets_what_that_leaves(wire, peer, verdict, answers, batches):
    returning = struct.pack("=BBhi", 0xB7, 0, 0, verdict) + struct.pack("=BBhi", 0x95, 0, 0, 0)  # r0 = verdict, exit
    with contextlib.ExitStack() as theirs:
        with wire.near.enter():
            program = syscall.load_program(Hook.TCX_INGRESS, "theirs", returning)
            theirs.callback(os.close, program)
            theirs.callback(os.close, syscall.create_link(program, socket.if_nametoindex("up0"), Hook.TCX_INGRESS))
        with Installed(wire.near, *FLAGS, *TCX) as daemon:
            peer.send(solicitation())
            assert [advertisement()] * answers == peer.collect(2, 0.5)
            assert in_user_space(daemon) == batches
            theirs.close()
            assert [advertisement()] == peer.ask(solicitation())


def test_counting_needs_no_descriptor(wire):
    program = KernelProgram("up0", Hook.TCX_INGRESS)
    program.tell(EMPTY)
    os.close(program.load(map_entries.setup(None, Policy(), claimed=True), map_entries.own_entries(None)))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        counts = program.counts()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    program.close()
    assert set(counts) == {(0, 0, 0)}


def test_the_last_answer_is_dated_though_the_kernel_gave_it(wire, peer):
    with Installed(wire.near, *FLAGS, *TCX) as daemon:
        before = time.time()
        peer.await_answer()
        after = time.time()
        (line,) = (line for line in daemon.scrape().splitlines() if line.startswith("ndpresponder_last_answer"))
        assert before - 0.02 <= float(line.rpartition(" ")[2]) <= after + 0.02  # the kernel's coarse clock


def test_nothing_is_lost_or_counted_twice_under_load(wire, peer):
    with Installed(wire.near, *FLAGS, *TCX) as daemon:
        sent = [solicitation(), LEFT_TO_US, solicitation("2001:db8:1::1"), solicitation(hop_limit=1)] * 2000
        counted = daemon.caused(lambda: peer.send(*sent), len(sent))
        assert counted == Counter(
            {
                "received multicast": 8000,
                "sent solicited": 4000,
                "ignored not_ours": 2000,
                "ignored bad_hop_limit": 2000,
            }
        )
        with Flood(wire.far, sent[:4]):
            for _ in range(10):
                daemon.check_sums()


def test_through_a_macvlan_each_is_answered_once(wire, peer):
    wire.near.ip("link set up0 down", "link set up0 name nic", "link set nic up")
    wire.near.ip("link add up0 link nic address 02:00:00:00:00:99 type macvlan mode vepa", "link set up0 up")
    with Installed(wire.near, *FLAGS, *TCX) as daemon:
        peer.await_answer()
        counted = daemon.caused(lambda: peer.send(*[solicitation()] * 100), 100)
        assert counted == Counter({"received multicast": 100, "sent solicited": 100})
        assert in_user_space(daemon) == 0
        peer.drain()
        answers = peer.ask(*[solicitation()] * 100)
        assert answers == [advertisement(ethernet_source="02:00:00:00:00:99")] * 100


def write(path: Path, *targets: str) -> None:
    other = path.with_name("new")
    other.write_text("".join(f"{target}\n" for target in targets))
    other.rename(path)


def generation(daemon: Installed) -> float:
    (line,) = (line for line in daemon.scrape().splitlines() if line.startswith("ndpresponder_table_generation "))
    return float(line.rpartition(" ")[2])


def test_a_target_that_is_gone_from_the_table_is_not_answered_once_more(wire, peer, tmp_path):
    path = tmp_path / "addresses"
    write(path, "2001:db8::1", "2001:db8::ffff")
    flags = ("-i", "up0", "-a", "never", "-f", str(path), *TCX)
    with Installed(wire.near, *flags) as daemon:
        peer.await_answer("2001:db8::1")
        for _ in range(5):
            before = generation(daemon)
            write(path, "2001:db8::ffff")
            seconds_until(lambda before=before: generation(daemon) > before, 5)
            assert not peer.ask(solicitation("2001:db8::1"))
            write(path, "2001:db8::1", "2001:db8::ffff")
            peer.await_answer("2001:db8::1")


def test_one_target_less_or_more_under_load_is_no_other_program(wire, peer, tmp_path):
    path = tmp_path / "addresses"
    write(path, "2001:db8::1", "2001:db8::ffff")
    with Installed(wire.near, "-i", "up0", "-a", "never", "-f", str(path), *TCX) as daemon:
        peer.await_answer("2001:db8::1")
        programs = attached_programs(wire.near, "up0")
        with Flood(wire.far, [solicitation("2001:db8::1")] * 8):
            before = generation(daemon)
            write(path, "2001:db8::ffff")
            seconds_until(lambda: generation(daemon) > before, 5)
            then = daemon.counters()
            wait_until(lambda: (daemon.counters() - then)["ignored not_ours"] >= 1000, 10, "silence for 1,000 frames")
            assert daemon.counters()["sent solicited"] == then["sent solicited"]
            write(path, "2001:db8::1", "2001:db8::ffff")
            wait_until(lambda: daemon.counters()["sent solicited"] > then["sent solicited"], 5, "answers")
        assert attached_programs(wire.near, "up0") == programs
        peer.drain()
        batches = in_user_space(daemon)
        peer.send(*[solicitation("2001:db8::1")] * 10)
        assert peer.collect(10) == [advertisement("2001:db8::1", override=True)] * 10
        assert in_user_space(daemon) == batches


def test_a_table_that_outgrows_the_map_is_the_kernels_in_the_end(wire, peer, tmp_path):
    many = [f"2001:db8::{number:x}:1" for number in range(1, 3 * SLICE)]
    few = many[::1000]
    path = tmp_path / "addresses"
    write(path, *(listed := few))
    # claimed as well: what was live is still answered for then, with another flag
    with Installed(wire.near, "-i", "up0", "-n", "2001:db8::/64", "-a", "never", "-f", str(path), *TCX) as daemon:
        for live in (few, many, few):
            if live is not listed:
                before = generation(daemon)
                write(path, *live)
                seconds_until(lambda before=before: generation(daemon) > before, 10)
                listed = live
            expected = sorted(advertisement(target, override=target in live) for target in many)

            def are_the_kernels(expected=expected) -> bool:
                batches = in_user_space(daemon)
                peer.send(*map(solicitation, many))
                assert sorted(peer.collect(len(many))) == expected
                return in_user_space(daemon) == batches

            wait_until(are_the_kernels, 10, "the kernel to answer")
        daemon.check_sums()


def test_an_exchanged_table_is_never_seen_in_parts(wire, peer, tmp_path):
    old, new = ([f"2001:db8::{side}:{number:x}" for number in range(256)] for side in "ab")
    path = tmp_path / "addresses"
    write(path, *old)
    with Installed(wire.near, "-i", "up0", "-a", "never", "-f", str(path), *TCX) as daemon:
        peer.await_answer(old[0])
        peer.drain()
        frames = [solicitation(target) for pair in zip(old, new, strict=True) for target in pair]
        write(path, *new)
        answered: list[bytes] = []
        end = time.monotonic() + 5
        while packed(new[0]) not in answered:
            assert time.monotonic() < end
            peer.send(*frames)
            answered += [frame[62:78] for frame in peer.advertisements(0)]
        sides = [target[13] for target in answered]
        assert set(sides) == {0x0A, 0x0B}
        assert sides == sorted(sides)  # once one of the new is answered, none of the old is
        daemon.check_sums()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_nothing_stays_behind_whatever_ends_it(wire, peer, end):
    process = wire.near.popen(COMMAND, *FLAGS, *TCX, env=clean_environment(), stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(attached_programs(wire.near, "up0")) == 1, 15, "the program to be attached")
        peer.await_answer()
        process.send_signal(end)
        process.wait(5)
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not attached_programs(wire.near, "up0"), 5, "the program to go")
    peer.drain()
    peer.send(solicitation())
    assert not peer.collect(1, 0.1)


class Asker:
    """Solicits one target after another, and knows which were not answered just once."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._asked: list[bytes] = []
        self._answered: Counter[bytes] = Counter()

    def ask(self, until: Callable[[], bool]) -> None:
        """Ask, once a millisecond, until a condition holds."""
        while not until():
            for _ in range(20):
                target = packed(f"2001:db8::{len(self._asked) % 0x10000:x}")
                self._asked.append(target)
                self._peer.send(solicitation(target))
                self._listen(0.001)

    def wrong(self) -> Counter[bytes]:
        """Return the targets that were answered more often, or less, than asked for, and how often too often."""
        end = time.monotonic() + 5
        while sum(self._answered.values()) < len(self._asked) and time.monotonic() < end:
            self._listen(0.05)
        wrong = Counter(self._answered)
        wrong.subtract(self._asked)
        return Counter({target: count for target, count in wrong.items() if count})

    def _listen(self, deadline_s: float) -> None:
        self._answered.update(frame[62:78] for frame in self._peer.advertisements(deadline_s))


def test_switched_on_and_off_by_a_reload_everything_is_answered_once(wire, peer, tmp_path):
    file = tmp_path / "ndpresponder.toml"
    file.write_text(CONFIGURATION.format("off"))
    with Installed(wire.near, "--config", str(file)) as daemon:
        asker = Asker(peer)
        for reloaded in (2, 4, 6):
            for mode, attached in (("tcx", 1), ("off", 0)):
                file.write_text(CONFIGURATION.format(mode))
                daemon.process.send_signal(signal.SIGHUP)
                asker.ask(lambda attached=attached: len(attached_programs(wire.near, "up0")) == attached)
            asker.ask(lambda reloaded=reloaded: len(daemon.lines("configuration reloaded")) == reloaded)
        assert not asker.wrong()


def test_when_one_daemon_follows_another_everything_is_answered_once(wire, peer):
    with Installed(wire.near, *FLAGS, *TCX) as first:
        asker = Asker(peer)
        with Installed(wire.near, *FLAGS, *TCX, wait=False) as second:
            asker.ask(lambda: len(attached_programs(wire.near, "up0")) == 2)
            assert first.stop() == 0
            asker.ask(lambda: bool(second.counters()["sent solicited"]))
            assert not asker.wrong()


REFUSED = {
    "net_raw": "CAP_NET_ADMIN and CAP_BPF",
    "net_raw,+net_admin": "CAP_BPF",
    "net_raw,+bpf": "CAP_NET_ADMIN",
}


@pytest.mark.parametrize("mode", ["tcx", "xdp"])
def test_a_port_of_a_bridge_is_not_answered_on_and_is_again_once_it_is_none(wire, peer, mode):
    if mode == "xdp":
        wire.ready_for_xdp()
    wire.near.ip("link add m0 type bridge", "link set m0 up")
    with Installed(wire.near, *FLAGS, "--fastpath", mode) as daemon:
        peer.await_answer()
        for times in (1, 2):
            wire.near.ip("link set up0 master m0")
            wait_until(lambda times=times: len(daemon.lines("can be heard here")) == times, 5, "it to be said")
            time.sleep(0.2)
            peer.drain()
            peer.send(solicitation(), solicitation(destination=TARGET))
            assert peer.collect(1, 0.3) == []
            wire.near.ip("link set up0 nomaster")
            peer.await_answer()
            wait_until(lambda times=times: len(daemon.lines("can be heard again")) == times, 5, "its end to be said")


@pytest.mark.parametrize("interface", ["up0", "not-there"])
@pytest.mark.parametrize(("capabilities", "missing"), REFUSED.items(), ids=REFUSED)
def test_without_a_capability_it_says_which(wire, capabilities, missing, interface):
    code, text = ended(wire, *confined(f"+{capabilities}"), COMMAND, "-i", interface, "-n", "2001:db8::/112", *TCX)
    assert code == 77
    assert f"the fast path needs {missing}: " in text
    assert "systemd/ndpresponder-fastpath.conf" in text


def confined(capabilities: str) -> tuple[str, ...]:
    """Return how to run a command with no more than these capabilities, as a user who owns nothing if that can be.

    The interpreter of a checkout may lie where only root can read: then as root, who has no more either.
    """
    command = ("setpriv", f"--bounding-set=-all,{capabilities}", f"--inh-caps=-all,{capabilities}")
    needed = {place for file in (COMMAND, sys.executable) for place in Path(file).resolve().parents}
    if all(place.stat().st_mode & stat.S_IXOTH for place in needed):
        command += (f"--ambient-caps=-all,{capabilities}", "--reuid=65534", "--regid=65534", "--clear-groups")
    return command


@pytest.mark.parametrize("mode", ["tcx", "xdp"])
def test_three_capabilities_are_all_it_needs(wire, peer, mode):
    flags = (*FLAGS, *Fastpath(mode).flags(wire))
    command = (*confined("+net_raw,+net_admin,+bpf"), COMMAND)
    process = wire.near.popen(*command, *flags, env=clean_environment(), stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        assert any("fast path attached" in line for line in process.stderr)
        assert peer.await_answer() == advertisement()
        # and the kernel, which judges by itself what it takes for an answer
        wire.far.sysctl({"ipv6/conf/far0/disable_ipv6": 0, "ipv6/conf/far0/accept_dad": 0})
        wire.far.ip("address add 2001:db8::1:1/64 dev far0 nodad")
        wire.far.run(
            "ping", "-c", "1", "-W", "1", "2001:db8::beef", check=False
        )  # nobody has it: only its link address
        neighbor = wire.far.run("ip", "-6", "neighbor", "show", "2001:db8::beef", "dev", "far0").stdout
        assert f"lladdr {UPLINK_LLADDR}" in neighbor
    finally:
        process.terminate()
        process.communicate(timeout=5)
    assert process.returncode == 0


def test_auto_makes_do_without(wire, peer):
    command = (*confined("+net_raw"), COMMAND)
    process = wire.near.popen(*command, *FLAGS, "--fastpath", "auto", env=clean_environment(), stderr=subprocess.PIPE)
    try:
        assert peer.await_answer() == advertisement()
    finally:
        process.terminate()
        _, text = process.communicate(timeout=5)
    assert process.returncode == 0
    (line,) = (line for line in text.splitlines() if "fast path" in line)
    assert "level=info" in line
    assert "CAP_NET_ADMIN and CAP_BPF" in line


RESTRAINED = {"--rate=1000": "`rate` limits the answers", "--dry-run": "this is a dry run"}


@pytest.mark.parametrize(("flag", "why"), RESTRAINED.items(), ids=RESTRAINED)
def test_what_the_kernel_could_not_decide_is_left_to_user_space(wire, peer, flag, why):
    with Installed(wire.near, *FLAGS, *TCX, flag) as daemon:
        assert why in said(daemon, "no fast path")
        assert not attached_programs(wire.near, "up0")


def test_with_verify_the_kernel_answers_for_live_targets_only(wire, peer):
    with Installed(wire.near, *FLAGS, "-n", "2001:db8::c2", "-a", "never", "--verify", *TCX) as daemon:
        assert "live ones only" in said(daemon, "fast path attached")
        counted = daemon.caused(lambda: peer.send(solicitation("2001:db8::c2"), solicitation()), 2)
        assert peer.collect(1) == [advertisement("2001:db8::c2", override=True)]
        assert counted == Counter({"received multicast": 2, "sent solicited": 1, "ignored not_verified": 1})
        assert in_user_space(daemon) == 0


def test_xdp_refuses_an_interface_that_hides_tags_and_says_what_to_do(wire):
    code, text = ended(wire, COMMAND, *FLAGS, "--fastpath", "xdp")
    assert (code, "ethtool -K up0 rxvlan off" in text) == (71, True), text


def test_xdp_refuses_an_interface_that_has_a_program_and_says_what_to_do(wire):
    flags = Fastpath("xdp").flags(wire)
    wire.let_pass(wire.near, "up0")
    code, text = ended(wire, COMMAND, *FLAGS, *flags)
    assert (code, "another XDP program is attached to up0" in text) == (71, True), text


def test_the_verifier_objects_in_its_own_words():
    require_bpf()
    returns_nothing = struct.pack("=BBhi", 0x95, 0, 0, 0)  # exit, with nothing in r0
    with pytest.raises(syscall.VerifierRefused, match="R0 !read_ok, at instruction 0"):
        syscall.load_program(Hook.XDP, "wrong", returns_nothing)


def test_answers_that_a_veth_loses_count_as_not_sent_and_user_space_gives_them_then(wire, peer):
    wire.leave_tags()  # and the far end has no XDP program
    with Installed(wire.near, *FLAGS, "--fastpath", "xdp-native") as daemon:
        assert "native XDP" in said(daemon, "fast path attached")
        counted = daemon.caused(lambda: peer.send(*[solicitation()] * 10), 10)
        assert not peer.collect(1, 0.1)
        assert counted == Counter({"received multicast": 10, "ignored send_failed": 10, "errors ENXIO": 10})
        line = said(daemon, "the driver sends no answer of the fast path")
        assert "level=warning" in line
        assert peer.ask(solicitation()) == [advertisement()]
        assert in_user_space(daemon) > 0
        # the far end is prepared, which shows as a link that goes and comes: the next attempt works
        wire.let_pass(wire.far, "far0")
        wire.far.ip("link set far0 down")
        daemon.await_line("interface is down")
        wire.far.ip("link set far0 up")
        wait_until(lambda: len(daemon.lines("fast path attached")) == 2, 5, "another attempt")
        peer.await_answer()
        peer.drain()
        before = in_user_space(daemon)
        peer.send(*[solicitation()] * 10)
        assert peer.collect(10) == [advertisement()] * 10
        assert in_user_space(daemon) == before
