"""The command line: which command is meant, what its flags are, what its help teaches.

It must start fast (what a command needs is imported when it runs), end every mistake in one readable
message instead of a traceback, and decide nothing about a setting: `config` declares those.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, get_args, get_origin

from ndpresponder import __version__
from ndpresponder.config.problem import nearest
from ndpresponder.config.tree import leaves, names_source
from ndpresponder.errors import ConfigError, ExitCode, NdpresponderError

WIDTH = 100

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
  0 fine   1 a problem was found   2 wrong use   71 the system refused
  77 a capability is missing   78 wrong configuration"""

CHECK_EPILOG = """\
Prints the effective configuration as TOML, with the origin of each value, then exits with 0.
Everything wrong is reported at once, each with its line, and ends in exit code 78.

examples:
  ndpresponder check --config /etc/ndpresponder/ndpresponder.toml
  ndpresponder check --prefix 2001:db8::/112 --iface eth0 > ndpresponder.toml
  ndpresponder check --quiet --config /etc/ndpresponder/ndpresponder.toml   # exit code only"""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help in at most 100 columns, with the value of a flag named once."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=WIDTH)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if action.nargs == 0 or not action.option_strings:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"


class Parser(argparse.ArgumentParser):
    """A parser that answers a misspelt flag with the nearest one."""

    def __init__(self, prog: str, epilog: str, usage: str, description: str) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            formatter_class=Formatter,
            allow_abbrev=False,
            add_help=False,
        )

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments, or exit with a message."""
        options, unknown = self.parse_known_args(argv)
        if unknown:
            self.error(self._advise(unknown[0]))
        return options

    def _advise(self, word: str) -> str:
        if not word.startswith("-"):
            if ":" in word:
                return f"{word!r} stands alone; write --prefix {word}"
            if word in COMMANDS:
                return f"{word!r} is a command, and a command comes first"
            return f"{word!r} is not expected here; a value needs its flag, such as --iface {word}"
        name, equals, value = word.partition("=")
        flag = nearest(name, self._option_string_actions)
        return f"unknown flag {name!r}" + (f"; did you mean {flag}{equals}{value}?" if flag else "")

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and one line that says where help is."""
        self.exit(ExitCode.USAGE, f"ndpresponder: {message}\ntry '{self.prog} --help'\n")


def version() -> str:
    """Return what `--version` prints."""
    return f"ndpresponder {__version__} (Python {sys.version.split()[0]}, Linux {os.uname().release})"


def environment_help() -> str:
    """Return a line for each environment variable."""
    rows = {
        "NDPRESPONDER_IFACE": "uplinks, separated by commas or spaces",
        "NDPRESPONDER_PREFIX": "prefixes, likewise, each PFX or PFX@IF",
        "NDPRESPONDER_CONFIG": "as --config",
    }
    for _, key in leaves():
        if key.setting.env:
            rows[key.setting.env] = f"as {key.setting.flags[-1]}"
    rows["NDPRESPONDER_LOG"] += "; a letter (V D I W E F N) does as well"
    return "\n".join(f"  {name:<24} {meaning}" for name, meaning in rows.items())


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the flags that make up a configuration."""
    titles = ("what is answered", "where settings come from", "how it is answered", "what is seen")
    groups = {title: parser.add_argument_group(title) for title in titles}
    answered = groups["what is answered"]
    answered.add_argument(
        "-i", "--iface", metavar="IF", action="append", help="uplink: the interface towards the router; repeatable"
    )
    answered.add_argument(
        "-n",
        "--prefix",
        metavar="PFX[@IF]",
        action="append",
        help="claimed prefix, on all uplinks or on one; a bare address is a live host; repeatable",
    )
    answered.add_argument(
        "-x", "--exclude", metavar="PFX[@IF]", action="append", help="never answer for these addresses; repeatable"
    )
    groups["where settings come from"].add_argument(
        "-c", "--config", metavar="FILE", help="TOML file; flags and environment go before it"
    )
    groups["how it is answered"].add_argument(
        "-r", "--rate", metavar="N[/BURST]", help="advertisements per second and uplink; 0, the default: unlimited"
    )
    for path, key in leaves():
        setting = key.setting
        if not setting.flags:
            continue
        dest = ".".join(path)
        group = answered if path[0] == "source" else groups[setting.group]
        words = get_args(key.kind) if get_origin(key.kind) is Literal else ()
        text = f"{setting.help}: {', '.join(words)}" if words else setting.help
        if key.kind is bool:
            group.add_argument(*setting.flags, dest=dest, action="store_const", const=True, help=text)
        else:
            text += f" (default: {key.default})" if key.default and not key.required else ""
            action = "append" if names_source(path, key) else "store"
            bare: dict[str, Any] = {"nargs": "?", "const": ""} if setting.bare else {}
            group.add_argument(*setting.flags, dest=dest, metavar=setting.metavar, action=action, help=text, **bare)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every command understands."""
    group = parser.add_argument_group("help")
    group.add_argument("-V", "--version", action="version", version=version(), help="show the version and exit")
    group.add_argument("-h", "--help", action="help", help="show this help and exit")


