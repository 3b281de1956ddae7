"""The daemon for a long time under everything that changes, while routers ask 20,000 times a second.

usage: soak.py [--seconds N] [--rate N]      as root; make soak

Targets come and go by a file and behind a bridge, prefixes and the bridge itself too; an uplink goes down, comes up and
is made anew; routers are replaced. What must hold: nothing that lived throughout is lost on the other uplink, the
churned uplink answers again each time, in the end exactly what should be is answered on both, and neither memory nor
descriptors grow. Exits with 1, and says what did not hold.
"""

import argparse
import contextlib
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from daemon_process import Installed  # noqa: E402
from frames import packed, solicitation  # noqa: E402
from peer import Peer, Wire  # noqa: E402
from soliciting import FIRST  # noqa: E402

from ndpresponder.lab import wait_until  # noqa: E402
from ndpresponder.linux.packet.ring import SLOTS  # noqa: E402

RATE = 20_000
LEAST_OF_RATE = 0.5  # of a busy machine's clock; less would be another test
STAYING = 200  # targets that live throughout
COMING_AND_GOING = [f"2001:db8:2::{number:x}" for number in range(1, 501)]
PREFIXES = [f"2001:db8:3:{number}::" for number in range(6)]
NEVER = ["2001:db8:1::ffff", "2001:db8:2:1::1", "2001:db8:4::1", "2001:db8:3:f::1"]
WARM_UP = 0.3  # of the time: caches and allocators fill
GROWTH_MAX_KB = 1500  # from the first to the last third of what follows
UP_AGAIN_S = 5.0
STARVED = 0.25  # of the time that a ring lasts
SETTLED_S = 10.0


@dataclass
class Report:
    """What came of it."""

    asked: dict[str, float] = field(default_factory=dict)
    rss_kb: list[tuple[float, int]] = field(default_factory=list)  # seconds, after warming up
    descriptors: list[int] = field(default_factory=list)
    changes: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, list[str]] = field(default_factory=dict)  # what is or is not answered in the end, by uplink
    overloaded: int = 0
    waited_s: float = 0.0  # the longest that the daemon waited for a processor between two samples
    rate: float = RATE

    @property
    def starved(self) -> bool:
        """Whether it had no processor for longer than a part of its ring lasts: what it lost then is the machine's."""
        return self.waited_s > STARVED * SLOTS / self.rate

    def growth_kb(self) -> float:
        """Return how much more memory there was in the last third than in the first."""
        kilobytes = [held for _, held in self.rss_kb]
        third = max(1, len(kilobytes) // 3)
        return statistics.median(kilobytes[-third:]) - statistics.median(kilobytes[:third])

    def slope_kb_per_h(self) -> float:
        """Return the slope of the memory, by least squares."""
        return 3600 * statistics.linear_regression(*zip(*self.rss_kb, strict=True)).slope

    def problems(self) -> list[str]:
        """Return what did not hold."""
        asked = self.asked
        found = {
            f"lost {asked['lost']} of {asked['asked']}": asked["lost"],
            f"{asked['unexpected']} answers that nobody waited for": asked["unexpected"],
            f"the asker missed {asked['missed']} frames itself: nothing can be said": asked["missed"],
            f"asked {asked['asked'] / asked['seconds']:.0f} times a second only": asked["asked"]
            < LEAST_OF_RATE * self.rate * asked["seconds"],
            f"memory grew by {self.growth_kb():.0f} kB": self.growth_kb() > GROWTH_MAX_KB,
            f"{self.descriptors[-1]} descriptors, {self.descriptors[0]} before": self.descriptors[-1]
            > self.descriptors[0],
            f"in the end wrong: {self.wrong}": any(self.wrong.values()),
        }
        return [problem for problem, holds in found.items() if holds]

    def __str__(self) -> str:
        asked = self.asked
        return (
            f"{asked['seconds']:.0f} s: asked {asked['asked']} ({asked['asked'] / asked['seconds']:.0f}/s), "
            f"lost {asked['lost']}, unexpected {asked['unexpected']}, overloaded {self.overloaded}; "
            f"it waited for a processor {self.waited_s * 1000:.0f} ms at most\n"
            f"changes: {', '.join(f'{count} {what}' for what, count in self.changes.items())}\n"
            f"memory {self.rss_kb[-1][1]} kB, grew by {self.growth_kb():.0f}, slope {self.slope_kb_per_h():.0f} kB/h\n"
            f"descriptors {self.descriptors[0]} before, {self.descriptors[-1]} after"
        )


class Churn:
    """Everything that changes; each method makes one change."""

    def __init__(self, wire: Wire, file: Path, chance: random.Random) -> None:
        self._wire = wire
        self._file = file
        self._chance = chance
        self._cables = 10
        self.live: set[str] = set()
        self.prefixes: set[str] = set()
        self.staying = [
            str(IPv6Address(packed(FIRST)[:12] + number.to_bytes(4, "big"))) for number in range(1, STAYING + 1)
        ]
        self.targets()
        self.bridge()

    def targets(self) -> None:
        """Have other targets in the file."""
        self.live = set(self._chance.sample(COMING_AND_GOING, self._chance.randrange(len(COMING_AND_GOING))))
        new = self._file.with_suffix(".new")
        new.write_text("\n".join([*self.staying, *self.live]))
        new.replace(self._file)

    def bridge(self) -> None:
        """Make the bridge anew, without prefixes."""
        near = self._wire.near
        if self.prefixes or near.run("ip", "link", "show", "br0", check=False).returncode == 0:
            near.ip("link delete br0")
        near.ip("link add br0 type bridge", "link set br0 up")
        self.prefixes = set()

    def prefix(self) -> None:
        """Put a prefix on the bridge, or take it away."""
        prefix = self._chance.choice(PREFIXES)
        self._wire.near.ip(f"address {'delete' if prefix in self.prefixes else 'add'} {prefix}1/64 dev br0 nodad")
        self.prefixes ^= {prefix}

    def neighbours(self) -> None:
        """Have the kernel know somebody behind the bridge, or forget everybody."""
        if self._chance.random() < 0.3:
            self._wire.near.ip("neighbour flush dev br0")
        else:
            host = self._chance.randrange(2, 50)
            for prefix in self.prefixes:
                station = f"02:00:00:00:01:{host:02x}"
                self._wire.near.ip(f"neighbour replace {prefix}{host:x} lladdr {station} dev br0 nud reachable")

    def uplink_down(self) -> None:
        """Take the other uplink down and up; it answers again."""
        self._wire.near.ip("link set up1 down", "link set up1 up")
        self._is_answered_again()

    def uplink_anew(self) -> None:
        """Delete the other uplink and make it anew, with another index."""
        self._wire.near.ip("link delete up1")
        self._cables += 1
        self._wire.plug(1, pair=self._cables)
        self._is_answered_again()

    def _is_answered_again(self) -> None:
        with Peer(self._wire.far, "far1") as peer:
            peer.await_answer(self.staying[0], UP_AGAIN_S)

    def answered(self) -> set[str]:
        """Return what should be answered now, of everything that is ever asked for."""
        hosts = {f"{prefix}{host:x}" for prefix in self.prefixes for host in (2, 0xBEEF)}
        return {*self.staying, *self.live, *hosts}


def everything(churn: Churn) -> list[str]:
    hosts = [f"{prefix}{host:x}" for prefix in PREFIXES for host in (2, 0xBEEF)]
    return [*churn.staying, *COMING_AND_GOING, *hosts, *NEVER]


def wrong(wire: Wire, churn: Churn, interface: str) -> list[str]:
    """Solicit everything; return what is answered and should not be, or the other way round."""
    with Peer(wire.far, interface) as peer:
        targets, answered = everything(churn), set[bytes]()
        for first in range(0, len(targets), 50):
            peer.send(*map(solicitation, targets[first : first + 50]))
            answered |= {frame[62:78] for frame in peer.advertisements(0.05) if frame[58] & 0x40}
    return sorted(str(IPv6Address(target)) for target in answered ^ set(map(packed, churn.answered())))


def soak(seconds: float, rate: float = RATE, seed: int = 0) -> Report:
    """Let it run and return what came of it."""
    report, chance = Report(rate=rate), random.Random(seed)
    with tempfile.TemporaryDirectory() as directory, Wire("soak", cables=2) as wire:
        churn = Churn(wire, Path(directory, "targets"), chance)
        flags = ("-i", "up0", "-i", "up1", "-f", str(Path(directory, "targets")), "-b", "br0")
        with Installed(wire.near, *flags) as daemon:
            with Peer(wire.far) as peer:
                peer.await_answer(churn.staying[-1])
            daemon.go_first()
            ask = (sys.executable, str(HERE / "soliciting.py"), "far0", str(rate), str(STAYING))
            asker = wire.far.popen(*ask, stdout=subprocess.PIPE)
            try:
                _go_through_changes(seconds, daemon, churn, report, chance)
                asker.send_signal(signal.SIGTERM)
                report.asked = json.loads(asker.communicate(timeout=30)[0].splitlines()[-1])
            finally:
                asker.kill()
                asker.communicate()
            for interface in ("far0", "far1"):
                end_s = time.monotonic() + SETTLED_S
                while (found := wrong(wire, churn, interface)) and time.monotonic() < end_s:
                    pass
                report.wrong[interface] = found
            report.descriptors.append(_least_of_descriptors(daemon, report.descriptors[0]))
            report.overloaded = daemon.counters()["ignored overloaded"]
            daemon.check_sums()
    return report


def _least_of_descriptors(daemon: Installed, enough: int) -> int:
    """Return how many descriptors are open once no netlink dump is under way."""
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: daemon.descriptors() <= enough, 3, "descriptors")
    return daemon.descriptors()


