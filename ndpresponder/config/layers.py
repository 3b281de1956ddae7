"""Merge flags, environment and file into the settings tree: flag before environment before file before default.

It must never start anything: `ndpresponder check` and a reload call it just as `run` does.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from typing import Any

from ndpresponder.config import values
from ndpresponder.config.checks import judge
from ndpresponder.config.draft import Given, Table, build_config
from ndpresponder.config.host import Host
from ndpresponder.config.problem import Problem, Wrong
from ndpresponder.config.settings import Config, InterfaceConfig, Key, LimitsConfig, keys, leaves, names_source
from ndpresponder.config.source_settings import SourcesConfig
from ndpresponder.errors import ConfigError, ExitCode

_SEPARATOR = re.compile(r"[,\s]+")
_LINE = re.compile(r":(\d+)$")


class NothingToDo(ConfigError):
    """Neither flags nor environment nor a file say what to answer: a mistake of use, not of configuration."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str) -> None:
        super().__init__((message,))


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings tree, where each value came from, and what looks pointless."""

    config: Config
    draft: Table
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """A prefix or exclusion for one uplink, or for all (an empty name)."""

    network: IPv6Network
    uplink: str
    where: str


@dataclass(slots=True)
class Layer:
    """What the flags, or the environment, say."""

    problems: list[Problem]
    uplinks: dict[str, str] = field(default_factory=dict)  # name -> where
    claims: dict[str, list[Claim]] = field(default_factory=lambda: {"prefixes": [], "exclude": []})
    settings: list[tuple[tuple[str, ...], Key, object, str]] = field(default_factory=list)
    sources: dict[str, list[Table]] = field(default_factory=dict)  # kind -> in place of the file's
    broken: bool = False  # an uplink or prefix could not be read

    def uplink(self, word: str, where: str) -> None:
        """Take an uplink."""
        try:
            self.uplinks.setdefault(values.interface_name(word), where)
        except Wrong as wrong:
            self.broken = True
            self.problems.append(Problem(where, "", wrong.message, wrong.hint))

    def claim(self, key: str, word: str, where: str) -> None:
        """Take `PFX[@IF]` for `prefixes` or `exclude`."""
        prefix, at, uplink = word.partition("@")
        try:
            network: Any = keys(InterfaceConfig)[key].parse(prefix)
            name = values.interface_name(uplink) if at else ""
        except Wrong as wrong:
            self.broken = True
            self.problems.append(Problem(where, "", wrong.message, wrong.hint))
        else:
            self.claims[key].append(Claim(network, name, where))

    def rate(self, word: str, where: str) -> None:
        """Take `N[/BURST]`."""
        try:
            rate, burst = values.rate(word)
        except Wrong as wrong:
            self.problems.append(Problem(where, "", wrong.message, wrong.hint))
            return
        limits = keys(LimitsConfig)
        self.settings.append((("limits", "rate"), limits["rate"], rate, where))
        if burst is not None:
            self.settings.append((("limits", "burst"), limits["burst"], burst, where))

    def source(self, kind: str, key: Key, words: Sequence[object], where: str) -> None:
        """Take what to follow: one source of all `words`, or one for each where the key holds one value."""
        if key.setting.bare:
            words = [part for word in words for part in str(word).split(",") if part]
            tables = self.sources[kind] = [Table(where)]
            if words:
                tables[0].set_each(key, words, where, self.problems)
            return
        words = tuple(dict.fromkeys(words))
        if not words:
            return
        tables = self.sources[kind] = [Table(where)] if key.many else [Table(where) for _ in words]
        if key.many:
            tables[0].set_each(key, words, where, self.problems)
        else:
            for table, word in zip(tables, words, strict=True):
                table.set(key, word, where, self.problems)

    def within(self, words: Sequence[object]) -> None:
        """Take the prefixes that the targets of all these sources must lie in."""
        where = "flag --within"
        if not self.sources:
            message = "there is no source among the flags to set this for"
            self.problems.append(Problem(where, "", message, "leave it out, or say what to follow"))
        for kind, tables in self.sources.items():
            key = keys(keys(SourcesConfig)[kind].table or SourcesConfig)["within"]
            for table in tables:
                if not table.of("within"):  # --routes PFX says it already
                    table.set_each(key, words, where, self.problems)

    def named(self) -> dict[str, str]:
        """Return the uplinks that stand after an @."""
        return {claim.uplink: claim.where for claim in self.claims["prefixes"] if claim.uplink}


def from_flags(options: Mapping[str, Any], problems: list[Problem]) -> Layer:
    """Read parsed flags; `options` holds them by their `argparse` destination."""
    layer = Layer(problems)
    for word in options.get("iface") or ():
        layer.uplink(word, "flag --iface")
    for word in options.get("prefix") or ():
        layer.claim("prefixes", word, "flag --prefix")
    for word in options.get("exclude") or ():
        layer.claim("exclude", word, "flag --exclude")
    if options.get("rate") is not None:
        layer.rate(options["rate"], "flag --rate")
    for path, key in leaves():
        given = options.get(".".join(path))
        if given is None:
            continue
        where = f"flag {key.setting.flags[-1]}"
        if names_source(path, key):
            layer.source(path[1], key, given, where)
        else:
            layer.settings.append((path, key, given, where))
    if options.get("within") is not None:
        layer.within([word for given in options["within"] for word in given.split(",") if word])
    return layer


def from_environment(environ: Mapping[str, str], problems: list[Problem]) -> Layer:
    """Read NDPRESPONDER_*; a variable that is empty counts as not set."""
    layer = Layer(problems)
    for word in filter(None, _SEPARATOR.split(environ.get("NDPRESPONDER_IFACE", ""))):
        layer.uplink(word, "environment NDPRESPONDER_IFACE")
    for word in filter(None, _SEPARATOR.split(environ.get("NDPRESPONDER_PREFIX", ""))):
        layer.claim("prefixes", word, "environment NDPRESPONDER_PREFIX")
    for path, key in leaves():
        given = environ.get(key.setting.env) if key.setting.env else None
        if given:
            layer.settings.append((path, key, given, f"environment {key.setting.env}"))
    return layer


def load(options: Mapping[str, Any], environ: Mapping[str, str], host: Host | None = None) -> Loaded:
    """Read all settings.

    Raises: ConfigError with every problem found; NothingToDo when nothing was said at all.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    flags = from_flags(options, problems)
    environment = from_environment(environ, problems)
    name = options.get("config")
    if name is None:
        name = environ.get("NDPRESPONDER_CONFIG")
    draft = _read(name, problems) if name else Table()
    _merge(draft, environment, flags)
    for layer in (environment, flags):
        _apply_settings(draft, layer)
    if not (draft.arrays["interface"] or draft.broken or environment.broken or flags.broken):
        problems.append(_no_uplink(name, environment, flags, host or Host()))
    judge(draft, problems, warnings)
    _judge_named_exclusions(draft, flags)
    if problems:
        raise ConfigError(tuple(str(problem) for problem in sorted(problems, key=_line)))
    return Loaded(build_config(draft), draft, tuple(sorted(warnings, key=_line)))


