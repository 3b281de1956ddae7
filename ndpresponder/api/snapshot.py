"""Take what the daemon is doing as data, in one turn of the loop, so that it adds up.

`/metrics`, `/status` and the status line of systemd read the same snapshot. A tally in it goes on counting: read it
before the next turn. This module imports nothing but what the daemon has imported anyway.
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from socket import AF_INET6, inet_ntop
from typing import Any, Protocol

from ndpresponder import __version__
from ndpresponder.config import Config
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.suitability import deafness, troubles
from ndpresponder.observe.logs import Logs
from ndpresponder.observe.tally import Tally
from ndpresponder.outcome import Kind, Outcome
from ndpresponder.targets.board import Entry, TargetBoard
from ndpresponder.targets.sources.temporary import TemporaryPrefixes
from ndpresponder.uplink.uplink import Uplink

Change = Callable[[], Awaitable[str | None]]  # returns what is wrong, None when it is done


class InForce(Protocol):
    """The configuration in force, and all that it amounts to."""

    config: Config
    uplinks: dict[str, Uplink]
    board: TargetBoard
    temporary: TemporaryPrefixes


@dataclass(frozen=True, slots=True)
class Reading:
    """How the last reading of the configuration went."""

    started_s: float  # Unix time when the daemon started
    loaded_s: float  # Unix time of the last successful reading
    problem: str = ""  # why the last one failed
    file: str = ""  # empty: flags and environment only


@dataclass(frozen=True, slots=True)
class DaemonHandle:
    """All that the API reads of the daemon, and has it do."""

    in_force: InForce
    reading: Callable[[], Reading]
    ready: Callable[[], tuple[bool, str]]
    logs: Logs
    reload: Change
    upgrade: Change


@dataclass(frozen=True, slots=True)
class UplinkSnapshot:
    """One uplink."""

    name: str
    state: str  # as `state_of` says it
    link: Link | None
    gateways: frozenset[bytes]
    tally: Tally


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The daemon in one turn of the loop."""

    config: Config
    reading: Reading
    uplinks: tuple[UplinkSnapshot, ...]
    sources: tuple[Entry, ...]
    generation: int = 0


def text(address: bytes) -> str:
    """Write 16 octets as an address."""
    return inet_ntop(AF_INET6, address)


def state_of(uplink: Uplink) -> str:
    """Return `answering`, `stalled`, `deaf`, `down`, `not_ethernet` or `missing`."""
    if uplink.stalled:
        return "stalled"
    if uplink.link is None:
        return "not_ethernet" if uplink.log.unfit else "missing"
    return "answering" if uplink.ready else "down" if not uplink.link.up else "deaf"


def take(in_force: InForce, reading: Reading) -> Snapshot:
    """Take a snapshot, with the counters as they were collected last."""
    uplinks = in_force.uplinks.values()
    return Snapshot(
        in_force.config,
        reading,
        tuple(UplinkSnapshot(each.name, state_of(each), each.link, each.gateways, each.tally) for each in uplinks),
        tuple(in_force.board.entries),
        in_force.board.generation,
    )


def collect(daemon: DaemonHandle) -> Snapshot:
    """Collect the kernel's counters and take a snapshot."""
    for uplink in daemon.in_force.uplinks.values():
        uplink.collect()
    return take(daemon.in_force, daemon.reading())


def status_line(snapshot: Snapshot) -> str:
    """Say for systemd which uplinks are answered on, leave frames waiting, hear nothing, or are not there."""
    answering, stalled, deaf, waiting = [], [], [], []
    for uplink in snapshot.uplinks:
        if uplink.state == "answering":
            answering.append(uplink.name)
        elif uplink.state == "stalled":
            stalled.append(uplink.name)
        elif uplink.link and not uplink.link.hears:
            deaf.append(f"{uplink.name} ({deafness(uplink.link)})")
        else:
            waiting.append(uplink.name)
    parts = (
        ("answering on", answering),
        ("frames wait unread on", stalled),
        ("hearing nothing on", deaf),
        ("waiting for", waiting),
        ("configuration not reloaded:", snapshot.reading.problem.splitlines()[:1]),
    )
    return "; ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names)


def status(daemon: DaemonHandle) -> dict[str, Any]:
    """Return what the daemon is, how it fares and what it counted."""
    snapshot = collect(daemon)
    reading = snapshot.reading
    return {
        "version": __version__,
        "pid": os.getpid(),
        "started_s": reading.started_s,
        "dry_run": snapshot.config.dry_run,
        "configuration": {
            "file": reading.file or None,
            "loaded_s": reading.loaded_s,
            "problem": reading.problem or None,
        },
        "log_level": daemon.logs.level,
        "generation": snapshot.generation,
        "uplinks": [_uplink(uplink) for uplink in snapshot.uplinks],
        "sources": [_source(entry) for entry in snapshot.sources],
        "temporary": temporary(daemon),
    }


def _uplink(uplink: UplinkSnapshot) -> dict[str, Any]:
    tally, link = uplink.tally, uplink.link
    return {
        "name": uplink.name,
        "state": uplink.state,
        "trouble": list(troubles(link)) if link else [],
        "taken_by": link.taken_by or None if link else None,
        "device": link.device if link else None,
        "index": link.index if link else None,
        "lladdr": link.lladdr.hex(":") if link else None,
        "forwarding": link.forwarding if link else None,
        "addresses": sorted(map(text, link.addresses)) if link else [],
        "gateways": sorted(map(text, uplink.gateways)),
        "received": {kind.label: tally.received[kind] for kind in Kind},
        "answered": {kind.label: tally.ended[Outcome[f"ANSWERED_{kind.name}"]] for kind in Kind},
        "ignored": {
            outcome.label: tally.ended[outcome] for outcome in Outcome if not outcome.answered and tally.ended[outcome]
        },
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


def temporary(daemon: DaemonHandle) -> list[dict[str, Any]]:
    """Return the temporary prefixes."""
    return [
        {
            "prefix": str(prefix.network),
            "uplink": prefix.uplink or None,
            "remaining_s": None if remaining_s is None else round(remaining_s, 3),
        }
        for prefix, remaining_s in daemon.in_force.temporary.remaining().items()
    ]
