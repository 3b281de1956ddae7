"""What the daemon is doing, as data: read in one turn of the loop, so that it adds up, or in pieces if it is long."""

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from socket import AF_INET6, inet_ntop
from typing import Any, Final, TypeVar

from ndpresponder import __version__
from ndpresponder.api.subject import Subject
from ndpresponder.linux.suitability import troubles
from ndpresponder.outcome import Kind, Outcome
from ndpresponder.policy.dad_defence import defends
from ndpresponder.policy.table import Match, Prefix
from ndpresponder.targets.board import Entry
from ndpresponder.uplink.uplink import Uplink

_Target = TypeVar("_Target", bytes, Prefix)

_PIECE: Final = 250  # lines: about a millisecond


def text(address: bytes) -> str:
    """Write 16 octets as an address."""
    return inet_ntop(AF_INET6, address)


def prefix_text(prefix: Prefix) -> str:
    """Write a prefix."""
    return f"{text(prefix.value.to_bytes(16, 'big'))}/{prefix.length}"


def status(subject: Subject) -> dict[str, Any]:
    """Return what the daemon is, how it fares and what it counted."""
    loaded, board = subject.loaded(), subject.board()
    return {
        "version": __version__,
        "pid": os.getpid(),
        "started_s": subject.started_s,
        "dry_run": loaded.config.dry_run,
        "configuration": {"file": loaded.file or None, "loaded_s": loaded.loaded_s, "problem": loaded.problem},
        "log_level": subject.logs.level,
        "generation": board.generation,
        "uplinks": [_uplink(uplink) for uplink in subject.uplinks()],
        "sources": [_source(entry) for entry in board.entries],
        "temporary": temporary(subject),
    }


def state_of(uplink: Uplink) -> str:
    """Return `answering`, `stalled`, `deaf`, `down`, `not_ethernet` or `missing`."""
    if uplink.stalled:
        return "stalled"
    if uplink.link is None:
        return "not_ethernet" if uplink.log.unfit else "missing"
    return "answering" if uplink.ready else "down" if not uplink.link.up else "deaf"


def _uplink(uplink: Uplink) -> dict[str, Any]:
    uplink.collect()
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


def temporary(subject: Subject) -> list[dict[str, Any]]:
    """Return the temporary prefixes."""
    return [
        {
            "prefix": str(prefix.network),
            "uplink": prefix.uplink or None,
            "remaining_s": None if remaining_s is None else round(remaining_s, 3),
        }
        for prefix, remaining_s in subject.temporary.remaining().items()
    ]


def origin(entry: Entry) -> str:
    """Name a source for a person."""
    kind, name = entry.source.kind, entry.source.name
    return {"static": "the configuration", "temporary": "a temporary prefix"}.get(kind, f"{kind} {name}")


class _Shown:
    """What is answered for on one uplink."""

    def __init__(self, uplink: Uplink) -> None:
        self.name = uplink.name
        self._table = uplink.responder.table
        self._never = uplink.responder.never
        self._dad = uplink.settings.policy.dad
        self._verifies = uplink.settings.verify

    def defends(self, match: Match) -> bool:
        """Tell whether another host that wants such a target is told that it is taken; verified ones once found."""
        return defends(self._dad, match, self._verifies)

    def answers(self, target: bytes) -> bool:
        """Tell whether a live target is answered for."""
        match = self._table.match(target, int.from_bytes(target, "big"))
        return match is Match.LIVE and target not in self._never


def targets(subject: Subject) -> Iterator[bytes]:
    """Yield what is live, claimed, refused and excluded, one JSON object a line, as it is when the first is read."""
    lines = _lines(subject)
    while piece := list(islice(lines, _PIECE)):
        yield "".join(piece).encode()


def _lines(subject: Subject) -> Iterator[str]:
    entries = tuple(subject.board().entries)
    sets = [entry.targets for entry in entries]
    shown = [_Shown(uplink) for uplink in subject.uplinks()]
    excluded = list(_excluded(subject))
    for target, owners in _owned(entries, [known.live for known in sets]):
        on = [each.name for each in shown if _serve(owners, each.name) and each.answers(target)]
        left_out = _left_out(owners, [each.name for each in shown if each.name not in on], target)
        yield _line(text(target), "live", map(origin, owners), on, _defended(shown, on, Match.LIVE), left_out)
    for state, match, groups in (
        ("claimed", Match.CLAIMED, [known.claimed for known in sets]),
        ("refused", Match.NOT_OURS, [known.refused for known in sets]),
    ):
        for prefix, owners in _owned(entries, groups):
            serving = [each.name for each in shown if _serve(owners, each.name)]
            left_out = _left_out(owners, serving, prefix) if match else {}
            on = [name for name in serving if name not in left_out]
            defended = _defended(shown, on, match) if match else ()
            yield _line(prefix_text(prefix), state, map(origin, owners), on, defended, left_out)
    yield from excluded


def _owned(entries: Sequence[Entry], sets: Sequence[frozenset[_Target]]) -> Iterator[tuple[_Target, list[Entry]]]:
    """Yield each element of the sets once, with the entries whose sets hold it."""
    for number, known in enumerate(sets):
        for element in known:
            if not any(element in earlier for earlier in sets[:number]):
                yield element, [entries[at] for at in range(number, len(sets)) if element in sets[at]]


def _excluded(subject: Subject) -> Iterator[str]:
    for interface in subject.loaded().config.interfaces:
        for network in interface.exclude:
            yield _line(str(network), "excluded", ("the configuration",), (interface.name,))
    for uplink in subject.uplinks():
        own, anycast = (uplink.link.addresses, uplink.link.anycast) if uplink.link else (frozenset(), frozenset())
        for what, addresses in (
            ("an own address", own),
            ("a gateway", uplink.gateways),
            ("the routers of a subnet", anycast),
        ):
            for address in sorted(addresses):
                yield _line(text(address), "excluded", (what,), (uplink.name,))


def _serve(owners: Iterable[Entry], uplink: str) -> bool:
    return any(owner.serves(uplink) for owner in owners)


def _defended(shown: Iterable[_Shown], on: Collection[str], match: Match) -> list[str]:
    return [each.name for each in shown if each.name in on and each.defends(match)]


def _left_out(owners: Iterable[Entry], uplinks: Iterable[str], target: bytes | Prefix) -> dict[str, str]:
    """Return on which of some uplinks nothing makes a target count, and why."""
    found: dict[str, str] = {}
    for uplink in uplinks:
        known = [owner.counted[uplink] for owner in owners if uplink in owner.counted and owner.serves(uplink)]
        causes = [each.left_out(target) for each in known]
        if causes and all(causes):
            found[uplink] = str(causes[0])
    return found


def _line(
    target: str,
    state: str,
    origins: Iterable[str],
    uplinks: Iterable[str],
    defended: Iterable[str] = (),
    left_out: Mapping[str, str] | None = None,
) -> str:
    said = {"target": target, "state": state, "origins": [*origins], "uplinks": [*uplinks], "defended": [*defended]}
    return json.dumps(said | ({"left_out": left_out} if left_out else {})) + "\n"
