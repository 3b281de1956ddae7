"""Faults put into a running daemon: each ends in the answers as they should be, and leaves no trace but a line or two.

FAULTS.md lists these and all the others, with what is expected of each.
"""

import contextlib
import fcntl
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_client import ask, is_open
from daemon_process import COMMAND, Installed, clean_environment, total
from frames import UPLINK_LLADDR, advertisement, solicitation
from kernel_runs import attached_programs, require_bpf
from peer import Peer, Wire, await_running, seconds_until
from requirements import OURS, require

from ndpresponder.lab import wait_until
from ndpresponder.lab.namespace import Namespace, create_all, delete_all

PREFIX = "2001:db8::/112"
FLAGS = ("-i", "up0", "-n", PREFIX)
OTHER_LLADDR = "02:00:00:00:00:77"
FAULT_S = 0.7  # how long a fault lasts
IDLE = 0.2  # of a core, at most, while a fault lasts: what is tried again is tried after a pause
DISTURBED = 0.6  # the same while every system call is traced, which costs more than the call

pytestmark = pytest.mark.needs("ip")


@pytest.fixture
def daemon(wire: Wire) -> Iterator[Installed]:
    with Installed(wire.near, *FLAGS) as daemon:
        daemon.scrape()
        yield daemon


@pytest.fixture
def peer(daemon, peer) -> Peer:
    peer.await_answer()
    return peer


@contextlib.contextmanager
def unharmed(daemon: Installed, peer: Peer, busy: float = IDLE) -> Iterator[None]:
    """Fail unless the daemon is idle meanwhile, answers right afterwards, and has as much open as before."""
    descriptors, used_s, began_s = daemon.descriptors(), daemon.cpu_s(), time.monotonic()
    yield
    last(began_s + FAULT_S - time.monotonic())  # the kernel counts ticks of 10 ms
    spent = (daemon.cpu_s() - used_s) / (time.monotonic() - began_s)
    assert spent < busy, f"{spent:.2f} of a core"
    peer.await_answer()
    wait_until(lambda: peer_agrees(peer), 5, "exactly one right answer")
    seconds_until(lambda: daemon.descriptors() <= descriptors, 5)
    assert "Traceback" not in daemon.log()
    assert "fault of ours" not in daemon.log()


def comes_to_agree(peer: Peer) -> bool:
    """Tell whether the peer agrees within a second; while the uplink is opened anew a solicitation may be lost."""
    try:
        peer.ask(deadline_s=1.0)
    except TimeoutError:
        return False
    return peer_agrees(peer)


def peer_agrees(peer: Peer) -> bool:
    """Tell whether a solicitation causes one answer, as it should be, and one for a stranger's address none."""
    peer.ask()  # what was asked before is answered by then
    return peer.ask(solicitation(), solicitation("2001:db8:dead::1")) == [advertisement()]


def last(seconds: float = FAULT_S) -> None:
    """Let a fault last for so long."""
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: False, seconds, "nothing")


@contextlib.contextmanager
def injected(daemon: Installed, calls: str, error: str, when: str = "1+") -> Iterator[None]:
    """Have the kernel refuse system calls of the daemon, by strace, for the length of a context."""
    require("strace")
    argv = ["strace", "-f", "-qq", "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}"]
    with subprocess.Popen(
        [*argv, "-o", "/dev/null", "-p", str(daemon.process.pid)], stderr=subprocess.PIPE, text=True
    ) as tracer:
        wait_until(lambda: is_traced(daemon), 5, "strace to attach")
        try:
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(5)
    wait_until(lambda: not is_traced(daemon), 5, "strace to detach")


def is_traced(daemon: Installed) -> bool:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return not re.search(r"(?m)^TracerPid:\t0$", status)


# Sending


@pytest.mark.parametrize("error", ["ENOBUFS", "EAGAIN", "ENETDOWN", "EPERM"])
def test_an_answer_that_the_kernel_refuses_is_counted_and_the_next_one_leaves(daemon, peer, error):
    before = daemon.counters()
    with unharmed(daemon, peer, DISTURBED), injected(daemon, "sendto", error):
        peer.send(solicitation())
        daemon.await_line("the kernel refused to send")
    counted = daemon.counters() - before
    assert counted["ignored send_failed"] == counted[f"errors {error}"] >= 1