def _waited_s(daemon: Installed) -> float:
    """Return for how long it was ready to run, and another process ran instead."""
    return int(Path(f"/proc/{daemon.process.pid}/schedstat").read_text().split()[1]) / 1e9


def _go_through_changes(seconds: float, daemon: Installed, churn: Churn, report: Report, chance: random.Random) -> None:
    often = [churn.targets, churn.prefix, churn.neighbours]
    kinds = [*often * 4, churn.bridge, churn.uplink_down, churn.uplink_anew]
    report.descriptors.append(daemon.descriptors())
    start_s = sampled_s = time.monotonic()
    waited_s = _waited_s(daemon)
    while (at_s := time.monotonic()) - start_s < seconds:
        before_s, waited_s = waited_s, _waited_s(daemon)
        report.waited_s = max(report.waited_s, waited_s - before_s)
        change = chance.choice(kinds)
        change()
        name = change.__name__
        report.changes[name] = report.changes.get(name, 0) + 1
        time.sleep(chance.uniform(0.05, 0.4))
        if at_s - start_s < WARM_UP * seconds:
            report.descriptors[0] = max(report.descriptors[0], daemon.descriptors())
        elif at_s - sampled_s > 0.5:
            sampled_s = at_s
            report.rss_kb.append((at_s - start_s, daemon.rss_kb()))


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--seed", type=int, default=0, help="other changes, in another order")
    options = parser.parse_args()
    report = soak(options.seconds, options.rate, options.seed)
    print(report)
    for problem in report.problems():
        print(f"problem: {problem}", file=sys.stderr)
    return bool(report.problems())


if __name__ == "__main__":
    sys.exit(main())
