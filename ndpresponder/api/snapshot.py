"""Say what the daemon is doing: `/metrics`, `/status` and systemd's status line read the same snapshot.

A snapshot is taken and read in one turn of the loop, so that it adds up. This module imports nothing but what the
daemon has imported anyway.
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from socket import AF_INET6, inet_ntop
from typing import Any, Protocol

from ndpresponder import __version__
from ndpresponder.config import Config
from ndpresponder.linux.suitability import deafness, troubles
from ndpresponder.observe.logs import Logs
from ndpresponder.outcome import IGNORED, Kind
from ndpresponder.targets.board import Entry, TargetBoard
from ndpresponder.targets.sources.temporary import TemporaryPrefixes
from ndpresponder.uplink.uplink import Uplink

Change = Callable[[], Awaitable[str | None]]  # returns what is wrong, None when it is done


@dataclass(slots=True)
class Reading:
    """How the last reading of the configuration went."""

    started_s: float  # Unix time when the daemon started
    loaded_s: float  # Unix time of the last successful reading
    problem: str = ""  # why the last one failed
    file: str = ""  # empty: flags and environment only


class InForce(Protocol):
    """The configuration in force, and all that it amounts to."""

    config: Config
    reading: Reading
    uplinks: dict[str, Uplink]
    board: TargetBoard
    temporary: TemporaryPrefixes
    logs: Logs


@dataclass(frozen=True, slots=True)
class DaemonHandle:
    """All that the API reads of the daemon, and has it do."""

    in_force: InForce
    reload: Change
    upgrade: Change


def text(address: bytes) -> str:
    return inet_ntop(AF_INET6, address)


def state_of(uplink: Uplink) -> str:
    """Return `answering`, `stalled`, `deaf`, `down`, `not_ethernet` or `missing`."""
    if uplink.stalled:
        return "stalled"
    if uplink.link is None:
        return "not_ethernet" if uplink.log.unfit else "missing"
    return "answering" if uplink.ready else "down" if not uplink.link.up else "deaf"


def take(in_force: InForce) -> list[Uplink]:
    """Return the uplinks, with the kernel's counters collected; read them before the next turn of the loop."""
    uplinks = list(in_force.uplinks.values())
    for uplink in uplinks:
        uplink.collect()
    return uplinks


def status_line(in_force: InForce) -> str:
    """Say for systemd which uplinks are answered on, leave frames waiting, hear nothing, or are not there."""
    answering, stalled, deaf, waiting = [], [], [], []
    for name, uplink in in_force.uplinks.items():
        state = state_of(uplink)
        if state == "answering":
            answering.append(name)
        elif state == "stalled":
            stalled.append(name)
        elif uplink.link and not uplink.link.hears:
            deaf.append(f"{name} ({deafness(uplink.link)})")
        else:
            waiting.append(name)
    parts = (
        ("answering on", answering),
        ("frames wait unread on", stalled),
        ("hearing nothing on", deaf),
        ("waiting for", waiting),
        ("configuration not reloaded:", in_force.reading.problem.splitlines()[:1]),
    )
    return "; ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names)


def status(in_force: InForce) -> dict[str, Any]:
    """Return what the daemon is, how it fares and what it counted."""
    reading = in_force.reading
    return {
        "version": __version__,
        "pid": os.getpid(),
        "started_s": reading.started_s,
        "dry_run": in_force.config.dry_run,
        "configuration": {
            "file": reading.file or None,
            "loaded_s": reading.loaded_s,
            "problem": reading.problem or None,
        },
        "log_level": in_force.logs.level,
        "generation": in_force.board.generation,
        "uplinks": [_uplink(uplink) for uplink in take(in_force)],
        "sources": [_source(entry) for entry in in_force.board.entries],
        "temporary": temporary(in_force),
    }


def _uplink(uplink: Uplink) -> dict[str, Any]:
    tally, link = uplink.tally, uplink.link
    return {
        "name": uplink.name,
        "state": state_of(uplink),
        "trouble": list(troubles(link)) if link else [],
        "taken_by": link.taken_by or None if link else None,
        "device": link.device if link else None,
        "index": link.index if link else None,
        "lladdr": link.lladdr.hex(":") if link else None,
        "forwarding": link.forwarding if link else None,
        "addresses": sorted(map(text, link.addresses)) if link else [],
        "gateways": sorted(map(text, uplink.gateways)),
        "received": {kind.label: tally.received[kind] for kind in Kind},
        "answered": {kind.label: tally.ended[kind] for kind in Kind},  # the first outcomes mirror the kinds
        "ignored": {reason.label: tally.ended[reason] for reason in IGNORED if tally.ended[reason]},
        "unsolicited": tally.unsolicited,
        "send_errors": sum(tally.send_errors.values()),
        "kernel_drops": tally.kernel_drops,
        "stalled_s": round(tally.stalled_s, 3),
        "last_answer_s": tally.last_answer_s or None,
    }


def _source(entry: Entry) -> dict[str, Any]:
    return {
        "kind": entry.source.kind,
        "name": entry.source.name,
        "uplinks": sorted(entry.source.uplinks) if entry.source.uplinks is not None else None,
        "up": entry.up,
        "last_sync_s": entry.last_sync_s or None,
        "live": len(entry.targets.live),
        "claimed": len(entry.targets.claimed),
    }


def temporary(in_force: InForce) -> list[dict[str, Any]]:
    return [
        {
            "prefix": str(prefix.network),
            "uplink": prefix.uplink or None,
            "remaining_s": None if remaining_s is None else round(remaining_s, 3),
        }
        for prefix, remaining_s in in_force.temporary.remaining().items()
    ]
