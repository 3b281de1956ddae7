"""The wire of the benchmark: two namespaces joined by veth pairs, the generator at one end, a responder at the other.

Each end has a core of its own. It must never touch anything outside its two namespaces.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Final, Self

import programs
from programs import BenchError

from ndpresponder.lab.namespace import Namespace, create_all, delete_all, veth
from ndpresponder.lab.topology import wait_until
from ndpresponder.wire.layout import ETH_P_IPV6

UPLINK: Final = "uplink"
PREFIX: Final = "2001:db8::/112"
FIRST_TARGET: Final = "2001:db8::1000"
TARGETS: Final = 256
WHOLE_PREFIX: Final[dict[str, float | str]] = {"target": "2001:db8::", "targets": 65536}
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_IDLE: Final = 0.1  # of a core: neither is in use beyond that
_ASKER: Final = IPv6Address("fe80::1")
_SIOCETHTOOL: Final = 0x8946  # linux/sockios.h, linux/ethtool.h
_ETHTOOL_SFLAGS: Final = 0x26
_ETHTOOL_SGRO: Final = 0x2C
_ETHTOOL_SCHANNELS: Final = 0x3D
_ETH_FLAG_TXVLAN: Final = 1 << 7
_FIRST_ANSWER_DEADLINE_S: Final = 10


class Link:
    """The two namespaces and their cores; a context manager."""

    def __init__(self, uplinks: int = 1, requesters: int = 1, name: str = "ndpbench") -> None:
        """Have so many veth pairs (at most 64), and responders know so many requesters' link-layer addresses.

        There is one of each `name` at a time, because two would measure each other.
        """
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise BenchError("two cores are needed: one for the generator, one for the responder")
        self.asker_core, self.responder_core = cores[:2]
        self.own_core = False  # whether frames are received on the core of the end they are for
        self.half_core = False  # whether a busy loop shares the responder's core
        self._asker, self.responder = Namespace(f"{name}-asker"), Namespace(f"{name}-responder")
        self._lock = Path("/run/lock", name)
        self.uplinks = [UPLINK, *(f"{UPLINK}{number}" for number in range(2, uplinks + 1))]
        self._askers = ["asker", *(f"asker{number}" for number in range(2, uplinks + 1))]
        self._requesters = requesters

    def __enter__(self) -> Self:
        programs.generator()
        programs.bytecode()
        with ExitStack() as stack:
            lock = stack.enter_context(self._lock.open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BenchError(f"another benchmark is running: it holds {self._lock}") from None
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
        for count, (asker, uplink) in enumerate(zip(self._askers, self.uplinks, strict=True)):
            lladdr = "02:00:00:00:00:02" if count == 0 else f"02:01:00:00:00:{count:02x}"
            ends = (self._asker, asker, _lladdr(0)), (self.responder, uplink, lladdr)
            subprocess.run(["ip", *veth(count + 1, *ends).split()], check=True)
            # The generator reads beside the stack; answers must not cost its core a walk through the stack as well
            self._asker.sysctl({f"ipv6/conf/{asker}/disable_ipv6": 1})
            self._asker.ip(f"link set {asker} up")
            self.responder.ip(
                f"link set {uplink} up",
                f"addr add 2001:db8:0:0:ffff::{count + 2:x}/64 dev {uplink}",
                # Responders that answer through the kernel's stack must not fall silent to resolve the generator
                *(
                    f"neigh add {_ASKER + i} lladdr {_lladdr(i)} dev {uplink} nud permanent"
                    for i in range(self._requesters)
                ),
            )
        with self.responder.enter(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket:
            # Nothing but RXVLAN is off thereby: what XDP is to see of a tag stays in the frame
            for uplink in self.uplinks:
                _ethtool(any_socket, uplink, _ETHTOOL_SFLAGS, _ETH_FLAG_TXVLAN)
        wait_until(self._is_up, 3, "the veth pairs to be up", every_s=0.01)

    def busy(self, within_s: float = 0.25) -> float:
        """Return how much of the two cores is in use, as a share of the busier one."""
        cores = (self.asker_core, self.responder_core)
        before = [core_time_s(core) for core in cores]
        time.sleep(within_s)
        return max(core_time_s(core) - used for core, used in zip(cores, before, strict=True)) / within_s

    def await_idle(self, patience_s: float) -> None:
        """Wait until neither core is in use, or this long."""
        end = time.monotonic() + patience_s
        while self.busy() > _IDLE and time.monotonic() < end:
            pass

    def _is_up(self) -> bool:
        return self.responder.run("ip", "-o", "link").stdout.count("state UP") == len(self.uplinks)

    def start_responder(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command on the responder's core, with the bytecode of an installed package."""
        options.setdefault("env", programs.environment())
        return self.responder.popen("taskset", "-c", str(self.responder_core), *argv, **options)

    def receive_on_own_core(self, on: bool) -> None:
        """Have each end's received frames processed on its own core, or (off) on the sender's, as a veth does."""
        self.own_core = on
        for end, devices, core in self._ends():
            mask = f"{1 << core:x}" if on else "0"
            for device in devices:
                # A command of its own, because /sys shows the devices of the namespace it was mounted in
                end.run("sh", "-c", f"echo {mask} > /sys/class/net/{device}/queues/rx-0/rps_cpus")

    @contextmanager
    def sharing_core(self) -> Iterator[None]:
        """Have a busy loop of equal priority on the responder's core meanwhile."""
        loop = self.start_responder("sh", "-c", "while :; do :; done")
        self.half_core = True
        try:
            yield
        finally:
            self.half_core = False
            loop.kill()
            loop.wait()

    def receive_by_napi(self, on: bool) -> None:
        """Have both ends receive as a NIC does, as the frames made in the kernel want it, or (off) as a veth does."""
        for end, devices, _ in self._ends():
            with end.enter(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket:
                for device in devices:
                    _ethtool(any_socket, device, _ETHTOOL_SGRO, on)

    @contextmanager
    def queues(self, count: int) -> Iterator[None]:
        """Give both ends so many queues meanwhile, as a NIC has one for each core; a veth has one.

        A responder must begin and end meanwhile: nothing may be attached to an end whose queues change.
        """
        self._set_queues(count)
        try:
            yield
        finally:
            self._set_queues(1)

    def _set_queues(self, count: int) -> None:
        for end, devices, _ in self._ends():
            with end.enter(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket:
                for device in devices:
                    _ethtool(any_socket, device, _ETHTOOL_SCHANNELS, 0, 0, 0, 0, count, count, 0, 0)

    def accept_before_skb(self, on: bool) -> None:
        """Have the asker's end take what a program at the other end sends by XDP_TX: it wants a program here too."""
        program = f"object {programs.flood()[1]} program accept" if on else "off"
        self._asker.ip(*(f"link set dev {asker} xdpdrv {program}" for asker in self._askers))

    def _ends(self) -> tuple[tuple[Namespace, list[str], int], ...]:
        return (
            (self._asker, self._askers, self.asker_core),
            (self.responder, self.uplinks, self.responder_core),
        )

    def asker_socket(self, number: int = 0) -> socket.socket:
        """Return a packet socket at the asker's end of one of the links."""
        with self._asker.enter():
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        wire.bind((self._askers[number], ETH_P_IPV6))
        return wire

    def ask(self, mode: str, **options: float | str) -> dict[str, Any]:
        """Run the generator to its end and return what it reports."""
        return _report(self.start_generator(mode, **options), f"generator {mode}")

    def flood(self, sink: str, **options: float | str) -> dict[str, Any]:
        """Run the generator inside the kernel, as fast as it goes, and return what it reports."""
        program, bpf_object = programs.flood()
        return _report(self._start_asking(program, str(bpf_object), sink=sink, **options), "flood")

    def time_to_first_answer(self, start: Callable[[], None], **options: float | str) -> float:
        """Return the seconds from calling `start` to the first answer; solicitations flow before and after.

        Raises:
            TimeoutError: no answer came.
        """
        generator = self.start_generator("first", seconds=_FIRST_ANSWER_DEADLINE_S, **options)
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

    def start_generator(self, mode: str, **options: float | str) -> subprocess.Popen[str]:
        """Start the generator, which prints what it reports as JSON at its end."""
        return self._start_asking(programs.generator(), mode, **options)

    def _start_asking(self, program: Path, what: str, **options: float | str) -> subprocess.Popen[str]:
        standard = {"iface": ",".join(self._askers), "source": _ASKER, "cpu": self.asker_core}
        options = {**standard, "target": FIRST_TARGET, "targets": TARGETS, **options}
        arguments = [f"{key}={value}" for key, value in options.items()]
        return self._asker.popen(str(program), what, *arguments, stdout=subprocess.PIPE)


def _report(process: subprocess.Popen[str], what: str) -> dict[str, Any]:
    output, _ = process.communicate()
    if process.returncode:
        raise BenchError(f"{what} failed with exit code {process.returncode}")
    report: dict[str, Any] = json.loads(output)
    return report


def _ethtool(any_socket: socket.socket, device: str, command: int, *values: int) -> None:
    order = ctypes.create_string_buffer(struct.pack(f"{1 + len(values)}I", command, *values))
    request = struct.pack("16sP16x", device.encode(), ctypes.addressof(order))
    fcntl.ioctl(any_socket, _SIOCETHTOOL, request)


def _lladdr(requester: int) -> str:
    """Return the link-layer address of a requester, as the generators count them (frame.h)."""
    return (0x020000000001 + (requester << 8)).to_bytes(6, "big").hex(":")


def core_time_s(core: int) -> float:
    """Return how long a core has been at work since the machine started."""
    name = f"cpu{core} "
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(name))
    user, nice, system, _, _, irq, softirq, *_ = map(int, line.split()[1:])
    return (user + nice + system + irq + softirq) / TICKS_PER_S
