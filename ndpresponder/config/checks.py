"""Judge the merged settings against each other: what no single value can show.

It must never change a draft, and never look at the host.
"""

from ipaddress import IPv6Network

from ndpresponder.config.draft import Given, Table
from ndpresponder.config.problem import Problem
from ndpresponder.config.settings import keys
from ndpresponder.config.source_settings import SourcesConfig

WIDEST = 64  # a link's prefix; anything wider needs an explicit word
EMPTY = Given((), "")


def judge(draft: Table, problems: list[Problem], warnings: list[Problem]) -> None:
    """Add what is wrong, and what is merely pointless, to the two lists."""
    first: dict[str, str] = {}
    followed = _judge_sources(draft, problems)
    for table in draft.arrays.get("interface", []):
        name = table.values.get("name")
        if name is not None and name.value in first:
            problems.append(
                Problem(
                    name.where,
                    name.path,
                    f"uplink {name.value!r} stands already at {first[name.value]}",
                    "write one [[interface]] table for each uplink",
                )
            )
        elif name is not None:
            first[name.value] = name.where
        _judge_prefixes(table, followed, problems, warnings)
        _judge_exclusions(table, warnings)
    for table in draft.tables.get("source", Table()).arrays.get("bridge", []):
        name = table.values.get("name")
        if name is not None and name.value in first:
            message = f"{name.value!r} is an uplink: its neighbors do not lie behind this host"
            problems.append(Problem(name.where, name.path, message, "name the interface towards the containers"))


def _element(given: Given, number: int) -> tuple[str, str]:
    """Return where an element stands and its path."""
    return given.items[number], f"{given.path}[{number}]" if given.path else ""


def _no_prefix(table: Table) -> Problem:
    if table.path:
        hint = 'write prefixes = ["2001:db8::/112"] with your own prefix'
        what = "is empty" if "prefixes" in table.values else "missing"
        where = table.values.get("prefixes", table).where
        return Problem(where, f"{table.path}.prefixes", f"{what}: there is nothing to answer for", hint)
    message = f"{table.of('name')!r} has no prefix to answer for"
    return Problem(table.where, "", message, "add --prefix 2001:db8::/112 with your own prefix")


def _judge_sources(draft: Table, problems: list[Problem]) -> bool:
    """Find sources that stand twice; tell whether there is any."""
    tables = draft.tables.get("source", Table())
    for kind, each in tables.arrays.items():
        for number, table in enumerate(each):
            for name, key in keys(keys(SourcesConfig)[kind].table or SourcesConfig).items():
                given = table.values.get(name)
                if key.required and key.many and given and not given.value and name not in table.broken:
                    hint = f"write {name} = {key.setting.example}"
                    problems.append(Problem(given.where, given.path, "is empty", hint))
            for other in each[:number]:
                if not table.broken and _said(table) == _said(other):
                    problems.append(Problem(table.where, table.path, f"says what {other.where} says", "leave one out"))
                    break
    return bool(tables.tables or tables.broken or any(tables.arrays.values()))


def _said(table: Table) -> dict[str, object]:
    return {name: given.value for name, given in table.values.items()}


def _judge_prefixes(table: Table, followed: bool, problems: list[Problem], warnings: list[Problem]) -> None:
    """Find wide, repeated and contained prefixes, and an uplink without any while no source is `followed`."""
    given = table.values.get("prefixes", EMPTY)
    prefixes: tuple[IPv6Network, ...] = given.value
    if not prefixes and not followed and "prefixes" not in table.broken:
        problems.append(_no_prefix(table))
    for number, prefix in enumerate(prefixes):
        where, path = _element(given, number)
        if prefix.prefixlen < WIDEST and not table.of("allow_wide") and "allow_wide" not in table.broken:
            word = "write allow_wide = true in this table" if path else "add --allow-wide"
            problems.append(Problem(where, path, *too_wide(prefix, word)))
        for other_number, other in enumerate(prefixes):
            if prefix == other and other_number < number:
                warnings.append(Problem(where, path, f"{prefix} stands twice", "leave one out"))
                break
            if prefix != other and prefix.subnet_of(other) and prefix.prefixlen < 128:
                warnings.append(Problem(where, path, f"{prefix} lies within {other}", "leave the narrower one out"))
                break


def too_wide(prefix: IPv6Network, word: str) -> tuple[str, str]:
    """Say that a prefix needs an explicit word, and which."""
    return f"{prefix} is wider than /{WIDEST}", f"{word} if all of it lies behind this host"


def _judge_exclusions(table: Table, warnings: list[Problem]) -> None:
    """Find exclusions that change nothing, and those that leave nothing."""
    given = table.values.get("exclude", EMPTY)
    claimed = table.values.get("prefixes", EMPTY)
    exclusions: tuple[IPv6Network, ...] = given.value
    for number, exclusion in enumerate(exclusions):
        where, path = _element(given, number)
        if claimed.value and "prefixes" not in table.broken and not any(map(exclusion.overlaps, claimed.value)):
            warnings.append(Problem(where, path, f"{exclusion} lies in no prefix of the uplink", "leave it out"))
        for prefix in claimed.value:
            if prefix.subnet_of(exclusion):
                warnings.append(
                    Problem(where, path, f"{exclusion} excludes all of {prefix}", "leave one of the two out")
                )
