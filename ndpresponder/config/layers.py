"""Merge file, environment and flags into the settings tree.

Flags override environment variables, which override the file. Flags and variables are written as raw tables, with
their name as the place, and checked like the tables of a file. Nothing is started here: `check` and a reload call
`load` as `run` does.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ndpresponder.config import values
from ndpresponder.config.checks import judge
from ndpresponder.config.declaration import Key, keys
from ndpresponder.config.draft import Checker, Given, Table, build, lay
from ndpresponder.config.problem import Problem, Wrong
from ndpresponder.config.settings import Config, DockerSourceConfig, SourcesConfig, leaves, names_source
from ndpresponder.errors import ConfigError, ExitCode

_SEPARATOR = re.compile(r"[,\s]+")
_LINE = re.compile(r":(\d+)$")
_ROUTES: Final = Path("/proc/net/ipv6_route")
_RTF_REJECT: Final = 0x200
_UPLINK_FLAGS = (("name", "iface"), ("prefixes", "prefix"), ("exclude", "exclude"))


class NothingToDo(ConfigError):
    """Neither flags nor environment nor a file name a prefix or an uplink: a mistake of use, not of configuration."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings tree, where each value came from, and what looks pointless."""

    config: Config
    draft: Table
    warnings: tuple[Problem, ...]


@dataclass(slots=True)
class Layer:
    """What the flags say, or the environment: tables as a file has them.

    Each word about uplinks has a table of its own, and one without a name is for all uplinks. Likewise a table of a
    source that names nothing to follow is for all sources of its kind.
    """

    problems: list[Problem]
    table: Table = field(default_factory=Table)

    def say(self, raw: dict[str, Any], where: str) -> None:
        """Check raw tables that all stand in one place, and add them."""
        lay(self.table, Checker({(): where}, self.problems, is_file=False).table(Config, raw))

    def say_uplink(self, key: str, word: str, where: str) -> None:
        """Take the name of an uplink, or `PFX[@IF]` for `prefixes` or `exclude`."""
        prefix, at, name = word.partition("@")
        table = {"name": word} if key == "name" else {key: [prefix]} | ({"name": name} if at else {})
        self.say({"interface": [table]}, where)

    @property
    def uplinks(self) -> list[Table]:
        return self.table.arrays.get("interface", [])

    @property
    def sources(self) -> Table:
        return self.table.tables.get("source", Table())

    def followed(self, kind: str) -> list[Table]:
        """Return the tables of a kind of source that name what to follow."""
        required = {key.name for key in keys(keys(SourcesConfig)[kind].table or Config).values() if key.required}
        tables = self.sources.arrays.get(kind, [])
        return [table for table in tables if required & (table.values.keys() | table.broken)]

    @property
    def broken(self) -> bool:
        """Whether the name or a prefix of an uplink is wrong."""
        return any(each.broken & {key for key, _ in _UPLINK_FLAGS} for each in self.uplinks)

    def names(self, *beside: str) -> dict[str, str]:
        """Return the uplinks whose names stand alone, or beside a key, with their places."""
        said = {"name", *beside}
        return {each.of("name"): each.where for each in self.uplinks if not each.broken and each.values.keys() == said}

    def lay_uplinks(self, table: Table) -> None:
        """Lay all that is said for one uplink over its table."""
        said: dict[str, Given] = {}
        for each in self.uplinks:
            if not each.broken and each.of("name") in (None, table.of("name")):
                for key, given in each.values.items():
                    said[key] = said[key].joined(given) if key in said and given.items else given
        table.values |= {key: given for key, given in said.items() if key != "name"}
        if self.broken:
            table.broken.add("prefixes")


