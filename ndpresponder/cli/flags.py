"""How the command line reads: flags that follow from the declared settings, help that teaches, answers to mistakes.

It must start fast and decide nothing about a setting: `config` declares those.
"""

import argparse
from collections.abc import Collection, Sequence
from typing import Any, NoReturn, get_args

from ndpresponder.config.problem import nearest
from ndpresponder.config.settings import leaves, names_source
from ndpresponder.errors import ExitCode

_PREFIX = "claimed prefix, on all uplinks or on one; a bare address is a live host; repeatable"
_WITHIN = (
    "only targets of sources in these prefixes (default: only targets on-link at, or routed to, an uplink); repeatable"
)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help in at most 100 columns, with the value of a flag named once."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=100)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if action.nargs == 0 or not action.option_strings:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"


class Parser(argparse.ArgumentParser):
    """A parser that answers a misspelt flag with the nearest one."""

    commands: Collection[str] = ()

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        options, unknown = self.parse_known_args(argv)
        if unknown:
            self.error(self._advise(unknown[0]))
        return options

    def _advise(self, word: str) -> str:
        if not word.startswith("-"):
            if ":" in word:
                return f"{word!r} stands alone; write --prefix {word}"
            if word in self.commands:
                return f"{word!r} is a command, and a command comes first"
            return f"{word!r} is not expected here; a value needs its flag, such as --iface {word}"
        name, equals, value = word.partition("=")
        flag = nearest(name, self._option_string_actions)
        return f"unknown flag {name!r}" + (f"; did you mean {flag}{equals}{value}?" if flag else "")

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and one line that says where help is."""
        self.exit(ExitCode.USAGE, f"ndpresponder: {message}\ntry '{self.prog} --help'\n")


def environment_help() -> str:
    rows = {
        "NDPRESPONDER_IFACE": "uplinks, separated by commas or spaces",
        "NDPRESPONDER_PREFIX": "prefixes, likewise, each PFX or PFX@IF",
        "NDPRESPONDER_CONFIG": "as --config",
    }
    rows |= {key.env: f"as {key.flags[-1]}" for _, key in leaves() if key.env}
    rows["NDPRESPONDER_LOG"] += "; a letter (V D I W E F N) does as well"
    return "\n".join(f"  {name:<24} {meaning}" for name, meaning in rows.items())


def add_settings(parser: argparse.ArgumentParser) -> None:
    answered = parser.add_argument_group("what is answered")
    where_from = parser.add_argument_group("where settings come from")
    how = parser.add_argument_group("how it is answered")
    seen = parser.add_argument_group("what is seen")
    for group, action, flag, text in (
        (answered, "append", "-i, --iface IF", "uplink: the interface towards the router; repeatable"),
        (answered, "append", "-n, --prefix PFX[@IF]", _PREFIX),
        (answered, "append", "-x, --exclude PFX[@IF]", "never answer for these addresses; repeatable"),
        (answered, "append", "--within PFX,...", _WITHIN),
        (where_from, "store", "-c, --config FILE", "TOML file; flags and environment override it"),
        (how, "store", "-r, --rate N[/BURST]", "advertisements per second and uplink; 0, the default: unlimited"),
    ):
        *names, metavar = flag.replace(", ", " ").split()
        group.add_argument(*names, metavar=metavar, action=action, help=text)
    for path, key in leaves():
        if not key.flags:
            continue
        group = answered if path[0] == "source" else seen if path[0] in ("log", "metrics", "control") else how
        how_read: dict[str, Any] = {"action": "store_const", "const": True}
        if key.kind is not bool:
            how_read = {"action": "append" if names_source(path, key) else "store"}
            how_read["metavar"] = key.flag.rpartition(" ")[2].strip("[]")
        if key.bare:
            how_read |= {"nargs": "?", "const": ""}
        default = f"default: {key.default}" if key.default and not key.required else ""
        notes = "; ".join(filter(None, (", ".join(get_args(key.kind)), default)))
        meaning = f"{key.meaning} ({notes})" if notes else key.meaning
        group.add_argument(*key.flags, dest=".".join(path), help=meaning, **how_read)
