"""Judge the merged settings against each other: what no single value can show.

It must never change a draft, and never look at the host.
"""

from ipaddress import IPv6Network

from ndpresponder.config.draft import Given, Table
from ndpresponder.config.problem import Problem

WIDEST = 64  # a link's prefix; anything wider needs an explicit word
EMPTY = Given((), "")


def judge(draft: Table, problems: list[Problem], warnings: list[Problem]) -> None:
    """Add what is wrong, and what is merely pointless, to the two lists."""
    first: dict[str, str] = {}
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
        _judge_prefixes(table, problems, warnings)
        _judge_exclusions(table, warnings)


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


def _judge_prefixes(table: Table, problems: list[Problem], warnings: list[Problem]) -> None:
    """Find wide, repeated and contained prefixes, and an uplink without any."""
    given = table.values.get("prefixes", EMPTY)
    prefixes: tuple[IPv6Network, ...] = given.value
    if not prefixes and "prefixes" not in table.broken:
        problems.append(_no_prefix(table))
    for number, prefix in enumerate(prefixes):
        where, path = _element(given, number)
        if prefix.prefixlen < WIDEST and not table.of("allow_wide") and "allow_wide" not in table.broken:
            word = "write allow_wide = true in this table" if path else "add --allow-wide"
            problems.append(
                Problem(where, path, f"{prefix} is wider than /{WIDEST}", f"{word} if all of it lies behind this host")
            )
        for other_number, other in enumerate(prefixes):
            if prefix == other and other_number < number:
                warnings.append(Problem(where, path, f"{prefix} stands twice", "leave one out"))
                break
            if prefix != other and prefix.subnet_of(other) and prefix.prefixlen < 128:
                warnings.append(Problem(where, path, f"{prefix} lies within {other}", "leave the narrower one out"))
                break


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
