"""`ndpresponder check`: validate the settings, show what is in effect, and compare it with this host.

It reads and prints, and must never change anything or need a privilege. What the daemon would refuse on this host as it
is now is refused here too. What else the host shows may be different when the daemon starts: that is a warning.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address

from ndpresponder.config.draft import Table
from ndpresponder.config.host import ARPHRD_ETHER, Host
from ndpresponder.config.layers import NothingToDo, load
from ndpresponder.config.problem import Problem, nearest
from ndpresponder.config.render import as_data, as_toml
from ndpresponder.diagnose.host_uplinks import present, troubles_on
from ndpresponder.errors import ConfigError, ExitCode
from ndpresponder.linux.netlink import Links
from ndpresponder.linux.suitability import refuse_unsuitable


def main(options: argparse.Namespace, environ: Mapping[str, str], host: Host | None = None) -> ExitCode:
    """Check and print; return 0, or 78 with every problem on standard error."""
    links: Links = {}
    try:
        loaded = load(vars(options), environ, host or Host())
        if host is None:
            links = present([each.name for each in loaded.config.interfaces])
        refuse_unsuitable(links, loaded.config.followed)  # as `run` does on this host
    except NothingToDo:
        raise
    except ConfigError as error:
        if options.json:
            print(json.dumps({"valid": False, "problems": error.problems}, indent=2))
        else:
            print(*error.problems, sep="\n", file=sys.stderr)
        return error.exit_code
    warnings = [str(warning) for warning in (*loaded.warnings, *_compare(loaded.draft, host or Host(), links))]
    if options.json and not options.quiet:
        data, origins = as_data(loaded.config, loaded.draft)
        report = {"valid": True, "configuration": data, "origins": origins, "warnings": warnings}
        print(json.dumps(report, indent=2))
    elif not options.quiet:
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(as_toml(loaded.config, loaded.draft), end="")
    return ExitCode.OK


def _compare(draft: Table, host: Host, links: Links) -> Iterator[Problem]:
    """Yield what this host shows now that a person may want to know; `links` hold what the kernel itself says."""
    known = host.interfaces()
    for table in draft.arrays["interface"]:
        name, link = table.values["name"], links.get(table.values["name"].value)
        if link is None and known and name.value not in known:
            near = nearest(name.value, known)
            hint = "ndpresponder waits for it" + (f"; did you mean {near}?" if near else "")
            yield name.problem(f"there is no interface {name.value!r} now", hint)
            continue
        device = link.device if link else name.value  # an alternative name is none to /proc and /sys
        for trouble in troubles_on(link, table.of("prefixes") or ()) if link else ():
            message, _, hint = trouble.partition(": ")
            yield name.problem(message, hint)
        link_type = host.link_type(device)
        if link_type not in (None, ARPHRD_ETHER):
            message = f"{name.value!r} is not an Ethernet interface (link type {link_type})"
            yield name.problem(message, "name the interface towards the router")
        yield from _covered(table, "its default gateway", host.gateways(device))
        yield from _covered(table, "its own address", host.addresses(device))
        yield from _overlaps(table, draft, host, device)


def _overlaps(table: Table, draft: Table, host: Host, device: str) -> Iterator[Problem]:
    """Yield the claims, by a prefix or a followed bridge, of all of a prefix of the uplink's own link."""
    claims = [(given, given.value) for given in table.items("prefixes")]
    for bridge in draft.tables.get("source", Table()).arrays.get("bridge", []):
        name = bridge.values["name"]
        claims += [(name, network) for network in host.networks(name.value)]
    for own in host.networks(device):
        for given, prefix in claims:
            if own.subnet_of(prefix) and not any(own.subnet_of(each) for each in table.of("exclude") or ()):
                message = f"{prefix} covers {own}, the prefix of the link of {table.of('name')!r} itself"
                hint = "other hosts live there: claim a narrower prefix, exclude them, or use verify"
                yield given.problem(message, hint)


def _covered(table: Table, kind: str, addresses: list[IPv6Address]) -> Iterator[Problem]:
    """Yield the addresses that lie in a prefix of an uplink and are not excluded by hand."""
    for address in addresses:
        covering = [given for given in table.items("prefixes") if address in given.value]
        if covering and not any(address in exclusion for exclusion in table.of("exclude") or ()):
            message = f"{covering[0].value} covers {kind} {address} on {table.of('name')!r}"
            yield covering[0].problem(message, "excluded automatically: nothing to do")
