"""The commands that ask the running daemon or tell it something: their flags, their help, what they print.

They decide nothing: what is wrong with an address or a prefix the daemon says, as it would of its configuration.
"""

import argparse
import contextlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ndpresponder.api.client import Client, HungUp, Unreachable, client_of
from ndpresponder.cli import show
from ndpresponder.cli.flags import Parser, add_common, add_settings
from ndpresponder.config.values import LEVELS
from ndpresponder.errors import ExitCode

_UNITS: Final[Mapping[str, int]] = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_UPGRADE_S: Final = 30.0  # for the new one to answer

_ENDS: Final = """
exit codes:
  0 fine   1 {one}   2 wrong use   69 the daemon is not reachable"""


@dataclass(frozen=True, slots=True)
class Asking:
    """One command."""

    description: str
    examples: str
    arguments: Callable[[Parser], None]
    run: Callable[[argparse.Namespace, Mapping[str, str]], int]
    one: str = "the daemon refused"  # what exit code 1 means


def parser(word: str, prog: str) -> Parser:
    """Return the parser of a command."""
    asking = ASKING[word]
    made = Parser(prog, f"examples:\n{asking.examples}\n{_ENDS.format(one=asking.one)}", "", asking.description)
    made.usage = None
    asking.arguments(made)
    add_common(made)
    return made


