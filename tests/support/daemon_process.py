"""The installed command as a process in a namespace, known only from outside: its exit code, its log, what it says to
systemd and the counters it serves. What it says on the wire is `peer`'s. Import it as `from harness import Installed`.
"""

import contextlib
import http.client
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ndpresponder.lab.namespace import Namespace
from ndpresponder.lab.topology import wait_until

UNIT = Path(__file__).parents[2] / "systemd" / "ndpresponder.service"
COMMAND = str(Path(sys.executable).with_name("ndpresponder"))
SLOWER = float(os.environ.get("NDPRESPONDER_SLOWER", "1"))  # how often slower an emulated machine is
READY_DEADLINE_S = 15.0 * SLOWER
STOP_DEADLINE_S = 5.0 * SLOWER
FOLLOW_DEADLINE_S = 0.1  # within which the daemon follows every change of its uplink
COUNTED_DEADLINE_S = 5.0
ATTEMPTS = 3  # at a deadline that a busy machine may spoil

SAMPLE = re.compile(r"ndpresponder_(?P<name>\w+)\{(?P<labels>.*)\} (?P<value>\S+)")
COUNTED = {
    "solicitations_received_total": "received",
    "advertisements_sent_total": "sent",
    "solicitations_ignored_total": "ignored",
    "send_errors_total": "errors",
    "kernel_drops_total": "drops",
}