def from_flags(options: Mapping[str, Any], problems: list[Problem]) -> Layer:
    """Read parsed flags; `options` holds them by their `argparse` destination."""
    layer = Layer(problems)
    for name, flag in _UPLINK_FLAGS:
        for word in options.get(flag) or ():
            layer.say_uplink(name, word, f"flag --{flag}")
    if options.get("rate") is not None:
        try:
            layer.say({"limits": values.rate(options["rate"])}, "flag --rate")
        except Wrong as wrong:
            problems.append(Problem("flag --rate", "", wrong.message, wrong.hint))
    given = [(path, key, options[".".join(path)]) for path, key in leaves() if options.get(".".join(path)) is not None]
    for path, key, words in given:
        if names_source(path, key):
            layer.say({"source": {path[1]: _followed(key, words)}}, f"flag {key.flags[-1]}")
    if options.get("within") is not None:
        _say_within(layer, [word for words in options["within"] for word in words.split(",") if word])
    for path, key, word in given:
        if not names_source(path, key):
            layer.say(_at(path, word), f"flag {key.flags[-1]}")
    return layer


def _followed(key: Key, words: Sequence[object]) -> object:
    """Return the tables of what to follow: one source of all words, or one for each."""
    if key.bare:
        parts = [part for word in words for part in str(word).split(",") if part]
        return {key.name: parts} if parts else {}
    unique = list(dict.fromkeys(words))
    return [{key.name: unique}] if key.many and unique else [{key.name: word} for word in unique]


def _say_within(layer: Layer, prefixes: list[str]) -> None:
    """Limit the targets of all sources that flags name."""
    arrays, tables = layer.sources.arrays, layer.sources.tables
    kinds: dict[str, Any] = {kind: [{"within": prefixes}] for kind in arrays}
    kinds |= {kind: {"within": prefixes} for kind in tables if not tables[kind].of("within")}  # --routes PFX says it
    if not (arrays or tables):
        message = "there is no source among the flags to set this for"
        layer.problems.append(Problem("flag --within", "", message, "leave it out, or say what to follow"))
    layer.say({"source": kinds}, "flag --within")


def from_environment(environ: Mapping[str, str], problems: list[Problem]) -> Layer:
    """Read NDPRESPONDER_*; a variable that is empty counts as not set."""
    layer = Layer(problems)
    for name, variable in (("name", "NDPRESPONDER_IFACE"), ("prefixes", "NDPRESPONDER_PREFIX")):
        for word in filter(None, _SEPARATOR.split(environ.get(variable, ""))):
            layer.say_uplink(name, word, f"environment {variable}")
    for path, key in leaves():
        if key.env.startswith("NDPRESPONDER_") and environ.get(key.env):
            layer.say(_at(path, environ[key.env]), f"environment {key.env}")
    return layer


def _at(path: Sequence[str], raw: object, cls: Any = Config) -> dict[str, Any]:
    """Return the raw tables that hold one value, as a file would."""
    name, *rest = path
    key = keys(cls)[name]
    if rest:
        raw = _at(rest, raw, key.table)
        raw = [raw] if key.many else raw
    return {name: raw}