def test_a_batch_that_the_kernel_refuses_is_counted_frame_by_frame(daemon, peer):
    before = daemon.counters()
    with unharmed(daemon, peer, DISTURBED):
        os.kill(daemon.process.pid, signal.SIGSTOP)  # so that they are read in one go
        peer.send(*(solicitation() for _ in range(32)))
        with injected(daemon, "sendmmsg", "ENOBUFS"):
            os.kill(daemon.process.pid, signal.SIGCONT)
            daemon.await_line("the kernel refused to send")
    counted = daemon.counters() - before
    assert counted["ignored send_failed"] == counted["errors ENOBUFS"] == 32


# Netlink


@pytest.mark.parametrize(
    ("calls", "error"),
    [
        ("socket", "EPERM"),
        ("socket", "EMFILE"),
        ("bind", "ENOMEM"),
        ("recvfrom,recvmsg", "ENOBUFS"),
        ("recvfrom,recvmsg", "EPERM"),
        ("setsockopt", "ENOBUFS"),
        ("mmap", "ENOMEM"),
        ("ioctl", "ENODEV"),
        ("getsockname", "ENOBUFS"),
        ("epoll_ctl", "ENOMEM"),
    ],
)
def test_a_link_that_changes_while_the_kernel_refuses_is_followed_afterwards(wire, daemon, peer, calls, error):
    descriptors = daemon.descriptors()
    before_s, began_s = daemon.cpu_s(), time.monotonic()
    with injected(daemon, calls, error):
        wire.near.ip("link del up0")
        wire.plug(0, 50)
        last()
    assert (daemon.cpu_s() - before_s) / (time.monotonic() - began_s) < DISTURBED
    with Peer(wire.far) as again:
        again.await_answer(deadline_s=10)
        assert peer_agrees(again)
    seconds_until(lambda: daemon.descriptors() <= descriptors, 5)
    assert "Traceback" not in daemon.log()
    assert len(daemon.log().splitlines()) < 40


@pytest.mark.parametrize(
    ("calls", "error"),
    [("getsockopt", "ENOMEM"), ("poll", "ENOMEM"), ("socket", "EMFILE"), ("openat", "EMFILE"), ("ioctl", "ENOMEM")],
)
def test_a_daemon_that_may_not_even_count_for_a_while_lives_on(wire, daemon, peer, calls, error):
    with injected(daemon, calls, error):
        for _ in range(4):  # times that it looks after itself
            peer.send(solicitation())
            last(0.5)
    peer.drain()
    peer.await_answer(deadline_s=5)
    assert peer_agrees(peer)
    assert daemon.process.poll() is None
    assert "Traceback" not in daemon.log()
    assert len(daemon.log().splitlines()) < 40


@pytest.mark.parametrize("taken", range(0, 9, 2))
def test_a_link_that_changes_while_epoll_takes_only_some_sockets_is_followed_afterwards(wire, daemon, peer, taken):
    descriptors = daemon.descriptors()
    with injected(daemon, "epoll_ctl", "ENOMEM", f"{taken + 1}+"):
        wire.near.ip("link del up0")
        wire.plug(0, 50)
        last()
    with Peer(wire.far) as again:
        again.await_answer(deadline_s=10)  # of which 5 s may be spent on a question to the kernel
        wait_until(lambda: comes_to_agree(again), 5, "exactly one right answer")
    seconds_until(lambda: daemon.descriptors() <= descriptors, 5)
    assert "Traceback" not in daemon.log()
    assert daemon.process.poll() is None


# The uplink


@pytest.mark.parametrize("octets", [1280, 9000])
def test_another_mtu_changes_nothing(wire, daemon, peer, octets):
    with unharmed(daemon, peer):
        wire.near.ip(f"link set up0 mtu {octets}")
        assert peer_agrees(peer)
    assert not daemon.lines("interface is down")