def _read(name: str, problems: list[Problem]) -> Table:
    from ndpresponder.config import toml_file  # flags alone need not wait for tomllib

    return toml_file.read(name, problems)


def _line(problem: Problem) -> int:
    """Sort the problems of a file by line, after those of flags and environment."""
    match = _LINE.search(problem.where)
    return int(match[1]) if match else 0


def _merge(draft: Table, environment: Layer, flags: Layer) -> None:
    """Settle which uplinks are in play and which prefixes and exclusions each has."""
    written = draft.arrays.get("interface", [])
    tables = {str(table.of("name")): table for table in reversed(written)}
    if flags.uplinks or environment.uplinks:
        chosen = flags.uplinks | flags.named()
        if not flags.uplinks:
            chosen = environment.uplinks | environment.named() | chosen
        in_play = []
    else:
        chosen = environment.named() | flags.named()
        chosen = {name: where for name, where in chosen.items() if name not in tables}
        in_play = list(written)
    for name, where in chosen.items():
        in_play.append(tables.get(name) or Table(where, values={"name": Given(name, where)}))
    draft.arrays["interface"] = in_play
    if flags.sources:
        sources = draft.tables.setdefault("source", Table())
        for kind, followed in flags.sources.items():
            if keys(SourcesConfig)[kind].many:
                sources.arrays[kind] = followed
            else:
                sources.tables.setdefault(kind, Table()).values.update(followed[0].values)
    for layer in (environment, flags):
        for table in in_play:
            for key, claims in layer.claims.items():
                mine = [claim for claim in claims if claim.uplink in ("", table.of("name"))]
                if mine:
                    networks, places = tuple(claim.network for claim in mine), tuple(claim.where for claim in mine)
                    table.values[key] = Given(networks, places[0], items=places)
            if layer.broken:
                table.broken.add("prefixes")


