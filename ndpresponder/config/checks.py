"""Compare the merged settings with each other, and report faults that no single value shows.

A draft is never changed here, and the host never looked at.
"""

from ipaddress import IPv6Network

from ndpresponder.config.declaration import keys
from ndpresponder.config.draft import Table
from ndpresponder.config.problem import Problem
from ndpresponder.config.settings import SourcesConfig

WIDEST = 64  # a link's prefix; anything wider needs an explicit word


def judge(draft: Table, problems: list[Problem], warnings: list[Problem]) -> None:
    """Add what is wrong, and what is merely pointless, to the two lists."""
    first: dict[str, str] = {}
    sources = draft.tables.get("source", Table())
    followed = bool(sources.tables or sources.broken or any(sources.arrays.values()))
    _judge_sources(sources, problems)
    for table in draft.arrays.get("interface", []):
        name = table.values.get("name")
        if name is not None and name.value in first:
            message = f"uplink {name.value!r} stands already at {first[name.value]}"
            problems.append(name.problem(message, "write one [[interface]] table for each uplink"))
        elif name is not None:
            first[name.value] = name.where
        if not table.of("prefixes") and not followed and "prefixes" not in table.broken:
            problems.append(_no_prefix(table))
        _judge_prefixes(table, problems, warnings)
        _judge_exclusions(table, warnings)
    for bridge in sources.arrays.get("bridge", []):
        name = bridge.values.get("name")
        if name is not None and name.value in first:
            message = f"{name.value!r} is an uplink: its neighbors do not lie behind this host"
            problems.append(name.problem(message, "name the interface towards the containers"))


def _no_prefix(table: Table) -> Problem:
    if table.path:
        hint = 'write prefixes = ["2001:db8::/112"] with your own prefix'
        fault = "is empty" if "prefixes" in table.values else "missing"
        where = table.values.get("prefixes", table).where
        return Problem(where, f"{table.path}.prefixes", f"{fault}: there is nothing to answer for", hint)
    message = f"{table.of('name')!r} has no prefix to answer for"
    return table.problem(message, "add --prefix 2001:db8::/112 with your own prefix")


def _judge_sources(sources: Table, problems: list[Problem]) -> None:
    """Find sources that follow nothing, and those that stand twice."""
    for kind, tables in sources.arrays.items():
        for number, table in enumerate(tables):
            for name, key in keys(keys(SourcesConfig)[kind].table or SourcesConfig).items():
                given = table.values.get(name)
                if key.required and key.many and given and not given.value and name not in table.broken:
                    problems.append(given.problem("is empty", f"write {name} = {key.example}"))
            for other in tables[:number]:
                if not table.broken and _said(table) == _said(other):
                    problems.append(table.problem(f"says what {other.where} says", "leave one out"))
                    break


def _said(table: Table) -> dict[str, object]:
    return {name: given.value for name, given in table.values.items()}


def _judge_prefixes(table: Table, problems: list[Problem], warnings: list[Problem]) -> None:
    """Find wide, repeated and contained prefixes."""
    items = table.items("prefixes")
    for number, given in enumerate(items):
        prefix: IPv6Network = given.value
        if prefix.prefixlen < WIDEST and not table.of("allow_wide") and "allow_wide" not in table.broken:
            word = "write allow_wide = true in this table" if given.path else "add --allow-wide"
            problems.append(given.problem(*too_wide(prefix, word)))
        for other_number, other in enumerate(items):
            if prefix == other.value and other_number < number:
                warnings.append(given.problem(f"{prefix} stands twice", "leave one out"))
                break
            if prefix != other.value and prefix.subnet_of(other.value) and prefix.prefixlen < 128:
                warnings.append(given.problem(f"{prefix} lies within {other.value}", "leave the narrower one out"))
                break


def too_wide(prefix: IPv6Network, word: str) -> tuple[str, str]:
    """Say that a prefix needs an explicit word, and which."""
    return f"{prefix} is wider than /{WIDEST}", f"{word} if all of it lies behind this host"


def _judge_exclusions(table: Table, warnings: list[Problem]) -> None:
    """Find exclusions that change nothing, and those that leave nothing."""
    prefixes = table.of("prefixes") or ()
    for given in table.items("exclude"):
        exclusion: IPv6Network = given.value
        if prefixes and "prefixes" not in table.broken and not any(map(exclusion.overlaps, prefixes)):
            warnings.append(given.problem(f"{exclusion} lies in no prefix of the uplink", "leave it out"))
        for prefix in prefixes:
            if prefix.subnet_of(exclusion):
                warnings.append(given.problem(f"{exclusion} excludes all of {prefix}", "leave one of the two out"))
