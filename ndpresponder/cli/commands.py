"""The registry of commands: each word after `ndpresponder`, with its help, its flags, and the function that runs.

A command imports what it needs when it runs: the daemon loads nothing that only a person's command needs.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ndpresponder import __version__
from ndpresponder.cli.flags import Formatter, Parser, add_settings, environment_help
from ndpresponder.config import Config
from ndpresponder.config.values import LEVELS

Run = Callable[[argparse.Namespace, Mapping[str, str]], int]
_UNITS: Final[Mapping[str, int]] = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Command:
    """One word after `ndpresponder`; without `run` it asks the daemon, by the function of that name."""

    summary: str
    examples: str
    add_arguments: Callable[[Parser], None]
    run: Run | None = None
    failure: str = "the daemon refused"  # what exit code 1 means, for a command that asks the daemon
    description: str = ""  # in place of the summary


def parser_of(word: str = "") -> Parser:
    """Return the parser of a command; without a word that of `run`, whose help then lists the commands."""
    command = COMMANDS[word or "run"]
    prog = f"ndpresponder {word}".rstrip()
    usage: str | None = f"{prog} [flags]"
    epilog = "examples:\n" + command.examples.replace("{environment}", environment_help())
    if not word:
        rows = "\n".join(f"  {name:<10} {each.summary}" for name, each in COMMANDS.items())
        epilog = f"commands (flags alone mean run; each has its own --help):\n{rows}\n\n{epilog}"
        usage = f"{prog} [flags] | {prog} COMMAND [flags]"
    elif command.run is None:
        ends = f"0 fine   1 {command.failure}   2 wrong use   69 the daemon is not reachable"
        epilog, usage = f"{epilog}\n\nexit codes:\n  {ends}", None
    description = command.description or f"{command.summary[0].upper()}{command.summary[1:]}."
    parser = Parser(prog, usage, description, epilog, formatter_class=Formatter, allow_abbrev=False, add_help=False)
    parser.commands = COMMANDS
    command.add_arguments(parser)
    version = f"ndpresponder {__version__} (Python {sys.version.split()[0]}, Linux {os.uname().release})"
    group = parser.add_argument_group("help")
    group.add_argument("-V", "--version", action="version", version=version, help="show the version and exit")
    group.add_argument("-h", "--help", action="help", help="show this help and exit")
    return parser


def run_command(word: str, options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    command = COMMANDS[word].run
    if command is None:
        from ndpresponder.cli import daemon_commands

        command = getattr(daemon_commands, word)
    return command(options, environ)


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from ndpresponder.config.layers import load

    def read() -> Config:
        return load(vars(options), environ).config

    config = read()
    from ndpresponder.linux.imports import without

    with without("ssl"):
        from ndpresponder.daemon import daemon

    return daemon.run(config, read, options.config or environ.get("NDPRESPONDER_CONFIG", ""))


def _check(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from ndpresponder.diagnose import check

    if options.quiet:  # an upgrade asks this of the version that is to take over: all of it must be there
        from ndpresponder.daemon import daemon  # noqa: F401
    return check.main(options, environ)


def _demo(options: argparse.Namespace, environ: Mapping[str, str]) -> int:  # noqa: ARG001  one signature for all
    from ndpresponder.lab import demo

    return demo.main(options)


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no lifetime; write it like 90s, 10m, 2h or 1d")
    return int(match[1]) * _UNITS[match[2]]


def _check_arguments(parser: Parser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print one JSON object instead")
    output.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    add_settings(parser)


def _demo_arguments(parser: Parser) -> None:
    from ndpresponder.lab import demo

    demo.add_arguments(parser)


def _explain_arguments(parser: Parser) -> None:
    parser.add_argument("target", metavar="ADDRESS", help="the target of the solicitation")
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    add_settings(parser)


def _daemon_arguments(parser: Parser) -> None:
    group = parser.add_argument_group("which daemon, and how it is shown")
    group.add_argument(
        "--control", dest="control.socket", metavar="PATH", help="its control socket (default: as the daemon's)"
    )
    group.add_argument("--json", action="store_true", help="print JSON instead")


def _prefix_arguments(parser: Parser) -> None:
    parser.add_argument("prefix", metavar="PREFIX", help="a prefix; a bare address is a live host")
    parser.add_argument("-i", "--iface", metavar="IF", help="on this uplink only")
    _daemon_arguments(parser)


def _add_arguments(parser: Parser) -> None:
    _prefix_arguments(parser)
    parser.add_argument("--for", dest="lifetime_s", type=_seconds, metavar="TIME", help="such as 90s, 10m, 2h")
    announce = "another host had it: announce targets solicited within 2 minutes, and all of a /118 or longer prefix"
    parser.add_argument("--announce", action="store_const", const=True, help=announce)


def _log_arguments(parser: Parser) -> None:
    parser.add_argument("level", metavar="LEVEL", help=", ".join(LEVELS))
    _daemon_arguments(parser)


COMMANDS: Final[Mapping[str, Command]] = {
    "run": Command(
        "answer neighbor solicitations",
        """\
  ndpresponder --prefix 2001:db8::/112 --iface eth0      answer for a whole prefix
  ndpresponder -i eth0 -n 2001:db8::c1 -n 2001:db8::c2   for two addresses, known to be live
  ndpresponder -n 2001:db8:a::/64@eth0 -n 2001:db8:b::/64@eth1
                                                         two uplinks, each with its own prefix
  ndpresponder -i eth0 -n 2001:db8::/64 -x 2001:db8::1   all of a /64 but one address
  ndpresponder -i eth0 -n 2001:db8::/64 -d -l debug      decide and log, but send nothing
  ndpresponder -i eth0 -N ipv6exposed                    for the containers in a Docker network
  ndpresponder --config /etc/ndpresponder/ndpresponder.toml

