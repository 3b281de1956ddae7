"""`ndpresponder demo`: show, on a lab of network namespaces, what answers through a provider's filter.

It must leave nothing behind: not after Ctrl-C, and nothing of an earlier run that was killed. Only `--keep`
leaves the lab, never the daemon.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ndpresponder.errors import ExitCode, PermissionMissing, SystemRefused
from ndpresponder.lab.daemon import Daemon
from ndpresponder.lab.filters import FILTERS, Filter
from ndpresponder.lab.topology import CONTAINER, CONTAINER_PREFIX, DEFAULT_NAME, GATEWAY, Lab, Ping, Uplink
from ndpresponder.lab.watch import Advertisement, AdvertisementWatch

_FLAGS = ("--prefix", CONTAINER_PREFIX, "--iface", "uplink")
_NOTHING, _KERNEL, _DAEMON = "nothing", "kernel proxy_ndp", "ndpresponder"
_PACKAGES: Mapping[str, str] = {"ip": "iproute2", "nft": "nftables", "ping": "iputils-ping"}
_REPLY_DEADLINE_S = 3.0  # the keep-alive asks for the gateway once a second; the kernel waits three for an answer
_Say = Callable[[str], None]
_COUNTERS = ("solicitations_received_total", "advertisements_sent_total", "solicitations_ignored_total")


@dataclass(frozen=True, slots=True)
class Trial:
    """One cell of the table: a ping from the internet side to the container, and what answered for it."""

    uplink: Uplink
    answers: str
    ping: Ping
    advertisement: Advertisement | None
    expected: bool

    def __str__(self) -> str:
        if self.advertisement is None:
            return "reachable" if self.ping else "unreachable"
        source = self.advertisement.source
        return f"reachable, NA from {source}" if self.ping else f"unreachable, NA from {source} dropped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--uplink",
        choices=("veth", "macvlan", "both"),
        default="both",
        help="the VPS's interface; macvlan drops multicast it did not ask for, as virtio-net does (default: both)",
    )
    parser.add_argument(
        "--filter", choices=FILTERS, default="strict", help="the hypervisor's anti-spoofing filter (default: strict)"
    )
    parser.add_argument("--keep", action="store_true", help="leave the lab up and say how to enter it")
    parser.add_argument("--down", action="store_true", help="remove a lab left up by --keep, and do nothing else")
    named = f"first part of the namespaces' names (default: {DEFAULT_NAME})"
    parser.add_argument("--name", type=_name, default=DEFAULT_NAME, help=named)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON; progress goes to stderr")


def main(args: argparse.Namespace) -> ExitCode:
    """Run the demo and tell whether it showed what it should.

    Raises:
        PermissionMissing: we are not root.
        SystemRefused: a command is missing or failed, or another demo is running.
    """
    if os.geteuid() != 0:
        raise PermissionMissing("the demo creates network namespaces: run it as root")
    packages = [*_PACKAGES.items(), *([("ebtables", "ebtables")] if args.filter == "ebtables" else [])]
    for command, package in packages:
        if shutil.which(command) is None:
            raise SystemRefused(f"{command!r} is not on the PATH: apt install {package}")
    try:
        with _alone(args.name), _cleaned_up(args):
            return ExitCode.OK if args.down else _show(args, _progress(args.json))
    except subprocess.CalledProcessError as error:
        raise SystemRefused("\n".join([shlex.join(error.cmd), *getattr(error, "__notes__", ())])) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SystemRefused(str(error)) from error


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: letters, digits, '.', '_' and '-' only, 41 at most")
    return text


def _progress(to_stderr: bool) -> _Say:
    """Return what prints one line per step, with the seconds since the start."""
    start_s = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - start_s:5.1f} s  {text}", file=sys.stderr if to_stderr else sys.stdout, flush=True)

    return say


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Hold a lock that ends with the process, an abstract socket name; refuse a second demo of this name."""
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(f"\0ndpresponder-demo-{name}")
        except OSError as error:
            raise SystemRefused(f"a demo named {name!r} is running: let it end, or choose another --name") from error
        yield


@contextlib.contextmanager
def _cleaned_up(args: argparse.Namespace) -> Iterator[None]:
    """Remove the lab at the end, however that comes; with `--keep` only when it comes early."""
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    numbers = [number for number in ending if signal.getsignal(number) != signal.SIG_IGN]

    def ignore() -> None:  # a second Ctrl-C must not stop the cleaning; the commands that clean inherit this
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    def end(number: int, _: object) -> None:
        # Here and now: an exception could be lost where it is raised, or leave there a child that nobody knows of
        ignore()
        try:
            _end_children()
            Lab(args.name).down()
        except (OSError, subprocess.SubprocessError) as error:
            os.write(sys.stderr.fileno(), f"ndpresponder: the lab is not quite gone: {error}\n".encode())
        finally:
            os._exit(128 + number)

    for number in numbers:
        signal.signal(number, end)
    keep = False
    try:
        yield
        keep = args.keep and not args.down
    finally:
        ignore()
        if not keep:
            Lab(args.name).down()


