"""The commands that ask the running daemon or tell it something, and what they print.

They decide nothing: the daemon says what is wrong with an address or a prefix, as it would of its configuration.
`commands` names them, and imports this module when one of them runs.
"""

import argparse
import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any, Final

from ndpresponder.api.client import Client, HungUp, Unreachable, client_of
from ndpresponder.cli import show
from ndpresponder.errors import ExitCode

_UPGRADE_S: Final = 30.0  # for the new daemon to answer


def _done(options: argparse.Namespace, data: Mapping[str, Any], words: str) -> int:
    print(json.dumps(data, indent=2) if options.json else words)
    return ExitCode.OK


def status(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    status = client_of(options, environ).get("/status")
    return _done(options, status, "\n".join(show.status(status, time.time())))


def targets(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    for target in client_of(options, environ).lines("/targets"):
        print(json.dumps(target) if options.json else show.target(target))
    return ExitCode.OK


def explain(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from ndpresponder.diagnose import explain  # the whole policy, which the other commands need not wait for

    report = explain.report(options, environ)
    _done(options, report, show.explanation(report))
    return ExitCode.OK if report["answered"] else ExitCode.PROBLEM


def add(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    said = {name: getattr(options, name) for name in ("prefix", "iface", "lifetime_s", "announce")}
    done = client_of(options, environ).tell("POST", "/prefixes", **said)
    return _done(options, done, f"answered for: {show.prefix({**done, 'remaining_s': done['lifetime_s']})}")


def remove(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    done = client_of(options, environ).tell("DELETE", "/prefixes", prefix=options.prefix, iface=options.iface)
    return _done(options, done, f"removed: {done['prefix']}")


def log(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    done = client_of(options, environ).tell("POST", "/log", level=options.level)
    return _done(options, done, f"the log level is {done['level']} until the next reload")


def reload(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    done = client_of(options, environ).tell("POST", "/reload")
    return _done(options, done, "the configuration was read again and is in force")


def upgrade(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    client = client_of(options, environ)
    before = client.get("/status")
    with contextlib.suppress(HungUp):  # it is being replaced
        client.tell("POST", "/upgrade")
    after = _await_another(client, before)
    return _done(options, after, f"version {after['version']} took over from {before['version']}, pid {after['pid']}")


def _await_another(client: Client, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the status of the daemon that took over."""
    end_s = time.monotonic() + _UPGRADE_S
    while time.monotonic() < end_s:
        with contextlib.suppress(Unreachable):  # for a moment nobody listens
            after = client.get("/status")
            if after["started_s"] != before["started_s"]:  # not "later": the clock may have been set back
                return after
        time.sleep(0.05)
    raise Unreachable(f"{client.path}: no other daemon took over within {_UPGRADE_S:g} s; see its log")