def main(word: str, options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run a command."""
    return ASKING[word].run(options, environ)


def seconds(text: str) -> int:
    """Read a lifetime: 90, 90s, 10m, 2h, 1d."""
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no lifetime; write it like 90s, 10m, 2h or 1d")
    return int(match[1]) * _UNITS[match[2]]


# What they understand


def _common(made: Parser) -> None:
    group = made.add_argument_group("which daemon, and how it is shown")
    group.add_argument(
        "--control", dest="control.socket", metavar="PATH", help="its control socket (default: as the daemon's)"
    )
    group.add_argument("--json", action="store_true", help="print JSON instead")


def _prefix(made: Parser) -> None:
    made.add_argument("prefix", metavar="PREFIX", help="a prefix; a bare address is a live host")
    made.add_argument("-i", "--iface", metavar="IF", help="on this uplink only")


def _add_arguments(made: Parser) -> None:
    _prefix(made)
    made.add_argument("--for", dest="lifetime_s", type=seconds, metavar="TIME", help="so long, such as 90s, 10m, 2h")
    made.add_argument(
        "--announce",
        action="store_true",
        help="another host had it: announce what is solicited there within 2 minutes, and a /118 or less as a whole",
    )
    _common(made)


def _remove_arguments(made: Parser) -> None:
    _prefix(made)
    _common(made)


def _log_arguments(made: Parser) -> None:
    made.add_argument("level", metavar="LEVEL", help=", ".join(LEVELS))
    _common(made)


def _explain_arguments(made: Parser) -> None:
    made.add_argument("target", metavar="ADDRESS", help="the address that is asked for")
    made.add_argument("--json", action="store_true", help="print JSON instead")
    add_settings(made)


# What they do


def _client(options: argparse.Namespace, environ: Mapping[str, str]) -> Client:
    return client_of(vars(options), environ)


def _done(options: argparse.Namespace, data: Mapping[str, Any], words: str) -> int:
    print(json.dumps(data, indent=2) if options.json else words)
    return ExitCode.OK


def _status(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    status = _client(options, environ).get("/status")
    return _done(options, status, show.status(status, time.time()))


def _targets(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    for target in _client(options, environ).lines("/targets"):
        print(json.dumps(target) if options.json else show.target(target))
    return ExitCode.OK


def _explain(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from ndpresponder.diagnose import explain  # the whole policy, which the other commands need not wait for

    report = explain.report(options, environ)
    _done(options, report, show.explanation(report))
    return ExitCode.OK if report["answered"] else ExitCode.PROBLEM


def _add(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    said = {"prefix": options.prefix, "iface": options.iface, "lifetime_s": options.lifetime_s}
    if options.announce:
        said["announce"] = True
    done = _client(options, environ).tell("POST", "/prefixes", **said)
    return _done(options, done, f"answered for: {show.prefix({**done, 'remaining_s': done['lifetime_s']})}")


def _remove(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    done = _client(options, environ).tell("DELETE", "/prefixes", prefix=options.prefix, iface=options.iface)
    return _done(options, done, f"removed: {done['prefix']}")


def _log(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    done = _client(options, environ).tell("POST", "/log", level=options.level)
    return _done(options, done, f"the log level is {done['level']} until the next reload")


def _reload(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    done = _client(options, environ).tell("POST", "/reload")
    return _done(options, done, "the configuration was read again and is in force")


def _upgrade(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    client = _client(options, environ)
    before = client.get("/status")
    with contextlib.suppress(HungUp):  # it is being replaced
        client.tell("POST", "/upgrade")
    after = _await_another(client, before)
    return _done(options, after, f"version {after['version']} took over from {before['version']}, pid {after['pid']}")


def _await_another(client: Client, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the status of the daemon that took over."""
    end_s = time.monotonic() + _UPGRADE_S
    while time.monotonic() < end_s:
        with contextlib.suppress(Unreachable):  # for a moment nobody listens
            after = client.get("/status")
            if after["started_s"] != before["started_s"]:  # not "later": the clock may have been set back
                return after
        time.sleep(0.05)
    raise Unreachable(f"{client.path}: no other daemon took over within {_UPGRADE_S:g} s; see its log")


ASKING: Final[Mapping[str, Asking]] = {
    "status": Asking(
        "Show what the running daemon does: its uplinks, its sources of targets, what it counted.",
        "  ndpresponder status\n"
        "  ndpresponder status --json | jq '.uplinks[] | {name, state}'\n"
        "  ndpresponder status --control /run/ndpresponder-eth0/control.sock    # of ndpresponder@eth0",
        _common,
        _status,
    ),
    "targets": Asking(
        "List what is live, claimed, refused by a route or excluded, with the source that says so and the uplinks.",
        "  ndpresponder targets\n"
        "  ndpresponder targets | grep live\n"
        "  ndpresponder targets --json | jq 'select(.state == \"live\").target'    # one object in each line",
        _common,
        _targets,
    ),
    "explain": Asking(
        "Say whether a solicitation for an address is answered on each uplink, and why.",
        "  ndpresponder explain 2001:db8::c1                                asks the running daemon\n"
        "  ndpresponder explain 2001:db8::c1 -i eth0                        on one uplink\n"
        "  ndpresponder explain 2001:db8::c1 -i eth0 -n 2001:db8::/112      what these flags would do\n"
        "  ndpresponder explain 2001:db8::c1 -c /etc/ndpresponder/ndpresponder.toml    or this file\n\n"
        "With a setting among the flags no daemon is asked, and what sources find is not known.",
        _explain_arguments,
        _explain,
        one="it is not answered for",
    ),
    "add": Asking(
        "Answer for another prefix until its time is over, it is removed or the daemon stopped. An upgrade keeps it.",
        "  ndpresponder add 2001:db8:5::/64 --for 2h\n"
        "  ndpresponder add 2001:db8::c7 -i eth0          one live host, on one uplink, until removed\n"
        "  ndpresponder add 2001:db8:5::/64 --for 10m     again: a new lifetime\n"
        "  ndpresponder add 2001:db8:5::/64 --announce    it was another host's until now",
        _add_arguments,
        _add,
    ),
    "remove": Asking(
        "Take a temporary prefix away again, as it was added.",
        "  ndpresponder remove 2001:db8:5::/64\n  ndpresponder remove 2001:db8::c7 -i eth0",
        _remove_arguments,
        _remove,
    ),
    "log": Asking(
        "Set the log level of the running daemon, until the next reload.",
        "  ndpresponder log debug      each frame, at most one line a second for each reason\n  ndpresponder log info",
        _log_arguments,
        _log,
    ),
    "reload": Asking(
        "Have the daemon read its configuration again, as SIGHUP does; a wrong one is refused, with the reason.",
        "  ndpresponder reload",
        _common,
        _reload,
    ),
    "upgrade": Asking(
        "Have the daemon replaced by the version that is installed now, in place, without losing a solicitation.",
        "  ndpresponder upgrade",
        _common,
        _upgrade,
    ),
}