def test_an_uplink_without_ipv6_is_answered_on_all_the_same(wire, daemon, peer):
    with unharmed(daemon, peer):
        wire.near.sysctl({"ipv6/conf/up0/disable_ipv6": 1})
        assert peer_agrees(peer)
        wire.near.sysctl({"ipv6/conf/up0/disable_ipv6": 0})


def test_an_uplink_that_moves_to_another_namespace_is_let_go_and_taken_back(wire, daemon, peer):
    elsewhere = Namespace(f"{OURS}elsewhere")
    create_all([elsewhere])
    try:
        with unharmed(daemon, peer):
            wire.near.ip(f"link set up0 netns {elsewhere.name}")
            daemon.await_line("waiting for the interface")
            elsewhere.ip("link set up0 up")
            await_running(elsewhere, "up0")
            peer.drain()
            peer.send(solicitation())
            assert not peer.collect(1, 0.3)
            elsewhere.run("ip", "link", "set", "up0", "netns", wire.near.name)
            wire.near.ip("link set up0 up")
            await_running(wire.near, "up0")
    finally:
        delete_all([elsewhere])


def test_an_uplink_that_flaps_a_hundred_times_is_answered_on_in_the_end(wire, daemon, peer):
    with unharmed(daemon, peer, busy=0.9):
        wire.near.ip(*(f"link set up0 {state}" for _ in range(100) for state in ("down", "up")))
        await_running(wire.near, "up0")
    assert len(daemon.log().splitlines()) < 250


def remake(wire: Wire) -> None:
    wire.near.ip("link del up0")
    wire.near.ip(
        "link add up0 type veth peer name far0",
        f"link set up0 address {UPLINK_LLADDR}",
        f"link set far0 netns {wire.far.name}",
    )
    wire.far.ip("link set far0 up")


WHILE_DOWN = {
    "another lladdr": (lambda wire: wire.near.ip(f"link set up0 address {OTHER_LLADDR}"), OTHER_LLADDR),
    "another MTU": (lambda wire: wire.near.ip("link set up0 mtu 1280"), UPLINK_LLADDR),
    "renamed twice": (
        lambda wire: wire.near.ip("link set up0 name away", "link set away name up0"),
        UPLINK_LLADDR,
    ),
    "made again": (remake, UPLINK_LLADDR),
    "its other end goes and comes": (lambda wire: wire.far.ip("link set far0 down", "link set far0 up"), UPLINK_LLADDR),
}


@pytest.mark.parametrize(("change", "lladdr"), WHILE_DOWN.values(), ids=WHILE_DOWN)
def test_what_changes_while_the_uplink_is_down_is_right_once_it_is_up(wire, daemon, change, lladdr):
    descriptors = daemon.descriptors()
    wire.near.ip("link set up0 down")
    daemon.await_line("interface is down")
    change(wire)
    wire.near.ip("link set up0 up")
    await_running(wire.near, "up0")
    with Peer(wire.far) as peer:
        assert peer.await_answer()[6:12].hex(":") == lladdr
        assert set(peer.ask()) <= {advertisement(ethernet_source=lladdr)}  # it may have solicited more than once
        assert peer.ask(solicitation()) == [advertisement(ethernet_source=lladdr)]
    seconds_until(lambda: daemon.descriptors() <= descriptors, 5)


# The configuration


def test_a_configuration_that_is_replaced_while_it_is_read_is_taken_whole_or_not_at_all(wire, tmp_path):
    file = tmp_path / "ndpresponder.toml"
    versions = [
        f'version = 1\n[[interface]]\nname = "up0"\nprefixes = ["{PREFIX}", "2001:db8:{number}::/64"]\n'
        for number in (1, 2)
    ]
    file.write_text(versions[0])
    with Installed(wire.near, "-c", str(file)) as daemon, Peer(wire.far) as peer:
        daemon.scrape()
        wait_until(lambda: peer_agrees(peer), 5, "exactly one right answer")
        with unharmed(daemon, peer, busy=1.0):
            for number in range(60):
                daemon.process.send_signal(signal.SIGHUP)
                file.write_text("")
                file.write_text(versions[number % 2][: 30 if number % 5 == 0 else None])
                assert peer.ask(solicitation()) == [advertisement()]
                daemon.await_notice("READY=1", 5)  # read, or its queue fills up, which holds up every reload
            file.unlink()
            daemon.process.send_signal(signal.SIGHUP)
            daemon.await_line(f"{file}: does not exist")
            file.mkdir()
            daemon.process.send_signal(signal.SIGHUP)
            daemon.await_line(f"{file}: is a directory")
            file.rmdir()
            file.write_text(versions[1])
            daemon.process.send_signal(signal.SIGHUP)
            peer.await_answer("2001:db8:2::1")
            peer.ask()  # it may have solicited more than once
            assert peer.ask(solicitation("2001:db8:1::1")) == []


