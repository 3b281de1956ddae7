"""Who is measured: how each responder is started and ended in the benchmark's namespace, and what it has used.

Every one answers for the same 256 addresses, with its stock settings except where a line says why not.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

import programs
from link import FIRST_TARGET, PREFIX, TARGETS, UPLINK, BenchError, Link, core_time_s

OURS: Final = (str(Path(sys.executable).with_name("ndpresponder")),)

Sample = dict[str, float]  # figures by their keys
_CPUCLOCK_SCHED: Final = 2  # linux/posix-timers.h


class Responder(ABC):
    """One contestant."""

    name: str
    answers_prefix: bool  # else only the addresses it has an entry for
    quiet: float = 3.0  # percent of the time that an end may wait for its core in an undisturbed measurement
    before_skb = False  # it answers frames that never get an sk_buff, which only NAPI at the asker's end takes
    by_stack = False  # the kernel sends its answers, and has to know each requester's link-layer address
    has_process: bool  # else its work shows only in its core's time, and only while frames are received on that core

    def why_not(self) -> str | None:
        """Return why it cannot run here, or None."""
        return None

    @abstractmethod
    def start(self, link: Link) -> None:
        """Begin to answer, on the responder's core."""

    @abstractmethod
    def stop(self) -> None:
        """Stop answering and leave nothing behind."""

    @abstractmethod
    def cpu_s(self) -> float:
        """Return the user and system time used so far."""

    def waited_s(self) -> float:
        """Return how long it wanted its core and another process had it."""
        return 0.0

    def wakeups(self) -> int:
        """Return how often its threads have waited and gone on."""
        return 0

    def memory_mb(self) -> Sample:
        """Return its memory by `rss_mb`, `pss_mb` (shared pages in part) and `uss_mb` (its own pages alone).

        It is empty for a responder that lives in the kernel.
        """
        return {}

    def end_ms(self) -> Sample:
        """Have it end, and return how long that took by `end_ms`; empty for a responder that lives in the kernel."""
        return {}

    def complaint(self) -> str:
        """Return what it said last, for an error message."""
        return ""