def _apply_settings(draft: Table, layer: Layer) -> None:
    """Set what a layer says; a setting of an uplink goes to all uplinks in play, likewise for a kind of source."""
    for path, key, raw, where in layer.settings:
        tables = _reached(draft, path[:-1], where)
        if not tables and path[0] == "source" and where.startswith("flag "):
            message, hint = f"there is no {path[1]} source to set this for", "leave it out, or say what to follow"
            layer.problems.append(Problem(where, "", message, hint))
        for table in tables:
            # A variable that is shared with other programs must not outdo what was written for this one.
            if where.startswith(("flag ", "environment NDPRESPONDER_")) or key.name not in table.values:
                table.set(key, raw, where, layer.problems)


def _reached(draft: Table, path: tuple[str, ...], where: str) -> list[Table]:
    """Return all tables of a path."""
    cls: Any = Config
    tables = [draft]
    for step in path:
        key = keys(cls)[step]
        cls = key.table
        if key.many:
            tables = [inner for table in tables for inner in table.arrays.get(step, [])]
        else:
            tables = [table.tables.setdefault(step, Table(where)) for table in tables]
    return tables


def _judge_named_exclusions(draft: Table, flags: Layer) -> None:
    """Find `--exclude PFX@IF` for an interface that is no uplink."""
    names = {table.of("name") for table in draft.arrays["interface"]}
    for claim in flags.claims["exclude"]:
        if claim.uplink and claim.uplink not in names:
            message = f"{claim.uplink!r} is not an uplink here"
            flags.problems.append(Problem(claim.where, "", message, f"add --iface {claim.uplink}"))


def _no_uplink(name: str | None, environment: Layer, flags: Layer, host: Host) -> Problem:
    """Say that an uplink is missing, and which one it probably is.

    Raises: NothingToDo when there is neither a file nor a prefix.
    """
    uplink = host.default_uplink()
    claims = flags.claims["prefixes"] or environment.claims["prefixes"]
    if claims:
        known = f"add --iface {uplink}, where this host's IPv6 default route leads" if uplink else "add --iface eth0"
        return Problem(claims[0].where, "", f"no uplink to answer for {claims[0].network} on", known)
    if flags.sources:
        where = next(iter(flags.sources.values()))[0].where
        return Problem(where, "", "no uplink to answer on", f"add --iface {uplink or 'eth0'}")
    if name:
        hint = f'write [[interface]], name = "{uplink or "eth0"}" and prefixes = ["2001:db8::/112"]'
        return Problem(name, "", "no uplink", hint)
    raise NothingToDo(
        "nothing to do: no uplink and no prefix given. Try, with your own prefix,\n"
        f"    ndpresponder --prefix 2001:db8::/112 --iface {uplink or 'eth0'}\n"
        "or name a file with --config; 'ndpresponder --help' explains all flags"
    )