# Shortages


def test_without_a_free_descriptor_it_answers_and_scrapes_come_later(daemon, peer):
    with unharmed(daemon, peer):
        soft, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (3, hard))
        try:
            with contextlib.closing(daemon.connect()):
                daemon.await_line("out of system resource")
                last()
                assert peer_agrees(peer)
        finally:
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert daemon.counters()
    assert len(daemon.lines("out of system resource")) < 5


@pytest.mark.parametrize("few", range(7, 15))  # with fewer there is no event loop: test_command_line.py
def test_with_too_few_descriptors_to_start_it_goes_as_far_as_it_can_and_on_when_there_are_more(wire, few):
    with Installed(wire.near, *FLAGS, wait=False) as daemon, Peer(wire.far) as peer:
        soft, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (few, hard))
        daemon.await_line("event=starting")
        last()
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        daemon.await_ready()
        peer.await_answer()
        wait_until(lambda: peer_agrees(peer), 5, "exactly one right answer")
        assert daemon.counters()
        wait_until(lambda: is_open(daemon.control), 5, "the control socket")


@pytest.mark.parametrize("added", ["2001:db8:5::/64", "2001:db8:5::1/128"], ids=["prefix", "live"])
def test_a_fast_path_that_there_was_no_memory_for_is_there_again_with_the_next_change(wire, added):
    require_bpf()
    with Installed(wire.near, *FLAGS, "--fastpath", "auto") as daemon, Peer(wire.far) as peer:
        assert len(attached_programs(wire.near, "up0")) == 1
        with injected(daemon, "bpf", "ENOMEM"):
            ask(daemon.control, "POST", "/prefixes", prefix=added)
            daemon.await_line("the fast path failed")
            peer.await_answer("2001:db8:5::1")
            assert not attached_programs(wire.near, "up0")
        ask(daemon.control, "POST", "/prefixes", prefix="2001:db8:6::/64")
        wait_until(lambda: bool(attached_programs(wire.near, "up0")), 5, "the fast path")
        peer.await_answer("2001:db8:6::1")


def test_without_memory_for_another_ring_it_waits_and_then_answers(wire, daemon, peer):
    descriptors, pid = daemon.descriptors(), daemon.process.pid
    used_s, began_s = daemon.cpu_s(), time.monotonic()
    wire.near.ip("link set up0 down", "link set up0 name away")
    daemon.await_line("waiting for the interface")
    limit = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    wire.near.ip("link set away name up0", "link set up0 up")
    daemon.await_line("Cannot allocate memory")
    last()
    assert (daemon.cpu_s() - used_s) / (time.monotonic() - began_s) < IDLE
    resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    await_running(wire.near, "up0")
    peer.await_answer(deadline_s=10)
    assert peer_agrees(peer)
    seconds_until(lambda: daemon.descriptors() <= descriptors, 5)
    assert "Traceback" not in daemon.log()


def test_a_hundred_clients_that_never_read_hold_up_nobody(daemon, peer):
    descriptors = daemon.descriptors()
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            with contextlib.suppress(OSError):  # there are too many; it has made room for another
                client = stack.enter_context(contextlib.closing(daemon.connect()))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        assert peer_agrees(peer)
        wait_until(lambda: cpu_share(daemon.process.pid) < IDLE, 5, "it to have written what it can")
        with unharmed(daemon, peer):
            assert peer_agrees(peer)
            last()
        assert daemon.counters()
    seconds_until(lambda: daemon.descriptors() <= descriptors, 15)


