#!/usr/bin/env python3
"""Measure the stages of the hot path one by one, in nanoseconds per frame, beside other ways to do the same.

Runs the shipped code, nothing of its own in between. Root is needed for the two stages that touch the kernel; without
it they are left out. README.md says what each stage is.
"""

import argparse
import gc
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from ipaddress import IPv6Address, IPv6Network
from statistics import median
from typing import Any

from ending import exit_code
from link import PREFIX, UPLINK, Link
from prometheus_client import CollectorRegistry, Counter

from ndpresponder.linux.packet.packet_socket import PacketSocket, open_packet_socket
from ndpresponder.linux.packet.sender import BATCH
from ndpresponder.observe.tally import Tally
from ndpresponder.outcome import Kind, Outcome
from ndpresponder.policy.requester import Policy, UplinkState
from ndpresponder.policy.responder import Responder
from ndpresponder.policy.table import Prefix, TargetTable
from ndpresponder.wire.filters import SOLICITATIONS
from ndpresponder.wire.layout import ETH_P_IPV6
from ndpresponder.wire.solicitation import solicit

_OUR_LLADDR, _ASKER_LLADDR = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
_ASKER = IPv6Address("fe80::1").packed
_FOREIGN = IPv6Address("2001:db8:1::1").packed
_RUN_S = 0.02  # of each of the runs whose best and median are reported


@dataclass(frozen=True)
class Figure:
    stage: str
    best_ns: float
    median_ns: float
    baseline: bool = False  # another way to do the stage above it


class Frames:
    """Frames as they come out of the ring: each time round new objects, whose hashes nobody has computed yet."""

    def __init__(self, frames: Iterable[bytes]) -> None:
        whole = list(frames)
        self._octets = b"".join(whole)
        self._places = [slice(i * len(whole[0]), (i + 1) * len(whole[0])) for i in range(len(whole))]

    def __iter__(self) -> Iterator[bytes]:
        octets = self._octets
        return (octets[place] for place in self._places)

    def __len__(self) -> int:
        return len(self._places)


def per_call(call: Callable[[], Any], runs: int, calls_each: int = 1) -> tuple[float, float]:
    """Return best and median nanoseconds of one call over `runs` runs; `call` does `calls_each` pieces of work."""
    count = 1
    while (took := _time(call, count)) < _RUN_S * 1e9 / 4:
        count *= 2
    count = max(1, int(count * _RUN_S * 1e9 / took))
    times = [_time(call, count) / count / calls_each for _ in range(runs)]
    return min(times), median(times)


def _time(call: Callable[[], Any], count: int) -> int:
    numbers = range(count)
    began = time.perf_counter_ns()
    for _ in numbers:
        call()
    return time.perf_counter_ns() - began


