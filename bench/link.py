"""The wire of the benchmark: two namespaces joined by a veth pair, the generator at one end, a responder at the other.

Each end has a core of its own. It must never touch anything outside its two namespaces.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from ndpresponder.lab.namespace import Namespace, create_all, delete_all, veth

ROOT: Final = Path(__file__).resolve().parent.parent
UPLINK: Final = "uplink"
PREFIX: Final = "2001:db8::/112"
FIRST_TARGET: Final = "2001:db8::1000"
TARGETS: Final = 256
WHOLE_PREFIX: Final[dict[str, float | str]] = {"target": "2001:db8::", "targets": 65536}
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_ASKER, _ASKER_LLADDR = "fe80::1", "02:00:00:00:00:01"
_SOURCE, _BINARY = ROOT / "bench" / "generator.c", ROOT / ".cache" / "generator"
_ASKER_OPTIONS = ("iface=asker", f"source={_ASKER}")
_LOCK: Final = Path("/run/lock/ndpbench")  # two benchmarks would measure each other
_FIRST_ANSWER_DEADLINE_S: Final = 10


class BenchError(Exception):
    """Something a person has to put right before anything can be measured."""


def build_generator() -> None:
    """Compile the generator into .cache/ unless it is there and newer than its source."""
    if _BINARY.exists() and _BINARY.stat().st_mtime > _SOURCE.stat().st_mtime:
        return
    _BINARY.parent.mkdir(exist_ok=True)
    print(f"gcc -O2 {_SOURCE.relative_to(ROOT)} -> {_BINARY.relative_to(ROOT)}", file=sys.stderr)
    try:
        subprocess.run(["gcc", "-O2", "-Wall", "-o", _BINARY, _SOURCE], check=True)
    except FileNotFoundError:
        raise BenchError("no C compiler: apt-get install gcc libc6-dev") from None


class Link:
    """The two namespaces and their cores; a context manager."""

    def __init__(self) -> None:
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise BenchError("two cores are needed: one for the generator, one for the responder")
        self.asker_core, self.responder_core = cores[:2]
        self.own_core = False  # whether frames are received on the core of the end they are for
        self._asker, self.responder = Namespace("ndpbench-asker"), Namespace("ndpbench-responder")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            lock = stack.enter_context(_LOCK.open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BenchError(f"another benchmark is running: it holds {_LOCK}") from None
            ends = (self._asker, self.responder)
            delete_all(ends)  # of a run that was killed
            stack.callback(delete_all, ends)
            create_all(ends)
            self._wire()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wire(self) -> None:
        for end in (self._asker, self.responder):
            end.sysctl({"ipv6/conf/default/accept_dad": 0, "ipv6/conf/default/accept_ra": 0})
        pair = veth(1, (self._asker, "asker", _ASKER_LLADDR), (self.responder, UPLINK, "02:00:00:00:00:02"))
        subprocess.run(["ip", *pair.split()], check=True)
        # The generator reads beside the stack; answers must not cost its core a walk through the stack as well
        self._asker.sysctl({"ipv6/conf/asker/disable_ipv6": 1})
        self._asker.ip("link set asker up")
        self.responder.ip(
            f"link set {UPLINK} up",
            f"addr add 2001:db8:0:0:ffff::2/64 dev {UPLINK}",
            # Responders that answer through the kernel's stack must not fall silent to resolve the generator
            f"neigh add {_ASKER} lladdr {_ASKER_LLADDR} dev {UPLINK} nud permanent",
        )
        wait_for(self._is_up, 3, "the veth pair is not up")

    def busy(self, within_s: float = 0.25) -> float:
        """Return how much of the two cores is in use, as a share of the busier one."""
        cores = (self.asker_core, self.responder_core)
        before = [core_time_s(core) for core in cores]
        time.sleep(within_s)
        return max(core_time_s(core) - used for core, used in zip(cores, before, strict=True)) / within_s

    def _is_up(self) -> bool:
        return "state UP" in self.responder.run("ip", "-o", "link", "show", UPLINK).stdout

    def start_responder(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command on the responder's core."""
        return self.responder.popen("taskset", "-c", str(self.responder_core), *argv, **options)

    def receive_on_own_core(self, on: bool) -> None:
        """Have each end's received frames processed on its own core, or (off) on the sender's, as a veth does."""
        self.own_core = on
        for end, device, core in (
            (self._asker, "asker", self.asker_core),
            (self.responder, UPLINK, self.responder_core),
        ):
            mask = f"{1 << core:x}" if on else "0"
            # A command of its own, because /sys shows the devices of the namespace it was mounted in
            end.run("sh", "-c", f"echo {mask} > /sys/class/net/{device}/queues/rx-0/rps_cpus")

    def ask(self, mode: str, **options: float | str) -> dict[str, Any]:
        """Run the generator to its end and return what it reports."""
        process = self._start_generator(mode, **options)
        output, _ = process.communicate()
        if process.returncode:
            raise BenchError(f"generator {mode} failed with exit code {process.returncode}")
        report: dict[str, Any] = json.loads(output)
        return report

    def time_to_first_answer(self, start: Callable[[], None]) -> float:
        """Return the seconds from calling `start` to the first answer; solicitations flow before and after.

        Raises:
            TimeoutError: no answer came.
        """
        generator = self._start_generator("first", seconds=_FIRST_ANSWER_DEADLINE_S)
        try:
            assert generator.stdout is not None
            generator.stdout.readline()  # "ready"
            began = time.monotonic_ns()
            start()
            answered = json.loads(generator.stdout.readline())["first_answer_ns"]
        finally:
            generator.kill()
            generator.communicate()
        if answered is None:
            raise TimeoutError(f"no answer within {_FIRST_ANSWER_DEADLINE_S} s")
        return float(answered - began) / 1e9

    def _start_generator(self, mode: str, **options: float | str) -> subprocess.Popen[str]:
        options = {"cpu": self.asker_core, "target": FIRST_TARGET, "targets": TARGETS, **options}
        arguments = [f"{key}={value}" for key, value in options.items()]
        return self._asker.popen(str(_BINARY), mode, *_ASKER_OPTIONS, *arguments, stdout=subprocess.PIPE)


def wait_for(condition: Callable[[], bool], deadline_s: float, complaint: str) -> None:
    """Return as soon as `condition` holds.

    Raises:
        TimeoutError: it did not within `deadline_s`.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(complaint)
        time.sleep(0.01)


def core_time_s(core: int) -> float:
    """Return how long a core has been at work since the machine started."""
    name = f"cpu{core} "
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(name))
    user, nice, system, _, _, irq, softirq, *_ = map(int, line.split()[1:])
    return (user + nice + system + irq + softirq) / TICKS_PER_S