# The log


@contextlib.contextmanager
def logging_to(wire: Wire, stderr: int | None, *flags: str) -> Iterator[tuple[subprocess.Popen[str], Peer]]:
    """Run the daemon with such a standard error; None is none at all."""
    argv = [COMMAND, *FLAGS, *flags]
    if stderr is None:
        argv = ["sh", "-c", 'exec "$0" "$@" 2>&- >&- <&-', *argv]
    process = wire.near.popen(*argv, env=clean_environment(), stderr=stderr, stdout=stderr)
    try:
        with Peer(wire.far) as peer:
            peer.await_answer(deadline_s=10)
            yield process, peer
            peer.await_answer()
            wait_until(lambda: peer_agrees(peer), 5, "exactly one right answer")
        assert cpu_share(process.pid) < 0.5
        process.terminate()
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()


def cpu_share(pid: int) -> float:
    """Return what share of a core a process uses now."""

    def used_s() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before_s = used_s()
    last(0.3)
    return (used_s() - before_s) / 0.3


def events(wire: Wire, count: int = 20) -> None:
    """Make the daemon log about so many lines."""
    wire.near.ip(*(f"link set up0 address 02:00:00:00:01:{number:02x}" for number in range(count)))
    wire.near.ip("link set up0 address 02:00:00:00:00:02")


def test_a_log_that_is_full_costs_only_lines(wire):
    with Path("/dev/full").open("w") as full, logging_to(wire, full.fileno()):
        events(wire)


def test_a_disk_that_is_full_costs_only_lines_and_later_ones_are_written(wire, tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], check=True)
    try:
        filler = tmp_path / "filler"
        with (tmp_path / "log").open("a") as log:
            with contextlib.suppress(OSError):
                filler.write_bytes(bytes(1 << 20))
            with logging_to(wire, log.fileno()):
                events(wire)
                filler.unlink()
                wire.near.ip("link set up0 address 02:00:00:00:01:77")
                wait_until(lambda: "02:00:00:00:01:77" in (tmp_path / "log").read_text(), 5, "a line")
                wire.near.ip("link set up0 address 02:00:00:00:00:02")
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_closed_standard_streams_are_nobodys_socket(wire):
    with logging_to(wire, None) as (process, _):
        events(wire)
        for number in range(3):
            assert os.readlink(f"/proc/{process.pid}/fd/{number}") == "/dev/null"


def test_a_log_whose_reader_has_gone_costs_only_lines(wire):
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as log, logging_to(wire, log.fileno()):
        os.close(reader)
        events(wire)


def test_a_log_that_nobody_reads_holds_up_nothing(wire):
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer, "w") as log, logging_to(wire, log.fileno(), "-l", "debug") as (_, peer):
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(4096))
        os.set_blocking(writer, True)
        events(wire)
        wait_until(lambda: peer_agrees(peer), 5, "exactly one right answer")
        for _ in range(20):
            assert peer_agrees(peer)


def a_pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 16384)
    return reader, writer


@pytest.mark.parametrize(
    ("opened", "form"), [(a_pipe, "logfmt"), (a_pipe, "json"), (a_pipe, "console"), (pty.openpty, "console")]
)
def test_long_lines_that_nobody_reads_hold_up_nothing_and_it_is_said_how_many_were_lost(wire, tmp_path, opened, form):
    file = tmp_path / "ndpresponder.toml"
    file.write_text("version = 1\n")
    reader, writer = opened()
    with open(reader, "rb", 0) as read, open(writer, "w") as log:
        with logging_to(wire, log.fileno(), "-o", form, "-c", str(file)) as (process, peer):
            file.write_text(f"version = 1\n[[interface]]\nname = '{'x' * 9000}'\n")
            wait_until(lambda: peer_agrees(peer), 5, "exactly one right answer")
            for _ in range(5):
                process.send_signal(signal.SIGHUP)
                assert peer_agrees(peer)
            os.set_blocking(reader, False)
            heard = bytearray()

            def is_said() -> bool:
                while some := read.read(65536):
                    heard.extend(some)
                process.send_signal(signal.SIGHUP)
                return b"lines of the log were lost" in heard

            wait_until(is_said, 5, "how many lines were lost")
            assert peer_agrees(peer)
        assert b"x" * 4096 in heard


