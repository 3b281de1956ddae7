"""`ndpresponder check`: validate the settings, show what is in effect, and compare it with this host.

It reads and prints, and must never change anything or need a privilege. What the daemon would refuse on this host as it
is now is refused here too. What else the host shows may be different when the daemon starts: that is a warning.
"""

import argparse
import json
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv6Address, IPv6Network

from ndpresponder.config.draft import Table
from ndpresponder.config.layers import NothingToDo, load
from ndpresponder.config.problem import Problem, nearest
from ndpresponder.config.render import as_data, as_toml
from ndpresponder.diagnose.host_uplinks import present, troubles_on
from ndpresponder.errors import ConfigError, ExitCode
from ndpresponder.linux.netlink import Link, Links
from ndpresponder.linux.suitability import refuse_unsuitable


def main(options: argparse.Namespace, environ: Mapping[str, str]) -> ExitCode:
    """Check and print; return 0, or 78 with every problem on standard error."""
    try:
        loaded = load(vars(options), environ)
        followed = loaded.config.followed
        links = present([*(each.name for each in loaded.config.interfaces), *followed])
        uplinks = {name: link for name, link in links.items() if name not in followed}
        refuse_unsuitable(uplinks, followed)  # as `run` does on this host
    except NothingToDo:
        raise
    except ConfigError as error:
        if options.json:
            print(json.dumps({"valid": False, "problems": error.problems}, indent=2))
        else:
            print(*error.problems, sep="\n", file=sys.stderr)
        return error.exit_code
    warnings = [str(warning) for warning in (*loaded.warnings, *_compare(loaded.draft, links))]
    if options.json and not options.quiet:
        data, origins = as_data(loaded.config, loaded.draft)
        report = {"valid": True, "configuration": data, "origins": origins, "warnings": warnings}
        print(json.dumps(report, indent=2))
    elif not options.quiet:
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(as_toml(loaded.config, loaded.draft), end="")
    return ExitCode.OK


def _compare(draft: Table, links: Links) -> Iterator[Problem]:
    """Yield what this host shows now that a person may want to know; without `links` it shows nothing."""
    for table in draft.arrays["interface"] if links else ():
        name = table.values["name"]
        link = links[name.value]
        if link is None:
            near = nearest(name.value, [known for _, known in socket.if_nameindex()])
            hint = "ndpresponder waits for it" + (f"; did you mean {near}?" if near else "")
            yield name.problem(f"there is no interface {name.value!r} now", hint)
            continue
        for trouble in troubles_on(link, table.of("prefixes") or ()):
            message, _, hint = trouble.partition(": ")
            yield name.problem(message, hint)
        yield from _covered(table, "its default gateway", link.gateways)
        yield from _covered(table, "its own address", link.addresses)
        yield from _overlaps(table, draft, links)


def _overlaps(table: Table, draft: Table, links: Links) -> Iterator[Problem]:
    """Yield the claims, by a prefix or a followed bridge, of all of a prefix of the uplink's own link."""
    claims = [(given, given.value) for given in table.items("prefixes")]
    for bridge in draft.tables.get("source", Table()).arrays.get("bridge", []):
        name = bridge.values["name"]
        claims += [(name, network) for network in _networks(links[name.value])]
    for own in _networks(links[table.of("name")]):
        for given, prefix in claims:
            if own.subnet_of(prefix) and not any(own.subnet_of(each) for each in table.of("exclude") or ()):
                message = f"{prefix} covers {own}, the prefix of the link of {table.of('name')!r} itself"
                hint = "other hosts live there: claim a narrower prefix, exclude them, or use verify"
                yield given.problem(message, hint)


def _networks(link: Link | None) -> list[IPv6Network]:
    return [IPv6Network(subnet) for subnet in sorted(link.subnets)] if link else []


def _covered(table: Table, kind: str, addresses: Iterable[bytes]) -> Iterator[Problem]:
    """Yield the addresses that lie in a prefix of an uplink and are not excluded by hand."""
    for address in map(IPv6Address, sorted(addresses)):
        covering = [given for given in table.items("prefixes") if address in given.value]
        if covering and not any(address in exclusion for exclusion in table.of("exclude") or ()):
            message = f"{covering[0].value} covers {kind} {address} on {table.of('name')!r}"
            yield covering[0].problem(message, "excluded automatically: nothing to do")