class Installed:
    """The installed command with these flags, ready at the start of the context and sound at its end.

    The end fails on an exit code other than 0, on a traceback in the log, and on counters that do not add up.
    """

    def __init__(
        self,
        namespace: Namespace,
        *flags: str,
        wait: bool = True,
        control: Path | None = None,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = (COMMAND,),
    ) -> None:
        self.flags = flags
        self._command = command
        self._own_control = control
        self._environment = environment or {}
        self._namespace = namespace
        self._wait = wait
        self._told_to_stop = False

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._metrics = self._directory / "metrics"
            self.control = self._own_control or self._directory / "control"
            self._log = stack.enter_context((self._directory / "log").open("w+"))
            self._notices = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            self._notices.bind(str(self._directory / "notify"))
            self.process = self._namespace.popen(
                *self._command,
                *self.flags,
                "--metrics",
                f"unix:{self._metrics}",
                "--control",
                str(self.control),
                env=clean_environment() | self._environment | {"NOTIFY_SOCKET": str(self._directory / "notify")},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
            )
            stack.callback(self._end)
            try:
                if self._wait:
                    self.await_ready()
            except BaseException as error:
                error.add_note(self.log())
                raise
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if error is not None:
                error.add_note(self.log())
                return
            if not self._told_to_stop:
                assert self.is_alive(), f"it ended by itself:\n{self.log()}"
                self.check_sums()
                self.stop()
            assert self.process.returncode == 0, self.log()
            assert "Traceback" not in self.log(), self.log()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()

    def await_ready(self) -> None:
        """Wait until it tells systemd that it is ready."""
        self.await_notice("READY=1", READY_DEADLINE_S)

    def await_notice(self, line: str, deadline_s: float) -> None:
        """Wait for a line of a message to systemd."""
        end = time.monotonic() + deadline_s
        while select.select([self._notices], [], [], max(0.0, min(0.1, end - time.monotonic())))[0] or self.is_alive():
            with contextlib.suppress(BlockingIOError):
                if line in self._notices.recv(4096, socket.MSG_DONTWAIT).decode().splitlines():
                    return
            if time.monotonic() > end:
                raise TimeoutError(f"no {line!r} within {deadline_s} s:\n{self.log()}")
        raise ChildProcessError(f"it ended with exit code {self.process.returncode}:\n{self.log()}")

    def forget_notices(self) -> None:
        """Throw away what it has told systemd so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._notices.recv(4096, socket.MSG_DONTWAIT)

    def is_alive(self) -> bool:
        """Tell whether the process still runs."""
        return self.process.poll() is None

    def stop(self) -> int:
        """End it as systemd would and return its exit code."""
        self._told_to_stop = True
        self.process.terminate()
        return self.process.wait(STOP_DEADLINE_S)

    def log(self) -> str:
        """Return what it has printed so far."""
        return Path(self._log.name).read_text()

    def lines(self, text: str) -> list[str]:
        """Return the lines of the log that hold `text`."""
        return [line for line in self.log().splitlines() if text in line]

    def await_line(self, text: str, deadline_s: float = 5.0) -> None:
        """Wait for a line of the log that holds `text`."""
        try:
            wait_until(lambda: bool(self.lines(text)), deadline_s, f"{text!r} in the log")
        except TimeoutError as error:
            error.add_note(self.log())
            raise

    def scrape(self) -> str:
        """Return /metrics as text, as soon as it is served."""
        return self.get("/metrics")[1]

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a path beside /metrics, as soon as it is served."""
        wait_until(self._is_serving, READY_DEADLINE_S, "metrics")
        with self.connect() as served:
            served.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(served)
            response.begin()
            with response:
                return response.status, response.read().decode()

    def connect(self) -> socket.socket:
        """Return a connection to where metrics are served."""
        served = socket.socket(socket.AF_UNIX)
        served.settimeout(10)
        try:
            served.connect(str(self._metrics))
        except OSError:
            served.close()
            raise
        return served

    def _is_serving(self) -> bool:
        with socket.socket(socket.AF_UNIX) as served:
            return served.connect_ex(str(self._metrics)) == 0

    def counters(self, interface: str = "up0") -> Counter[str]:
        """Return the counters of one uplink that are not 0, by names such as "ignored not_ours", "sent solicited"."""
        counters: Counter[str] = Counter()
        for line in self.scrape().splitlines():
            sample = SAMPLE.fullmatch(line)
            if sample is None or sample["name"] not in COUNTED:
                continue
            labels = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
            if labels.pop("interface") == interface:
                counters[" ".join((COUNTED[sample["name"]], *labels.values()))] = int(float(sample["value"]))
        return +counters

    def caused(self, act: Callable[[], None], frames: int, interface: str = "up0") -> Counter[str]:
        """Return what is counted on an uplink because of `act`, which makes it receive so many frames."""
        before = self.counters(interface)
        act()
        wait_until(
            lambda: total(self.counters(interface) - before, "received") >= frames, COUNTED_DEADLINE_S, "the frames"
        )
        return self.counters(interface) - before

    def interfaces(self) -> list[str]:
        """Return the uplinks that are counted."""
        return re.findall(r'^ndpresponder_interface_up\{interface="([^"]*)"\}', self.scrape(), re.MULTILINE)

    def check_sums(self) -> None:
        """Fail unless received = answered + ignored on every uplink, now."""
        for interface in self.interfaces():
            counters = self.counters(interface)
            answered = total(counters, "sent") - counters["sent unsolicited"]
            assert total(counters, "received") == answered + total(counters, "ignored"), counters

    def go_first(self) -> None:
        """Have it go before others on a busy machine, as the unit does."""
        nice = int(re.findall(r"^Nice=(.*)", UNIT.read_text(), re.MULTILINE)[0])
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it ended since it was listed
                os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)

    def cpu_s(self) -> float:
        """Return how much processor time it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_kb(self) -> int:
        """Return how much memory it holds now."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024

    def descriptors(self) -> int:
        """Return how many file descriptors it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


def total(counters: Counter[str], word: str) -> int:
    """Add up the counters whose name begins with `word`."""
    return sum(count for name, count in counters.items() if name.split()[0] == word)


def received_as(frame: bytes) -> str:
    """Return the counter under which a frame is received, which its addresses alone decide."""
    untagged = frame[:12] + frame[16:] if frame[12:14] == b"\x81\x00" else frame
    if len(untagged) < 54:
        return "received multicast" if untagged[0] & 1 else "received unicast"
    if not any(untagged[22:38]):
        return "received dad"
    return "received multicast" if untagged[38] == 0xFF else "received unicast"


def clean_environment() -> dict[str, str]:
    """Return our environment without what would configure the command."""
    unwanted = ("NDPRESPONDER_", "NOTIFY_SOCKET", "WATCHDOG_", "JOURNAL_STREAM")
    return {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}


def within(deadline_s: float, attempt: Callable[[], float], attempts: int = ATTEMPTS) -> None:
    """Fail unless one of a few attempts, each of which returns how long it took, meets the deadline."""
    taken: list[float] = []
    while not taken or taken[-1] > deadline_s:
        assert len(taken) < attempts, f"took {taken} s, more than {deadline_s} s each time"
        taken.append(attempt())
