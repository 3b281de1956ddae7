"""Everything at once: dockerd is killed and returns, the bridge is renumbered, netlink overruns, 500 veths come and go.

Meanwhile the internet pings containers that live throughout, and the router is made to ask for them again and again. No
ping is lost, and in the end each address is answered for exactly as the kernel and the engine say.
"""

import contextlib
import itertools
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from bridge_ports import kernel_says, plug, resolve
from container_checks import is_up
from container_engines import NEEDS_DOCKER, Docker, network
from daemon_process import Installed
from frames import packed, solicitation
from peer import Peer

from ndpresponder.lab import Lab, Namespace, wait_until
from ndpresponder.lab.namespace import delete_all
from ndpresponder.lab.topology import CONTAINER, VPS_LLADDR

SUBNETS = ("--subnet", "172.26.0.0/16", "--subnet", "2001:db8::d:0/112")
WEB, DB, GONE = "2001:db8::d:a", "2001:db8::d:b", "2001:db8::d:c"
OLD, NEW = "2001:db8::8:c2", "2001:db8::9:c2"  # of the container that is renumbered
VETHS, SPEAKING = 250, 60
NEIGHBORS = tuple(f"2001:db8::{first + number:x}" for first in (0x1000, 0x2000) for number in range(VETHS))
NOBODY = ("2001:db8::d:1234", "2001:db8::8:1234", "2001:db8::7:1", "2001:db8:ffff::1")
CLAIMED = ("2001:db8::beef", "2001:db8::9:1234")
LIVE, CLAIM = "live", "claimed"

pytestmark = pytest.mark.needs("ip", "nft", "ping", "bridge", *NEEDS_DOCKER)