def run_parser(prog: str) -> Parser:
    """Return the parser of `ndpresponder` and `ndpresponder run`."""
    epilog = RUN_EPILOG.format(environment=environment_help())
    usage = f"{prog} [flags]"
    if prog == "ndpresponder":
        rows = "\n".join(f"  {name:<10} {command.summary}" for name, command in COMMANDS.items())
        epilog = f"commands (flags alone mean run; each has its own --help):\n{rows}\n\n{epilog}"
        usage = f"{prog} [flags] | {prog} COMMAND [flags]"
    parser = Parser(prog, epilog, usage, DESCRIPTION)
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
    from ndpresponder.config.load import load

    config = load(vars(options), environ).config
    from ndpresponder import daemon

    return daemon.run(config)


def check(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Validate and show the configuration."""
    from ndpresponder.diagnose import check as command

    return command.main(options, environ)


def demo(options: argparse.Namespace, environ: Mapping[str, str]) -> int:  # noqa: ARG001  one signature for all
    """Show the product on an embedded lab."""
    from ndpresponder.lab import demo as command

    return command.main(options)


@dataclass(frozen=True, slots=True)
class Command:
    """One word after `ndpresponder`."""

    summary: str
    parser: Callable[[str], Parser]
    run: Callable[[argparse.Namespace, Mapping[str, str]], int]


COMMANDS: Mapping[str, Command] = {
    "run": Command("answer neighbor solicitations", run_parser, run),
    "check": Command("validate the configuration and print what is in effect", check_parser, check),
    "demo": Command("show it at work in a lab of network namespaces", demo_parser, demo),
}


def dispatch(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Find the command, parse its flags and run it."""
    if not argv or argv[0].startswith("-"):
        return run(run_parser("ndpresponder").parse(argv), environ)
    name, rest = argv[0], argv[1:]
    if name == "help":
        name, rest = (rest[0], ["--help"]) if rest else ("run", ["--help"])
    command = COMMANDS.get(name)
    if command is None:
        near = nearest(name, COMMANDS)
        hint = f"did you mean {near}?" if near else f"the commands are {', '.join(COMMANDS)}"
        if ":" in name:
            hint = f"did you mean --prefix {name}?"
        run_parser("ndpresponder").error(f"unknown command {name!r}; {hint}")
    return command.run(command.parser(f"ndpresponder {name}").parse(rest), environ)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; --help, --version and wrong use raise SystemExit."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a poor locale must not end in UnicodeEncodeError
    try:
        return dispatch(sys.argv[1:] if argv is None else argv, os.environ)
    except NdpresponderError as error:
        for message in error.problems if isinstance(error, ConfigError) else (str(error),):
            print(f"ndpresponder: {message}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is left to say, not even at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PROBLEM