def load(options: Mapping[str, Any], environ: Mapping[str, str], routes: Path = _ROUTES) -> Loaded:
    """Read all settings; `routes` are the kernel's, for advice about a missing uplink.

    Raises: ConfigError with every problem found; NothingToDo when nothing was said at all.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    flags, environment = from_flags(options, problems), from_environment(environ, problems)
    name = environ.get("NDPRESPONDER_CONFIG") if options.get("config") is None else options["config"]
    draft = Table()
    if name:
        from ndpresponder.config import toml_file  # flags alone need not wait for tomllib

        draft = toml_file.read(name, problems)
    uplinks = draft.arrays["interface"] = _in_play(draft.arrays.get("interface", []), environment, flags)
    if not (uplinks or draft.broken or environment.broken or flags.broken):
        problems.append(_no_uplink(name, environment, flags, _default_uplink(routes)))
    for layer in (environment, flags):
        _lay_over(draft, layer)
    _share(draft, environ, problems)
    judge(draft, problems, warnings)
    for uplink, where in flags.names("exclude").items():
        if uplink not in {table.of("name") for table in uplinks}:
            problems.append(Problem(where, "", f"{uplink!r} is not an uplink here", f"add --iface {uplink}"))
    if problems:
        raise ConfigError(tuple(dict.fromkeys(str(problem) for problem in sorted(problems, key=_line))))
    return Loaded(build(Config, draft), draft, tuple(sorted(warnings, key=_line)))


def _line(problem: Problem) -> int:
    """Sort the problems of a file by line, after those of flags and environment."""
    match = _LINE.search(problem.where)
    return int(match[1]) if match else 0


def _in_play(written: list[Table], environment: Layer, flags: Layer) -> list[Table]:
    """Return the tables of the uplinks: all of the file, or those that flags or environment choose."""
    tables = {table.of("name"): table for table in reversed(written)}
    chosen = flags.names() or environment.names()
    in_play = [] if chosen else list(written)
    if not flags.names():
        chosen |= environment.names("prefixes")
    for name, where in (chosen | flags.names("prefixes")).items():
        if name not in (table.of("name") for table in in_play):
            in_play.append(tables.get(name) or Table(where, values={"name": Given(name, where)}))
    return in_play


def _lay_over(draft: Table, layer: Layer) -> None:
    for table in draft.arrays["interface"]:
        layer.lay_uplinks(table)
    sources = draft.tables.setdefault("source", Table())
    for kind, said in layer.sources.arrays.items():
        followed = sources.arrays[kind] = layer.followed(kind) or sources.arrays.get(kind, [])
        for loose in (table for table in said if table not in followed):
            for table in followed:
                table.values |= loose.values
            if not followed:
                message = f"there is no {kind} source to set this for"
                layer.problems.append(loose.problem(message, "leave it out, or say what to follow"))
    rest = layer.table.tables | {"source": Table(tables=layer.sources.tables)}
    lay(draft, Table(values=layer.table.values, tables=rest))


def _share(draft: Table, environ: Mapping[str, str], problems: list[Problem]) -> None:
    """Take DOCKER_HOST, which is for other programs too, for each engine whose socket nothing else names."""
    for table in draft.tables["source"].arrays.get("docker", []):
        if "url" not in table.values and environ.get("DOCKER_HOST"):
            checker = Checker({(): "environment DOCKER_HOST"}, problems, is_file=False)
            table.values |= checker.table(DockerSourceConfig, {"url": environ["DOCKER_HOST"]}).values


def _default_uplink(routes: Path) -> str:
    """Return the interface of the best IPv6 default route, or an empty string."""
    try:
        rows = [row.split() for row in routes.read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        return ""
    found = [
        (int(row[5], 16), row[9])
        for row in rows
        if row[:2] == ["0" * 32, "00"] and row[9] != "lo" and not int(row[8], 16) & _RTF_REJECT
    ]
    return min(found, default=(0, ""))[1]


def _no_uplink(name: str | None, environment: Layer, flags: Layer, uplink: str) -> Problem:
    """Say that an uplink is missing, probably `uplink`; raise `NothingToDo` if nothing at all was said."""
    prefixes = [each for layer in (flags, environment) for table in layer.uplinks for each in table.items("prefixes")]
    sources = [table for kind in flags.sources.arrays for table in flags.followed(kind)]
    sources += flags.sources.tables.values()
    if prefixes:
        hint = f"add --iface {uplink}, where this host's IPv6 default route leads" if uplink else "add --iface eth0"
        return prefixes[0].problem(f"no uplink to answer for {prefixes[0].value} on", hint)
    if sources:
        return sources[0].problem("no uplink to answer on", f"add --iface {uplink or 'eth0'}")
    if name:
        hint = f'write [[interface]], name = "{uplink or "eth0"}" and prefixes = ["2001:db8::/112"]'
        return Problem(name, "", "no uplink", hint)
    advice = (
        "nothing to do: no uplink and no prefix given. Try, with your own prefix,\n"
        f"    ndpresponder --prefix 2001:db8::/112 --iface {uplink or 'eth0'}\n"
        "or name a file with --config; 'ndpresponder --help' explains all flags"
    )
    raise NothingToDo((advice,))