class ProcessResponder(Responder):
    """A daemon in the foreground. `config` is the text of its configuration file, whose path replaces `{config}`.

    `{folder}` stands for a folder of its own, in its arguments and in the configuration.
    """

    answers_prefix = True
    has_process = True

    def __init__(self, name: str, *argv: str, config: str = "", by_stack: bool = False) -> None:
        self.name = name
        self.by_stack = by_stack
        self._argv = argv
        self._config = config
        self._files: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[str] | None = None

    def why_not(self) -> str | None:
        if shutil.which(self._argv[0]):
            return None
        return f"not installed: apt-get install {self.name}"

    def start(self, link: Link) -> None:
        self._files = tempfile.TemporaryDirectory(prefix="ndpbench-")
        self.config.write_text(self._placed(self._config))
        argv = [self._placed(word) for word in self._argv]
        with self._log().open("w") as log:
            self._process = link.start_responder(*argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is not None:
            self.end_ms()
            self._process = None
        if self._files is not None:
            self._files.cleanup()
            self._files = None

    def end_ms(self) -> Sample:
        assert self._process is not None
        began = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return {"end_ms": (time.monotonic() - began) * 1e3}

    def reload(self) -> None:
        """Have it read its configuration again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def cpu_s(self) -> float:
        assert self._process is not None
        clock = ~self._process.pid << 3 | _CPUCLOCK_SCHED  # as clock_getcpuclockid(3): to the nanosecond, all threads
        try:
            return time.clock_gettime(clock)
        except OSError:
            raise self._ended() from None

    def ran_s(self) -> float:
        """Return what `cpu_s` does, of the main thread alone, to the nanosecond."""
        return int(self._proc("schedstat").split()[0]) / 1e9

    def waited_s(self) -> float:
        return int(self._proc("schedstat").split()[1]) / 1e9

    def memory_mb(self) -> Sample:
        lines = map(str.split, self._proc("smaps_rollup").splitlines()[1:])
        size = {line[0].rstrip(":"): int(line[1]) * 1024 / 1e6 for line in lines}
        uss_mb = size["Private_Clean"] + size["Private_Dirty"]
        return {"rss_mb": size["Rss"], "pss_mb": size["Pss"], "uss_mb": uss_mb}

    def wakeups(self) -> int:
        assert self._process is not None
        try:
            texts = [path.read_text() for path in Path("/proc", str(self._process.pid)).glob("task/*/status")]
        except OSError:
            raise self._ended() from None
        return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in texts)

    def path(self, name: str) -> str:
        """Return the path of a file in the folder of its own, while it runs."""
        return self._placed(f"{{folder}}/{name}")

    def complaint(self) -> str:
        return self._log().read_text()[-2000:]

    @property
    def config(self) -> Path:
        """Where its configuration file is while it runs."""
        assert self._files is not None
        return Path(self._files.name, "config")

    def _log(self) -> Path:
        assert self._files is not None
        return Path(self._files.name, "log")

    def _proc(self, name: str) -> str:
        assert self._process is not None
        try:
            return Path("/proc", str(self._process.pid), name).read_text()
        except OSError:
            raise self._ended() from None

    def _ended(self) -> BenchError:
        return BenchError(f"{self.name} ended by itself:\n{self.complaint()}")

    def _placed(self, text: str) -> str:
        assert self._files is not None
        return text.replace("{config}", str(self.config)).replace("{folder}", self._files.name)


class KernelResponder(Responder):
    """The kernel's own proxy: an entry for each address, and no delay (the stock one leaves 136 answers a second)."""

    name = "proxy_ndp"
    answers_prefix = False
    has_process = False
    by_stack = True
    quiet = 10.0  # it works on the generator's core, which waits for it

    def __init__(self, targets: Iterable[IPv6Address]) -> None:
        self._targets = list(targets)

    def start(self, link: Link) -> None:
        self._link = link
        link.responder.sysctl(self._settings(1) | {f"ipv6/neigh/{uplink}/proxy_delay": 0 for uplink in link.uplinks})
        link.responder.ip(*self._entries("add"))

    def stop(self) -> None:
        self._link.responder.ip(*self._entries("del"))
        self._link.responder.sysctl(self._settings(0))

    def cpu_s(self) -> float:
        return core_time_s(self._link.responder_core)

    def _settings(self, value: int) -> dict[str, int]:
        places = (f"{uplink}/{what}" for uplink in self._link.uplinks for what in ("forwarding", "proxy_ndp"))
        return {f"ipv6/conf/{place}": value for place in ("all/forwarding", *places)}

    def _entries(self, verb: str) -> Iterator[str]:
        for uplink in self._link.uplinks:
            for target in self._targets:
                yield proxy_entry(verb, target, uplink)


def proxy_entry(verb: str, target: IPv6Address, uplink: str) -> str:
    """Return the `ip` line that adds or deletes an entry of the kernel's proxy."""
    return f"neigh {verb} proxy {target} dev {uplink}"


class FastResponder(ProcessResponder):
    """Our daemon with a program in the kernel that answers for it."""

    def __init__(self, way: str, *argv: str, config: str = "") -> None:
        self.before_skb = way == "xdp"
        # By the driver, as on a NIC that can; of a veth, whose far end must want it, it has to be insisted on
        mode = "xdp-native" if self.before_skb else way
        super().__init__(f"ndpresponder {way}", *argv, "--fastpath", mode, config=config)

    def why_not(self) -> str | None:
        try:
            programs.flood()  # of which XDP needs one at the other end; nor was ours compiled without the compiler
        except BenchError as error:
            return str(error)
        help_text = subprocess.run([*OURS, "--help"], check=True, capture_output=True, text=True).stdout
        return None if "--fastpath" in help_text else "this ndpresponder has no --fastpath"


def bare() -> tuple[str, ...]:
    """Return our daemon's command with the fewest flags; its control socket must not meet another daemon's."""
    return (*OURS, "--prefix", PREFIX, "--iface", UPLINK, "--control", "{folder}/control.sock")


def all_responders() -> list[Responder]:
    """Return the contestants, ours first."""
    # Metrics on: the memory is that of a daemon that has imported everything
    ours = (*bare(), "--metrics", "[::1]:9846")
    ndppd = f"proxy {UPLINK} {{\n  rule {PREFIX} {{\n    static\n  }}\n}}\n"
    npd6 = f"prefix=2001:db8:0:0:0:0:0:\ninterface={UPLINK}\n"  # seven groups: a /112
    least = str(programs.responder())
    return [
        ProcessResponder("ndpresponder", *ours),
        FastResponder("tcx", *ours),
        FastResponder("xdp", *ours),
        KernelResponder(IPv6Address(FIRST_TARGET) + number for number in range(TARGETS)),
        ProcessResponder("ndppd", "ndppd", "-c", "{config}", config=ndppd, by_stack=True),
        ProcessResponder("npd6", "npd6", "-f", "-l", "-", "-c", "{config}", config=npd6, by_stack=True),
        ProcessResponder("C recvmmsg", least, "recvmmsg", UPLINK, "2001:db8::"),
        ProcessResponder("C ring", least, "ring", UPLINK, "2001:db8::"),
    ]