def _end_children() -> None:
    """Kill our children: one that has not yet entered the lab would come to life after the lab has gone."""
    for pid in map(int, Path("/proc/thread-self/children").read_text().split()):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _show(args: argparse.Namespace, say: _Say) -> ExitCode:
    uplinks: tuple[Uplink, ...] = ("veth", "macvlan") if args.uplink == "both" else (args.uplink,)
    trials: list[Trial] = []
    for uplink in uplinks:
        say(f"{uplink}: build router, hypervisor with filter {args.filter!r}, VPS and containers: {args.name}-*")
        lab = Lab(args.name, uplink)
        lab.up()
        lab.filter(args.filter)
        if uplink == uplinks[0]:
            say("without the daemon the VPS must ping its gateway first: its kernel, forwarding, asks from link-local")
        trials.append(_try(lab, _NOTHING, args.filter, say))
        lab.kernel_proxy()
        trials.append(_try(lab, _KERNEL, args.filter, say))
        lab.kernel_proxy(on=False)
        say(f"{uplink}: start the daemon in the VPS: {shlex.join(['ndpresponder', *_FLAGS])}")
        with Daemon(lab, *_FLAGS) as daemon:
            trials.append(_try(lab, _DAEMON, args.filter, say))
            samples = daemon.samples()
    shown = tuple(f"ndpresponder_{name}" for name in _COUNTERS)
    counters = {name: int(value) for name, value in samples.items() if value and name.startswith(shown)}
    showed = all(trial.expected for trial in trials) and any("advertisements_sent" in name for name in counters)
    if args.json:
        found = [dataclasses.asdict(trial) for trial in trials]
        print(json.dumps({"filter": args.filter, "trials": found, "counters": counters, "ok": showed}, indent=2))
    else:
        print(_report(uplinks, trials, counters, showed))
    if args.keep:
        print(_how_to_go_on(lab), file=sys.stderr if args.json else sys.stdout)
    return ExitCode.OK if showed else ExitCode.PROBLEM


def _try(lab: Lab, answers: str, used_filter: Filter, say: _Say) -> Trial:
    """Ping the container from the internet side, so that the router solicits from its link-local address."""
    if answers == _DAEMON:
        lab.forget(GATEWAY, "vps", "uplink")  # to keep it known is the daemon's job
    else:
        lab.resolve_gateway()
    lab.forget(CONTAINER)
    with AdvertisementWatch(lab) as watch:
        ping = lab.ping("inet", CONTAINER, count=3, deadline=_REPLY_DEADLINE_S if answers == _DAEMON else 1.0)
        advertisements = watch.take(CONTAINER)
    passes = answers == _DAEMON or (answers == _KERNEL and used_filter == "none")
    expected = ping.received == (ping.sent if passes else 0) and bool(advertisements) == (answers != _NOTHING)
    trial = Trial(lab.uplink, answers, ping, advertisements[0] if advertisements else None, expected)
    say(f"{lab.uplink}: answered by {answers}: {ping.received} of {ping.sent} pings inet -> {CONTAINER}")
    return trial


def _report(uplinks: tuple[Uplink, ...], trials: list[Trial], counters: dict[str, int], showed: bool) -> str:
    rows = [["who answers", *(f"uplink {uplink}" for uplink in uplinks)]]
    for answers in (_NOTHING, _KERNEL, _DAEMON):
        rows.append([answers, *(str(trial) for trial in trials if trial.answers == answers)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["", *("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)]
    advertisement = trials[-1].advertisement
    if advertisement:
        lines += [
            "",
            "the advertisement, as it left the VPS",
            f"  Ethernet  {advertisement.lladdr_source} -> {advertisement.lladdr_destination}",
            f"  IPv6      {advertisement.source} -> {advertisement.destination}",
            f"  target    {advertisement.target}   flags: {', '.join(advertisement.flags)}",
        ]
    lines += ["", "counters, from /metrics", *(f"  {name} {value}" for name, value in counters.items()), ""]
    unexpected = ", ".join(f"{trial.answers} on {trial.uplink}" for trial in trials if not trial.expected)
    bad_end = f"NOT as it should be: {unexpected or 'no advertisement was counted'}."
    lines.append("As it should be: the container is reachable with ndpresponder." if showed else bad_end)
    return "\n".join(line.rstrip() for line in lines)


def _how_to_go_on(lab: Lab) -> str:
    name = "" if lab.name == DEFAULT_NAME else f" --name {lab.name}"
    enter = "\n".join(f"  ip netns exec {lab[host].name} bash" for host in lab.hosts)
    return f"""
The lab (uplink {lab.uplink}) is still there. To enter it:
{enter}
In it, for instance:
  ip netns exec {lab["vps"].name} ndpresponder {shlex.join(_FLAGS)}
  ip netns exec {lab["inet"].name} ping {CONTAINER}
To remove it:
  ndpresponder demo --down{name}"""
