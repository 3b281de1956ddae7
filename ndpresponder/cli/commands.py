"""The commands: the word of each after `ndpresponder`, its flags, its help, and what runs.

What a command needs is imported when it runs.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ndpresponder.cli.flags import Parser, add_common, add_settings, environment_help
from ndpresponder.config import Config

DESCRIPTION = """\
Answer IPv6 neighbor solicitations for the addresses behind this host (containers, VMs, a routed
prefix). Each advertisement is sourced from the address it is about, so that it passes the
anti-spoofing filter of a hosting provider."""

RUN_EPILOG = """\
examples:
  ndpresponder --prefix 2001:db8::/112 --iface eth0      answer for a whole prefix
  ndpresponder -i eth0 -n 2001:db8::c1 -n 2001:db8::c2   for two addresses, known to be live
  ndpresponder -n 2001:db8:a::/64@eth0 -n 2001:db8:b::/64@eth1
                                                         two uplinks, each with its own prefix
  ndpresponder -i eth0 -n 2001:db8::/64 -x 2001:db8::1   all of a /64 but one address
  ndpresponder -i eth0 -n 2001:db8::/64 -d -l debug      look, but send nothing
  ndpresponder -i eth0 -N ipv6exposed                    for the containers in a Docker network
  ndpresponder --config /etc/ndpresponder/ndpresponder.toml

The uplink's own addresses and its default gateways are never answered for.
A flag goes before the environment, the environment before the file, the file before the default.
Prefixes given by flag replace those of the file for the uplinks they are for.

environment:
{environment}

files:
  /etc/ndpresponder/ndpresponder.toml   what the systemd unit reads; every key is explained in the
                                        reference configuration, systemd/ndpresponder.toml
exit codes:
  0 fine   1 a problem was found   2 wrong use   69 the daemon is not reachable
  71 the system refused   77 a capability is missing   78 wrong configuration"""

CHECK_EPILOG = """\
Prints the effective configuration as TOML, with the origin of each value, then exits with 0.
Everything wrong is reported at once, each with its line, and ends in exit code 78.

examples:
  ndpresponder check --config /etc/ndpresponder/ndpresponder.toml
  ndpresponder check --prefix 2001:db8::/112 --iface eth0 > ndpresponder.toml
  ndpresponder check --quiet --config /etc/ndpresponder/ndpresponder.toml   # exit code only"""


def run_parser(prog: str) -> Parser:
    """Return the parser of `ndpresponder` and `ndpresponder run`."""
    epilog = RUN_EPILOG.format(environment=environment_help())
    usage = f"{prog} [flags]"
    if prog == "ndpresponder":
        rows = "\n".join(f"  {name:<10} {command.summary}" for name, command in COMMANDS.items())
        epilog = f"commands (flags alone mean run; each has its own --help):\n{rows}\n\n{epilog}"
        usage = f"{prog} [flags] | {prog} COMMAND [flags]"
    parser = Parser(prog, epilog, usage, DESCRIPTION, COMMANDS)
    add_settings(parser)
    add_common(parser)
    return parser


def check_parser(prog: str) -> Parser:
    """Return the parser of `ndpresponder check`."""
    parser = Parser(prog, CHECK_EPILOG, f"{prog} [flags]", "Validate the configuration and show what it amounts to.")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print one JSON object instead")
    output.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    add_settings(parser)
    add_common(parser)
    return parser


def demo_parser(prog: str) -> Parser:
    """Return the parser of `ndpresponder demo`."""
    from ndpresponder.lab import demo

    description = "Build a KVM VPS out of network namespaces and show there what ndpresponder does (needs root)."
    parser = Parser(prog, "", f"{prog} [flags]", description)
    demo.add_arguments(parser)
    add_common(parser)
    return parser


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run the daemon until it is told to stop."""
    from ndpresponder.config.layers import load

    def read() -> Config:
        return load(vars(options), environ).config

    config = read()
    from ndpresponder.daemon import daemon

    return daemon.run(config, read, options.config or environ.get("NDPRESPONDER_CONFIG", ""))


def check(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Validate and show the configuration."""
    from ndpresponder.diagnose import check as command

    if options.quiet:  # an upgrade asks this of the version that is to take over: all of it must be there
        from ndpresponder.daemon import daemon  # noqa: F401
    return command.main(options, environ)


def demo(options: argparse.Namespace, environ: Mapping[str, str]) -> int:  # noqa: ARG001  one signature for all
    """Show the product on an embedded lab."""
    from ndpresponder.lab import demo as command

    return command.main(options)


def asking(word: str, summary: str) -> "Command":
    """Return a command that asks the running daemon, or tells it something."""

    def parser(prog: str) -> Parser:
        from ndpresponder.cli.daemon_commands import parser

        return parser(word, prog)

    def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
        from ndpresponder.cli.daemon_commands import main

        return main(word, options, environ)

    return Command(summary, parser, run)


@dataclass(frozen=True, slots=True)
class Command:
    """One word after `ndpresponder`."""

    summary: str
    parser: Callable[[str], Parser]
    run: Callable[[argparse.Namespace, Mapping[str, str]], int]


COMMANDS: Mapping[str, Command] = {
    "run": Command("answer neighbor solicitations", run_parser, run),
    "check": Command("validate the configuration and print what is in effect", check_parser, check),
    **{
        word: asking(word, summary)
        for word, summary in (
            ("status", "show what the running daemon does"),
            ("targets", "list what it answers for, and what it never does"),
            ("explain", "say whether an address is answered for, and why"),
            ("add", "answer for another prefix, for a while"),
            ("remove", "take such a prefix away again"),
            ("log", "set the log level of the running daemon"),
            ("reload", "have it read its configuration again"),
            ("upgrade", "have it replaced by the installed version, without losing a solicitation"),
        )
    },
    "demo": Command("show it at work in a lab of network namespaces", demo_parser, demo),
}
