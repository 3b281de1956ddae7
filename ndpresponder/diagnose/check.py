"""`ndpresponder check`: validate the settings, show what is in effect, and compare it with this host.

It reads and prints, and must never change anything or need a privilege. What the host shows now may be
different when the daemon starts, so it is only ever a warning.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address

from ndpresponder.config.draft import Table
from ndpresponder.config.host import ARPHRD_ETHER, Host
from ndpresponder.config.judge import EMPTY
from ndpresponder.config.load import NothingToDo, load
from ndpresponder.config.problem import Problem, nearest
from ndpresponder.config.render import as_data, as_toml
from ndpresponder.errors import ConfigError, ExitCode


def main(options: argparse.Namespace, environ: Mapping[str, str], host: Host | None = None) -> ExitCode:
    """Check and print; return 0, or 78 with every problem on standard error."""
    host = host or Host()
    try:
        loaded = load(vars(options), environ, host)
    except NothingToDo:
        raise
    except ConfigError as error:
        if options.json:
            print(json.dumps({"valid": False, "problems": error.problems}, indent=2))
        else:
            print(*error.problems, sep="\n", file=sys.stderr)
        return error.exit_code
    warnings = [str(warning) for warning in (*loaded.warnings, *_compare(loaded.draft, host))]
    if options.json and not options.quiet:
        data, origins = as_data(loaded.config, loaded.draft)
        report = {"valid": True, "configuration": data, "origins": origins, "warnings": warnings}
        print(json.dumps(report, indent=2))
    elif not options.quiet:
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(as_toml(loaded.config, loaded.draft), end="")
    return ExitCode.OK


def _compare(draft: Table, host: Host) -> Iterator[Problem]:
    """Yield what this host shows now that a person may want to know."""
    present = host.interfaces()
    for table in draft.arrays["interface"]:
        name = table.values["name"]
        if present and name.value not in present:
            near = nearest(name.value, present)
            hint = "ndpresponder waits for it" + (f"; did you mean {near}?" if near else "")
            yield Problem(name.where, name.path, f"there is no interface {name.value!r} now", hint)
            continue
        link_type = host.link_type(name.value)
        if link_type not in (None, ARPHRD_ETHER):
            message = f"{name.value!r} is not an Ethernet interface (link type {link_type})"
            yield Problem(name.where, name.path, message, "name the interface towards the router")
        for kind, addresses in (
            ("its default gateway", host.gateways(name.value)),
            ("its own address", host.addresses(name.value)),
        ):
            yield from _covered(table, kind, addresses)
        yield from _overlaps(table, draft, host)


def _overlaps(table: Table, draft: Table, host: Host) -> Iterator[Problem]:
    """Yield the claims, by a prefix or a followed bridge, of all of a prefix of the uplink's own link."""
    prefixes = table.values.get("prefixes", EMPTY)
    claims = [
        (where, f"{prefixes.path}[{number}]" if prefixes.path else "", prefix)
        for number, (prefix, where) in enumerate(zip(prefixes.value, prefixes.items, strict=False))
    ]
    for bridge in draft.tables.get("source", Table()).arrays.get("bridge", []):
        name = bridge.values["name"]
        claims += [(name.where, name.path, network) for network in host.networks(name.value)]
    for own in host.networks(table.of("name")):
        for where, path, prefix in claims:
            if own.subnet_of(prefix) and not any(own.subnet_of(each) for each in table.of("exclude") or ()):
                message = f"{prefix} covers {own}, the prefix of the link of {table.of('name')!r} itself"
                hint = "other hosts live there: claim a narrower prefix, exclude them, or use verify"
                yield Problem(where, path, message, hint)


def _covered(table: Table, kind: str, addresses: list[IPv6Address]) -> Iterator[Problem]:
    """Yield the addresses that lie in a prefix of an uplink and are not excluded by hand."""
    prefixes = table.values.get("prefixes", EMPTY)
    for address in addresses:
        if any(address in exclusion for exclusion in table.of("exclude") or ()):
            continue
        for number, prefix in enumerate(prefixes.value):
            if address in prefix:
                path = f"{prefixes.path}[{number}]" if prefixes.path else ""
                message = f"{prefix} covers {kind} {address} on {table.of('name')!r}"
                yield Problem(prefixes.items[number], path, message, "excluded automatically: nothing to do")
                break
