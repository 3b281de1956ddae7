"""systemd hears what it should, through a real datagram socket."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ndpresponder.linux.systemd import Notifier, watchdog_interval_s


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path: Path):
    """Yield (a socket that listens as systemd does, the value of NOTIFY_SOCKET)."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@ndpresponder-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        receiver.settimeout(5)
        yield receiver, name


def test_each_state_is_one_datagram(manager) -> None:
    receiver, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})

    notifier.ready("answering on uplink")
    notifier.status("waiting for uplink")
    notifier.watchdog()
    notifier.stopping()
    notifier.close()

    assert [receiver.recv(4096) for _ in range(4)] == [
        b"READY=1\nSTATUS=answering on uplink",
        b"STATUS=waiting for uplink",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


def test_reloading_carries_the_monotonic_clock_in_microseconds(manager) -> None:
    receiver, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})

    before = time.monotonic_ns() // 1000
    notifier.reloading()
    after = time.monotonic_ns() // 1000
    notifier.close()

    first, second = receiver.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= after


def test_a_status_cannot_smuggle_in_another_assignment(manager) -> None:
    receiver, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})

    notifier.status("bad\nSTOPPING=1\udcff")
    notifier.close()

    assert receiver.recv(4096) == rb"STATUS=bad STOPPING=1\udcff"


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative", "/nonexistent/notify", "/" + "x" * 200])
def test_no_manager_is_no_error(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})

    notifier.ready("")
    notifier.close()


def test_a_manager_that_never_reads_does_not_hold_up_the_loop_for_long(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        began, longest, sent = time.monotonic(), 0.0, 0
        while longest < 0.08 and time.monotonic() - began < 5:  # until the queue is full
            before = time.monotonic()
            notifier.watchdog()
            longest, sent = max(longest, time.monotonic() - before), sent + 1
        before = time.monotonic()
        for _ in range(10):
            notifier.status("nobody reads this")
        waited = time.monotonic() - before
        for _ in range(sent - 1):
            deaf.recv(4096)
        notifier.status("somebody reads again")
        assert deaf.recv(4096) == b"STATUS=somebody reads again"
        notifier.close()

    assert sent > 1
    assert 0.08 < longest < 0.4
    assert waited < 0.3


def test_what_the_manager_did_not_take_and_waits_for_is_said_again(tmp_path: Path) -> None:
    """It would end a service that never was ready, and a successor would lose a socket that is not kept."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as busy, socket.socket(socket.AF_UNIX) as kept:
        busy.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        while notifier._send("X=1"):
            continue
        notifier.store("ring", kept.fileno())
        notifier.store("gone", kept.fileno())
        notifier.drop("gone")
        notifier.ready("answering on eth0")
        notifier.status("answering on eth0; waiting for eth1")
        busy.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while busy.recv(4096):
                continue
        notifier.watchdog()
        notifier.watchdog()
        taken, descriptors, _, _ = socket.recv_fds(busy, 4096, 1)
        assert taken == b"READY=1\nSTATUS=answering on eth0; waiting for eth1"
        taken, descriptors, _, _ = socket.recv_fds(busy, 4096, 1)
        assert (taken, len(descriptors)) == (b"FDSTORE=1\nFDNAME=ring\nFDPOLL=0", 1)
        os.close(descriptors[0])
        assert [busy.recv(4096), busy.recv(4096)] == [b"WATCHDOG=1"] * 2
        notifier.close()


@pytest.mark.parametrize(
    ("expected", "environ"),
    [
        (1.5, {"WATCHDOG_USEC": "3000000"}),
        (1.5, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "42"}),
        (None, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "43"}),
        (None, {"WATCHDOG_USEC": "0"}),
        (None, {"WATCHDOG_USEC": "-1"}),
        (None, {"WATCHDOG_USEC": "soon"}),
        (None, {}),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(expected, environ) -> None:
    assert watchdog_interval_s(environ, pid=42) == expected


PASSED = """
import os
from ndpresponder.linux.systemd import passed_descriptors
os.closerange(3, 64)
for descriptor in os.pipe():
    os.set_inheritable(descriptor, True)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
print(passed_descriptors())
print([os.get_inheritable(descriptor) for descriptor in (3, 4)])
"""


def _passed(environ: dict[str, str]) -> list[str]:
    """Return what a process that has the descriptors 3 and 4, and nothing above, is passed, and if its children are."""
    done = subprocess.run(
        [sys.executable, "-c", PASSED], env={**os.environ, **environ}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("expected", "environ"),
    [
        ("{'metrics': [3], 'ring': [4]}", {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "metrics:ring"}),
        ("{'metrics': [3, 4]}", {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "metrics:metrics"}),
        ("{'metrics': [3]}", {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "metrics:ring"}),
        ("{'metrics': [3], 'unknown': [4]}", {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "metrics"}),
        ("{'unknown': [3, 4]}", {"LISTEN_FDS": "2"}),
        ("{'unknown': [3, 4]}", {"LISTEN_FDS": "99999999999"}),
        ("{}", {"LISTEN_FDS": "0", "LISTEN_FDNAMES": "metrics"}),
        ("{}", {"LISTEN_FDS": "-1"}),
        ("{}", {"LISTEN_FDS": "two"}),
        ("{}", {}),
    ],
)
def test_descriptors_are_passed_by_name(expected: str, environ: dict[str, str]) -> None:
    assert _passed(environ)[0] == expected


def test_descriptors_that_were_meant_for_another_process_are_not_taken() -> None:
    assert _passed({"LISTEN_FDS": "2", "LISTEN_PID": "1"})[0] == "{}"


def test_passed_descriptors_are_not_inherited_by_programs_that_we_run() -> None:
    assert _passed({"LISTEN_FDS": "2"})[1] == "[False, False]"
