"""List the targets for a client, one JSON object a line, in pieces: there may be 100,000 of them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from ndpresponder.api.snapshot import InForce, text
from ndpresponder.policy.table import Match, Prefix
from ndpresponder.targets.board import Entry
from ndpresponder.uplink.uplink import Uplink

_Target = TypeVar("_Target", bytes, Prefix)

_PIECE: Final = 250  # lines: about a millisecond


def prefix_text(prefix: Prefix) -> str:
    return f"{text(prefix.value.to_bytes(16, 'big'))}/{prefix.length}"


def origin(entry: Entry) -> str:
    """Name a source for a person."""
    kind, name = entry.source.kind, entry.source.name
    return {"static": "the configuration", "temporary": "a temporary prefix"}.get(kind, f"{kind} {name}")


class _Shown:
    """The part of one uplink that decides about targets, as it is when the listing begins."""

    def __init__(self, uplink: Uplink) -> None:
        self.name = uplink.name
        self._table, self._never = uplink.responder.table, uplink.responder.never
        policy, verifies = uplink.settings.policy, uplink.settings.verify
        # Another host that wants such a target is told that it is taken, a verified one once it was found
        self.defended = [match for match in (Match.LIVE, Match.CLAIMED) if policy.defends(match, verifies)]

    def answers(self, target: bytes) -> bool:
        """Tell whether a live target is answered for."""
        match = self._table.match(target, int.from_bytes(target, "big"))
        return match is Match.LIVE and target not in self._never


def listing(in_force: InForce) -> Iterator[bytes]:
    """Yield what is live, claimed, refused and excluded, one JSON object a line, as it is when the first is read."""
    lines = _lines(in_force)
    while piece := list(islice(lines, _PIECE)):
        yield "".join(piece).encode()


def _lines(in_force: InForce) -> Iterator[str]:
    entries = tuple(in_force.board.entries)
    sets = [entry.targets for entry in entries]
    shown = [_Shown(uplink) for uplink in in_force.uplinks.values()]
    excluded = list(_excluded(in_force, shown))
    for target, owners in _owned(entries, [known.live for known in sets]):
        serving = _serving(shown, owners)
        on = [each for each in serving if each.answers(target)]
        left_out = _left_out([each for each in serving if each not in on], owners, target)
        yield _line(text(target), "live", map(origin, owners), on, Match.LIVE, left_out)
    for prefix, owners in _owned(entries, [known.claimed for known in sets]):
        serving = _serving(shown, owners)
        left_out = _left_out(serving, owners, prefix)
        on = [each for each in serving if each.name not in left_out]
        yield _line(prefix_text(prefix), "claimed", map(origin, owners), on, Match.CLAIMED, left_out)
    for prefix, owners in _owned(entries, [known.refused for known in sets]):
        on = _serving(shown, owners)
        yield _line(prefix_text(prefix), "refused", map(origin, owners), on, Match.NOT_OURS, {})
    yield from excluded


def _owned(entries: Sequence[Entry], sets: Sequence[frozenset[_Target]]) -> Iterator[tuple[_Target, list[Entry]]]:
    """Yield each element of the sets once, with the entries whose sets hold it."""
    for number, known in enumerate(sets):
        for element in known:
            if not any(element in earlier for earlier in sets[:number]):
                yield element, [entries[at] for at in range(number, len(sets)) if element in sets[at]]


def _excluded(in_force: InForce, shown: Iterable[_Shown]) -> Iterator[str]:
    for each in shown:
        uplink = in_force.uplinks[each.name]
        for network in uplink.settings.interface.exclude:
            yield _line(str(network), "excluded", ("the configuration",), [each], Match.NOT_OURS, {})
        own, anycast = (uplink.link.addresses, uplink.link.anycast) if uplink.link else (frozenset(), frozenset())
        causes = ("an own address", own), ("a gateway", uplink.gateways), ("the routers of a subnet", anycast)
        for cause, addresses in causes:
            for address in sorted(addresses):
                yield _line(text(address), "excluded", (cause,), [each], Match.NOT_OURS, {})


def _serving(shown: Iterable[_Shown], owners: Iterable[Entry]) -> list[_Shown]:
    return [each for each in shown if any(owner.serves(each.name) for owner in owners)]


def _left_out(uplinks: Iterable[_Shown], owners: Iterable[Entry], target: bytes | Prefix) -> dict[str, str]:
    """Return on which of some uplinks nothing makes a target count, and why."""
    found: dict[str, str] = {}
    for name in (uplink.name for uplink in uplinks):
        causes = [owner.counted[name].left_out(target) for owner in owners if name in owner.counted]
        if causes and all(causes):
            found[name] = str(causes[0])
    return found


def _line(
    target: str, state: str, origins: Iterable[str], on: list[_Shown], match: Match, left_out: Mapping[str, str]
) -> str:
    said: dict[str, Any] = {"target": target, "state": state, "origins": [*origins]}
    said["uplinks"] = [each.name for each in on]
    said["defended"] = [each.name for each in on if match in each.defended]
    return json.dumps(said | ({"left_out": left_out} if left_out else {})) + "\n"