# Time


def test_a_daemon_that_was_stopped_answers_what_waited(daemon, peer):
    with unharmed(daemon, peer):
        os.kill(daemon.process.pid, signal.SIGSTOP)
        peer.drain()
        last(10.0)
        peer.send(*(solicitation() for _ in range(100)))
        os.kill(daemon.process.pid, signal.SIGCONT)
        assert peer.collect(100) == [advertisement()] * 100


def test_the_backlog_of_a_stopped_daemon_is_bounded_and_counted(daemon, peer):
    solicit_while_stopped(daemon, peer)
    daemon.await_line("in a flood")
    last()  # the sockets that count in a flood are opened at the first one, and stay
    with unharmed(daemon, peer, busy=0.9):
        before = daemon.counters()
        solicit_while_stopped(daemon, peer)
        assert (daemon.counters() - before)["drops"] < 2000
        last(1.0)  # one that floods is held back until it has paused for half a second


def solicit_while_stopped(daemon: Installed, peer: Peer) -> None:
    """Send 10,000 solicitations to a daemon that does not run, and wait until it has answered or counted them."""
    before = daemon.counters()
    os.kill(daemon.process.pid, signal.SIGSTOP)
    peer.send(*(solicitation() for _ in range(10_000)))
    os.kill(daemon.process.pid, signal.SIGCONT)
    wait_until(lambda: ended(daemon.counters() - before) >= 10_000, 5, "all of them")


def ended(counted: Counter[str]) -> int:
    return total(counted, "received") + total(counted, "drops")


@pytest.mark.parametrize("jump_s", [86_400, -86_400, -1_700_000_000])
def test_a_clock_that_jumps_changes_no_answer(wire, tmp_path, jump_s):
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("needs libfaketime")
    offset = tmp_path / "offset"
    offset.write_text("+0s")
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with Installed(wire.near, *FLAGS, environment=faked) as daemon, Peer(wire.far) as peer:
        peer.await_answer()
        daemon.scrape()
        with unharmed(daemon, peer, busy=0.5):
            offset.write_text(f"{jump_s:+d}s")
            last(0.3)
            assert peer_agrees(peer)
            exposition = daemon.scrape()
        stamp = re.search(r"(?m)^ndpresponder_last_answer_timestamp_seconds{.*} (\S+)", exposition)
        assert stamp
        assert abs(float(stamp[1]) - (time.time() + jump_s)) < 60  # it did jump
        sums = re.search(r"(?m)^ndpresponder_response_duration_seconds_sum{.*} (\S+)", exposition)
        assert sums
        assert float(sums[1]) >= 0


# Company


def test_a_second_daemon_on_an_uplink_says_so_and_both_go_on(wire, daemon, peer):
    with Installed(wire.near, *FLAGS) as second:
        second.await_line("another ndpresponder answers on this interface")
        peer.drain()
        peer.send(solicitation())
        assert peer.collect(2) == [advertisement()] * 2
    assert not daemon.lines("another ndpresponder")
    assert peer_agrees(peer)


def test_a_daemon_on_another_uplink_or_after_the_first_is_no_second_one(wire, daemon, peer):
    wire.plug(1)
    with Installed(wire.near, "-i", "up1", "-n", PREFIX) as other:
        other.await_line("answering")
        assert not other.lines("another ndpresponder")
    daemon.stop()
    with Installed(wire.near, *FLAGS) as later:
        later.await_line("answering")
        assert not later.lines("another ndpresponder")


def test_a_local_process_that_takes_the_mark_causes_a_line_and_no_silence(wire):
    with wire.near.enter():
        index = socket.if_nametoindex("up0")
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with mark:
        mark.bind(f"\0ndpresponder/{index}")
        with Installed(wire.near, *FLAGS) as daemon, Peer(wire.far) as peer:
            peer.await_answer()
            assert len(daemon.lines("another ndpresponder")) == 1
            assert peer_agrees(peer)