def pure_stages(runs: int) -> Iterator[Figure]:
    """Measure what needs no kernel: deciding, looking up, counting."""
    network = IPv6Network(PREFIX)
    claimed = [Prefix(int(network.network_address), network.prefixlen)]
    targets = [address.packed for address in network]
    asked = Frames(solicit(_ASKER_LLADDR, _ASKER, target) for target in targets)
    again = Frames(solicit(_ASKER_LLADDR, _ASKER, target) for target in targets[:256])
    responder = Responder(Policy())
    state = UplinkState(_OUR_LLADDR)
    responder.set_state(state)
    respond = responder.respond

    def figure(stage: str, call: Callable[[], Any], calls_each: int = 1, baseline: bool = False) -> Figure:
        return Figure(stage, *per_call(call, runs, calls_each), baseline)

    def responding(stage: str, frames: Frames, outcome: Outcome, remember: bool = False) -> Figure:
        def respond_to_all() -> None:
            if not remember:
                responder.set_state(state)  # forgets every requester and every answer
            for frame in frames:
                respond(frame)

        assert {respond(frame)[0] for frame in frames} == {outcome}
        return figure(stage, respond_to_all, len(frames))

    responder.table = TargetTable.build(claimed=claimed)
    yield responding("respond: asked before", again, Outcome.ANSWERED_MULTICAST, remember=True)
    yield from (Figure(stage, *per_call(call, runs), baseline=True) for stage, call in _scapy(next(iter(again))))
    yield responding("respond: claimed target", asked, Outcome.ANSWERED_MULTICAST)
    responder.table = TargetTable.build(live=targets)
    yield responding("respond: live target", asked, Outcome.ANSWERED_MULTICAST)
    foreign = Frames(solicit(_ASKER_LLADDR, _ASKER, _FOREIGN[:14] + i.to_bytes(2, "big")) for i in range(5000))
    yield responding("respond: not ours", foreign, Outcome.NOT_OURS)
    strangers = Frames(solicit(bytes((2, 0, 0, 1, i // 256, i % 256)), _ASKER, targets[i]) for i in range(5000))
    yield responding("respond: new requester", strangers, Outcome.ANSWERED_MULTICAST)

    table, target = TargetTable.build(live=targets[:256], claimed=claimed), targets[7]
    value = int.from_bytes(target, "big")
    yield figure("match: live among 256", lambda: table.match(target, value))
    outside = int.from_bytes(_FOREIGN, "big")
    yield figure("match: not ours", lambda: table.match(_FOREIGN, outside))
    yield figure("match: ipaddress", lambda: IPv6Address(target) in network, baseline=True)

    tally, kind, outcome = Tally(), Kind.MULTICAST, Outcome.ANSWERED_MULTICAST

    def count() -> None:
        tally.received[kind] += 1
        tally.ended[outcome] += 1

    yield figure("count: one frame", count)
    counter = Counter("solicitations", "", ["interface", "kind"], registry=CollectorRegistry())
    yield figure(
        "count: prometheus_client", lambda: counter.labels(interface=UPLINK, kind="multicast").inc(), baseline=True
    )


def _scapy(frame: bytes) -> Iterator[tuple[str, Callable[[], Any]]]:
    try:
        from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
        from scapy.layers.l2 import Ether
    except ImportError:
        print("scapy is not installed: its baseline is left out", file=sys.stderr)
        return

    def scapy_responds() -> bytes:
        asked = Ether(frame)
        target = asked[ICMPv6ND_NS].tgt
        answer = (
            Ether(src=_OUR_LLADDR.hex(":"), dst=asked.src)
            / IPv6(src=target, dst=asked[IPv6].src, hlim=255)
            / ICMPv6ND_NA(tgt=target, R=0, S=1, O=0)
            / ICMPv6NDOptDstLLAddr(lladdr=_OUR_LLADDR.hex(":"))
        )
        return bytes(answer)

    yield "parse + build: scapy", scapy_responds


def kernel_stages(runs: int) -> Iterator[Figure]:
    """Measure what the kernel has a part in, on a real wire."""
    with ExitStack() as stack:
        link = stack.enter_context(Link())
        os.sched_setaffinity(0, {link.responder_core})
        with link.responder.enter():
            index = socket.if_nametoindex(UPLINK)
            ring = stack.enter_context(closing(open_packet_socket(UPLINK, index, SOLICITATIONS)))
            plain = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0))
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        yield Figure("receive: from the ring", *_receiving(link, lambda: _drain(ring), runs))
        plain.bind((UPLINK, ETH_P_IPV6))
        yield Figure("receive: recvfrom()", *_receiving(link, lambda: _drain_plain(plain), runs), baseline=True)

        responder = Responder(Policy())
        responder.set_state(UplinkState(_OUR_LLADDR))
        network = IPv6Network(PREFIX)
        responder.table = TargetTable.build(claimed=[Prefix(int(network.network_address), network.prefixlen)])
        _, advertisement = responder.respond(solicit(_ASKER_LLADDR, _ASKER, (network.network_address + 1).packed))
        assert advertisement is not None
        batch = [advertisement] * BATCH
        yield Figure(f"send: batch of {BATCH}", *per_call(lambda: ring.sender.send(batch), runs, BATCH))
        yield Figure("send: batch of 1", *per_call(lambda: ring.sender.send(batch[:1]), runs))
        yield Figure("send: send()", *per_call(lambda: plain.send(advertisement), runs), baseline=True)


def _receiving(link: Link, drain: Callable[[], int], runs: int) -> tuple[float, float]:
    """Time `drain` on what waits after the generator has sent some hundred frames."""
    times = []
    for _ in range(runs):
        drain()
        link.ask("rate", rate=10_000, seconds=0.03, warmup=0)
        began = time.perf_counter_ns()
        frames = drain()
        times.append((time.perf_counter_ns() - began) / frames)
    return min(times), median(times)


def _drain(ring: PacketSocket) -> int:
    count = 0
    while frames := sum(1 for _ in ring.receive()):
        ring.release()
        count += frames
    return count


def _drain_plain(plain: socket.socket) -> int:
    count = 0
    try:
        while True:
            plain.recvfrom(2048)
            count += 1
    except BlockingIOError:
        return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="runs of each stage (default 15)")
    parser.add_argument("--json", action="store_true", help="the figures for machines")
    options = parser.parse_args()
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(everywhere)})
    gc.disable()
    figures = list(pure_stages(options.runs))
    if os.geteuid() == 0:
        os.sched_setaffinity(0, everywhere)
        figures += kernel_stages(options.runs)
    else:
        print("not root: receive and send are left out", file=sys.stderr)
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures], indent=1))
        return 0
    print(f"{'ns per frame':46}{'best':>10}{'median':>10}")
    for figure in figures:
        indent = "    " if figure.baseline else ""
        print(f"{indent + figure.stage:46}{figure.best_ns:10,.0f}{figure.median_ns:10,.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