class Pinging:
    """A ping from the internet while the context is open; its end fails if one was lost."""

    def __init__(self, lab: Lab, target: str) -> None:
        self._lab = lab
        self._target = target

    def __enter__(self) -> Self:
        argv = ("ping", "-6", "-n", "-i0.02", self._target)
        self._process = self._lab.popen("inet", *argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        output = self._process.communicate(timeout=10)[0]
        if kind is not None:
            return
        sent = int(re.findall(r"(\d+) packets transmitted", output)[0])
        came = {int(number) for number in re.findall(r"bytes from .* icmp_seq=(\d+)", output)}
        lost = set(range(1, sent)) - came  # the last may be on its way
        assert sent > 100
        assert not lost, f"{self._target}: {len(lost)} of {sent} lost: {sorted(lost)[:20]}"


def overruns(installed: Installed) -> int:
    """Return how many netlink messages the kernel had no room for in the sockets of the daemon, as it counts them."""
    process = Path("/proc", str(installed.process.pid))
    ours = set()
    for path in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            ours.add(path.readlink().name)
    _, *rows = (line.split() for line in (process / "net" / "netlink").read_text().splitlines())
    return sum(int(row[8]) for row in rows if f"socket:[{row[9]}]" in ours)


def engine_says(docker: Docker) -> set[bytes]:
    (shown,) = json.loads(docker.cli("network", "inspect", "exposed"))
    return {packed(each["IPv6Address"].partition("/")[0]) for each in shown["Containers"].values()}


def expected(lab: Lab, docker: Docker, targets: tuple[str, ...]) -> dict[bytes, str]:
    """Return what the kernel and the engine say of each target that one of them knows."""
    shown = lab.run("vps", "ip", "-6", "-o", "address", "show", "dev", "br-ct", "scope", "global").stdout
    networks = {IPv6Network(each, strict=False) for each in re.findall(r"inet6 (\S+)", shown)}
    known = {packed(target): CLAIM for target in targets if any(IPv6Address(target) in each for each in networks)}
    return known | dict.fromkeys(kernel_says(lab) | engine_says(docker), LIVE)


def answered(lab: Lab, targets: tuple[str, ...]) -> dict[bytes, str]:
    """Solicit each target; return those that the VPS answers for, and as what."""
    with Peer(lab["rtr"], "lan0") as peer:
        found: dict[bytes, str] = {}
        for number in range(0, len(targets), 100):
            peer.send(*map(solicitation, targets[number : number + 100]))
            for frame in peer.advertisements(0.1):
                if frame[58] & 0x40:  # solicited
                    found[frame[62:78]] = LIVE if frame[58] & 0x20 else CLAIM
    return found


def gauges(installed: Installed, name: str) -> dict[str, int]:
    """Return a gauge by source, where it is not 0."""
    found = re.findall(rf'^ndpresponder_{name}\{{.*source="(\w+)".*\}} (\S+)', installed.scrape(), re.MULTILINE)
    return {source: int(float(value)) for source, value in found if float(value)}


def ask_again(lab: Lab) -> None:
    """Have the router ask whether those it pings are still there: it gives them up after three seconds in vain.

    If it forgot them instead, the kernel would drop what it is about to send to them.
    """
    for target in (CONTAINER, WEB):
        lab["rtr"].ip(f"neigh replace {target} lladdr {VPS_LLADDR} dev lan0 nud probe")


def await_answers(lab: Lab) -> None:
    """Wait until the router has heard of those it pings."""
    for target in (CONTAINER, WEB):
        wait_until(
            lambda target=target: lab.neighbour(target).get("state") == ["REACHABLE"], 5, f"an answer for {target}"
        )


@contextlib.contextmanager
def stopped(installed: Installed) -> Iterator[None]:
    """Give the daemon no processor for a while, in which its netlink buffers fill."""
    installed.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        installed.process.send_signal(signal.SIGCONT)


def test_what_lives_throughout_is_reached_throughout_and_the_table_is_right_in_the_end(make_lab, boxes):
    lab = make_lab()
    vps = lab["vps"]
    vps.ip("address add 2001:db8::8:1/112 dev br-ct nodad")
    lab["c2"].ip(f"address add {OLD}/112 dev eth0 nodad")
    lab.filter("strict")
    lab.resolve_gateway()
    with Docker(vps, "--live-restore") as docker, network(docker, "exposed", *SUBNETS):
        docker.run_container("web", "exposed", WEB)
        docker.run_container("gone", "exposed", GONE)
        flags = ("-i", "uplink", "-b", "br-ct", "-N", "exposed", "--docker-url", docker.url)
        with Installed(vps, *flags) as installed:
            for target in (CONTAINER, OLD, WEB, GONE):
                wait_until(lambda target=target: bool(lab.ping("inet", target)), 10, f"{target} to answer")
            assert overruns(installed) == 0
            with Pinging(lab, CONTAINER), Pinging(lab, WEB):
                cause_chaos(lab, docker, installed, boxes)
                assert_agreement(lab, docker, installed)


def cause_chaos(lab: Lab, docker: Docker, installed: Installed, boxes: list[Namespace]) -> None:
    vps = lab["vps"]
    docker.kill(signal.SIGKILL)
    wait_until(lambda: not is_up(installed), 5, "the engine to be missed")
    ask_again(lab)
    resolve(lab, plug(lab, boxes[0], 0x1000, VETHS, SPEAKING))
    ask_again(lab)
    await_answers(lab)
    with stopped(installed):
        aliases = itertools.count()

        def overrun() -> bool:
            vps.ip(*(f"link set v-c2 alias a{next(aliases)}" for _ in range(500)))
            return overruns(installed) > 0

        wait_until(overrun, 10, "netlink to overrun", every_s=0)
        vps.ip("address add 2001:db8::9:1/112 dev br-ct nodad")  # nobody tells the daemon
        ask_again(lab)
    await_answers(lab)
    docker.start("--live-restore")
    wait_until(lambda: is_up(installed), 5, "the engine to be back")
    docker.cli("rm", "-f", "gone")
    ask_again(lab)
    there = plug(lab, boxes[1], 0x2000, VETHS, SPEAKING)
    resolve(lab, there)
    lab["c2"].ip(f"address add {NEW}/112 dev eth0 nodad", f"address del {OLD}/112 dev eth0")
    vps.ip("address del 2001:db8::8:1/112 dev br-ct", "neigh flush to 2001:db8::8:0/112 dev br-ct")
    delete_all([boxes[0]])
    docker.run_container("db", "exposed", DB)
    ask_again(lab)
    wait_until(lambda: lab.run("vps", "ip", "link", "show", "w4096", check=False).returncode != 0, 20, "the end")
    ask_again(lab)

    def learned() -> bool:
        resolve(lab, there)
        return len(kernel_says(lab)) >= SPEAKING

    await_answers(lab)
    wait_until(learned, 20, "the kernel to learn the neighbors", every_s=0.5)


def assert_agreement(lab: Lab, docker: Docker, installed: Installed) -> None:
    for target in (NEW, DB):
        wait_until(lambda target=target: bool(lab.ping("inet", target)), 10, f"{target} to answer")
    targets = (CONTAINER, OLD, NEW, WEB, DB, GONE, *NEIGHBORS, *NOBODY, *CLAIMED)

    says: dict[bytes, str] = {}
    answers: dict[bytes, str] = {}

    def agreed() -> bool:
        nonlocal says, answers
        answers, says = answered(lab, targets), expected(lab, docker, targets)
        return answers == says

    with contextlib.suppress(TimeoutError):  # the difference is worth showing
        wait_until(agreed, 10, "agreement")
    assert answers == says
    assert {packed(each) for each in (CONTAINER, NEW, WEB, DB)} <= {each for each in says if says[each] == LIVE}
    assert not {packed(each) for each in (OLD, GONE, *NOBODY)} & set(says)
    assert gauges(installed, "addresses") == {"bridge": len(kernel_says(lab)), "docker": 2}
    assert gauges(installed, "prefixes") == {"bridge": 2}
