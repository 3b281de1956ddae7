#!/usr/bin/env python3
"""Measure the fast path's program alone: nanoseconds per frame, run by the kernel on frames of ours.

Who asks from an address of the uplink's own is judged to the very end and then not answered, so that such a frame can
be run again and again; the answer itself is what one run more costs when it is given. Root is needed, and a package
that was built with clang.
"""

import argparse
import ctypes
import os
import random
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv6Address
from itertools import islice
from statistics import median
from typing import Final

from ndpresponder.linux.bpf.syscall import Hook, call
from ndpresponder.offload import map_entries
from ndpresponder.offload.kernel_program import KernelProgram
from ndpresponder.policy.requester import Policy, UplinkState
from ndpresponder.policy.table import Prefix, TargetTable
from ndpresponder.wire.solicitation import solicit

_TEST_RUN: Final = 10  # BPF_PROG_TEST_RUN
_AGAIN: Final = 100_000  # runs of one frame
_TARGETS: Final = 50
_ONCE: Final = 10_000  # runs of one frame each
_BASE: Final = 0x20010DB8 << 96
_ASKER, _OWN = IPv6Address("fe80::1").packed, IPv6Address("fe80::2").packed
_ASKER_LLADDR: Final = bytes.fromhex("020000000001")
_STATE: Final = UplinkState(bytes.fromhex("020000000002"), frozenset({_OWN}))


def octets(value: int) -> bytes:
    return value.to_bytes(16, "big")


class Bench:
    """The program with one table."""

    def __init__(self, hook: Hook, live: Sequence[int], claimed: Sequence[Prefix]) -> None:
        began = time.perf_counter()
        table = TargetTable.build(map(octets, live), claimed)
        built = time.perf_counter()
        self._program = KernelProgram("none", hook)
        self.build_ms = 1e3 * (built - began)
        self.told_ms = [self._tell(table)]
        while not self._program.complete:
            self.told_ms.append(self._tell(table))
        self._descriptor = self._program.load(
            map_entries.setup(_STATE, Policy(), True), map_entries.own_entries(_STATE)
        )
        # one goes and another comes, and back
        other = replace(table, live=table.live ^ {*islice(table.live, 1), octets(1 << 124)})
        self.change_ms = [self._tell(each) for each in (other, table)]

    def _tell(self, table: TargetTable) -> float:
        began = time.perf_counter()
        self._program.tell(table)
        return 1e3 * (time.perf_counter() - began)

    def close(self) -> None:
        os.close(self._descriptor)
        self._program.close()

    def judge_ns(self, targets: Sequence[int]) -> float:
        """Return what all but the answer takes, when each target is asked for again and again."""
        return median(self._run(ask(_OWN, target), _AGAIN) for target in targets[:_TARGETS])

    def answer_ns(self, target: int) -> float:
        """Return what the answer takes."""
        given, withheld = (median(self._run(ask(asker, target), 1) for _ in range(_ONCE)) for asker in (_ASKER, _OWN))
        return given - withheld

    def cold_ns(self, targets: Sequence[int]) -> float:
        """Return what it takes, answer included, when other targets were asked for since, and others had the caches."""
        nothing = b"\xff" * 12 + b"\x08\x06" + bytes(72)
        asked, clock = (
            median(self._run(frame, 1) for frame in frames)
            for frames in ((ask(_ASKER, targets[i % len(targets)]) for i in range(_ONCE)), [nothing] * _ONCE)
        )
        return asked - clock

    def _run(self, frame: bytes, times: int) -> int:
        given = ctypes.create_string_buffer(frame, len(frame))
        place = ctypes.addressof(given)
        attribute = ctypes.create_string_buffer(
            struct.pack("=IIIIQQIIIIQQII", self._descriptor, 0, len(frame), 0, place, 0, times, 0, 0, 0, 0, 0, 0, 0)
        )
        call(_TEST_RUN, attribute)
        duration: int = struct.unpack_from("=I", attribute, 36)[0]
        return duration


def ask(asker: bytes, target: int) -> bytes:
    return solicit(_ASKER_LLADDR, asker, octets(target))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", type=int, default=100_000, help="live targets of the large table (default 100,000)")
    parser.add_argument("--prefixes", type=int, default=4_000, help="its prefixes, /64 to /112 (default 4,000)")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("program: BPF programs are root's to run: run it with sudo", file=sys.stderr)
        return 2
    chance = random.Random(1)
    live = [_BASE | chance.getrandbits(96) for _ in range(options.live)]
    lengths = [chance.choice((64, 72, 80, 96, 104, 112)) for _ in range(options.prefixes)]
    claimed = [Prefix((_BASE | chance.getrandbits(96)) >> 128 - n << 128 - n, n) for n in lengths]
    inside = [value | chance.getrandbits(128 - length) for value, length in claimed]
    for hook in (Hook.TCX_INGRESS, Hook.XDP):
        small, large = Bench(hook, live[:1], claimed[:1]), Bench(hook, live, claimed)
        print(
            f"{hook.name}: the large table is built in {large.build_ms:.0f} ms and told in {sum(large.told_ms):.0f}, "
            f"at most {max(large.told_ms):.0f} ms at once; one target more, or less, in {max(large.change_ms):.1f} ms"
        )
        print(f"  {'of one target or prefix, and of the large table':48}{'judged':>20}{'and answered':>24}{'cold':>16}")
        for title, targets in (("live", live), ("claimed", inside)):
            judged = small.judge_ns(targets[:1]), large.judge_ns(targets)
            answered = [judging + small.answer_ns(targets[0]) for judging in judged]
            cold = small.cold_ns(targets[:1]), large.cold_ns(targets)
            columns = (f"{a:.0f} -> {b:.0f} ns, {b / a:.2f} x" for a, b in (judged, answered))
            print(
                f"  {title:48}" + "".join(f"{column:>22}" for column in columns) + f"{cold[0]:8.0f} -> {cold[1]:.0f} ns"
            )
        print(f"  {'not ours':48}{small.judge_ns([1 << 125]):8.0f} -> {large.judge_ns([1 << 125]):.0f} ns")
        small.close()
        large.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