The daemon never answers for the uplink's own addresses and its default gateways.
Flags override environment variables, which override the file.
Prefixes given by flag replace those in the file for their uplinks.

environment:
{environment}

files:
  /etc/ndpresponder/ndpresponder.toml   read by the systemd unit; the reference configuration,
                                        systemd/ndpresponder.toml, explains every key
exit codes:
  0 fine   1 a problem was found   2 wrong use   69 the daemon is not reachable
  71 the system refused   77 a capability is missing   78 wrong configuration""",
        add_settings,
        _run,
        description="Answer IPv6 neighbor solicitations for the addresses behind this host (containers, VMs, a routed\n"
        "prefix). The source of each advertisement is its target, so that it passes the anti-spoofing filter\n"
        "of a hosting provider.",
    ),
    "check": Command(
        "validate the configuration and print what is in effect",
        """\
  ndpresponder check --config /etc/ndpresponder/ndpresponder.toml
  ndpresponder check --prefix 2001:db8::/112 --iface eth0 > ndpresponder.toml
  ndpresponder check --quiet --config /etc/ndpresponder/ndpresponder.toml   # exit code only

The effective configuration is printed as TOML, with the origin of each value; the exit code is 0.
All faults are reported at once, each with its line; the exit code is 78.""",
        _check_arguments,
        _check,
    ),
    "status": Command(
        "show the uplinks, the sources and the counters of the daemon",
        """\
  ndpresponder status
  ndpresponder status --json | jq '.uplinks[] | {name, state}'
  ndpresponder status --control /run/ndpresponder-eth0/control.sock    # of ndpresponder@eth0""",
        _daemon_arguments,
    ),
    "targets": Command(
        "list live, claimed, excluded and refused targets, with their origins and uplinks",
        """\
  ndpresponder targets
  ndpresponder targets | grep live
  ndpresponder targets --json | jq 'select(.state == "live").target'    # one object in each line""",
        _daemon_arguments,
    ),
    "explain": Command(
        "say whether an address is answered for on each uplink, and why",
        """\
  ndpresponder explain 2001:db8::c1                                asks the running daemon
  ndpresponder explain 2001:db8::c1 -i eth0                        on one uplink
  ndpresponder explain 2001:db8::c1 -i eth0 -n 2001:db8::/112      what these flags would do
  ndpresponder explain 2001:db8::c1 -c /etc/ndpresponder/ndpresponder.toml    or this file

With a setting among the flags no daemon is asked, and the targets of its sources are unknown.""",
        _explain_arguments,
        failure="it is not answered for",
    ),
    "add": Command(
        "answer for another prefix, for a while",
        """\
  ndpresponder add 2001:db8:5::/64 --for 2h
  ndpresponder add 2001:db8::c7 -i eth0          one live host, on one uplink, until removed
  ndpresponder add 2001:db8:5::/64 --for 10m     again: a new lifetime
  ndpresponder add 2001:db8:5::/64 --announce    it was another host's until now

An upgrade of the daemon keeps the prefix. When the daemon stops, it is forgotten.""",
        _add_arguments,
    ),
    "remove": Command(
        "take a temporary prefix away, on the uplink that it was added for",
        "  ndpresponder remove 2001:db8:5::/64\n  ndpresponder remove 2001:db8::c7 -i eth0",
        _prefix_arguments,
    ),
    "log": Command(
        "set the log level of the daemon, until the next reload",
        "  ndpresponder log debug      each frame, at most one line a second for each reason\n  ndpresponder log info",
        _log_arguments,
    ),
    "reload": Command(
        "make the daemon read its configuration again, as SIGHUP does",
        "  ndpresponder reload\n\nThe daemon refuses a wrong configuration, says why, and keeps the old one.",
        _daemon_arguments,
    ),
    "upgrade": Command(
        "replace the daemon by the installed version, without losing a solicitation",
        "  ndpresponder upgrade",
        _daemon_arguments,
    ),
    "demo": Command(
        "show ndpresponder at work in a lab of network namespaces (needs root)",
        "  ndpresponder demo\n  ndpresponder demo --keep",
        _demo_arguments,
        _demo,
    ),
}
