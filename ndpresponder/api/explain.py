"""Say what would happen to a solicitation for one target, on each uplink, and why.

The outcome is never worked out here: a solicitation is made and put to the uplink's own policy, without any effect.
The words only say what that outcome follows from.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Address
from typing import Any, Final

from ndpresponder.api.snapshot import InForce, state_of, text
from ndpresponder.api.targets import origin, prefix_text
from ndpresponder.config import LimitsConfig, values
from ndpresponder.config.problem import Wrong
from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.netlink import Link
from ndpresponder.linux.other_responders import rivals
from ndpresponder.linux.suitability import troubles
from ndpresponder.outcome import Outcome
from ndpresponder.policy.requester import UplinkState
from ndpresponder.policy.table import Prefix
from ndpresponder.targets.board import Entry
from ndpresponder.uplink.parts import Settings
from ndpresponder.uplink.uplink import Uplink
from ndpresponder.wire.solicitation import detect, probe, solicit

_ROUTER_LLADDRS: Final = (bytes.fromhex("02ffffffff01"), bytes.fromhex("02ffffffff02"))  # made up: one is not ours
_ROUTERS: Final = (bytes.fromhex("fe80" + "ff" * 14), bytes.fromhex("fe80" + "ff" * 13 + "fe"))
_SILENT: Final[Mapping[str, str]] = {
    "missing": "does not exist now: it is waited for",
    "not_ethernet": "is not Ethernet: nobody solicits neighbors there",
    "down": "is down: nothing is received there",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """One uplink, with all that decides there."""

    settings: Settings
    state: str  # as `state_of` says it
    link: UplinkState
    rehearse: Callable[[bytes], Outcome]  # tells how a frame would end
    entries: Sequence[Entry]
    notes: Sequence[str] = ()  # further reasons


def parse_target(raw: object) -> bytes:
    """Return the address that is asked about."""
    network = values.network(raw)
    if "/" in str(raw):
        raise Wrong(f"{raw!r} is a prefix", f"write one address in it, such as {network.network_address}")
    return network.network_address.packed


def judge(scene: Scene, target: bytes) -> dict[str, Any]:
    """Return how a solicitation for `target` ends on this uplink, and why."""
    link = scene.link
    lladdr = next(each for each in _ROUTER_LLADDRS if each != link.lladdr)
    router = next(each for each in _ROUTERS if each != target and each not in link.own_addresses)
    frames = solicit(lladdr, router, target), probe(lladdr, router, target, link.lladdr), detect(lladdr, target)
    outcome, probed, wanted = map(scene.rehearse, frames)
    if scene.state in ("deaf", "not_ethernet") and outcome.answered:
        outcome = probed = wanted = Outcome.NOT_READY
    return {
        "uplink": scene.settings.interface.name,
        "answered": outcome.answered,
        "outcome": outcome.label,
        "probe_outcome": probed.label,
        "dad_outcome": wanted.label,
        "why": list(_why(scene, target, outcome, probed)),
        "dad": _of_dad(outcome, wanted),
        "yet": _limited(scene.settings.limits) if outcome.answered else [],
    }


def _of_dad(outcome: Outcome, wanted: Outcome) -> str | None:
    """Say what happens to another host of the link that wants this address for itself; None if it is not ours."""
    if wanted is Outcome.ANSWERED_DAD:
        return "another host that wants it is told that it is taken, and the log names that host"
    if wanted is Outcome.DAD_POLICY and outcome.answered:
        return f"another host that wants it may have it: {wanted.meaning}"
    return None


def _limited(limits: LimitsConfig) -> list[str]:
    beyond = f"beyond {limits.rate} answers a second, and {limits.burst} at once, it ends as"
    said = f"`rate` limits the answers of an uplink: {beyond} {Outcome.RATE_LIMITED.label}"
    return [said] if limits.rate else []


def _why(scene: Scene, target: bytes, outcome: Outcome, probed: Outcome) -> Iterator[str]:
    interface, link = scene.settings.interface, scene.link
    name = interface.name
    if scene.state in _SILENT:
        yield f"{name} {_SILENT[scene.state]}"
    if target in link.own_addresses:
        yield f"it is an own address of {name}: the kernel answers for it"
    if target in link.gateways:
        yield f"it is a default gateway on {name}: it answers for itself"
    if target in link.anycast:
        yield f"it is the anycast address of the routers of a prefix on {name}: they answer for it"
    for network in interface.exclude:
        if IPv6Address(target) in network:
            yield f"it is excluded by the configuration: {network}"
    ours = list(_whose(scene.entries, name, target))
    yield from ours
    if not ours:
        yield f"no source of targets makes it ours on {name}"
    yield from scene.notes
    if outcome is Outcome.NOT_VERIFIED:
        yield "`verify` has not found it behind this host of late: the next solicitation has it looked for"
    elif outcome in (Outcome.BAD_TARGET, Outcome.LINK_LOCAL_TARGET, Outcome.DRY_RUN):
        yield outcome.meaning
    if probed is Outcome.UNICAST_POLICY:
        yield f"reachability probes are not answered: {probed.meaning}"


def _whose(entries: Iterable[Entry], uplink: str, target: bytes) -> Iterator[str]:
    value = int.from_bytes(target, "big")
    for entry in entries:
        if target in entry.targets.live:
            yield f"it is live: {origin(entry)} says that it is there"
        for prefixes, verb in ((entry.targets.claimed, "claimed"), (entry.targets.refused, "refused")):
            for shift in range(129):
                if (prefix := Prefix(value >> shift << shift, 128 - shift)) in prefixes:
                    yield f"it lies in {prefix_text(prefix)}, {verb} by {origin(entry)}"
        if uplink in entry.counted and (cause := entry.counted[uplink].left_out(target)) is not None:
            yield f"what {origin(entry)} says of it does not count on {uplink}: {cause}"


# Of the running daemon


async def live(in_force: InForce, target: bytes, name: str) -> dict[str, Any]:
    """Return what happens to a solicitation for `target` now on the uplink `name`, or if it is empty on each."""
    links = [uplink.link for uplink in in_force.uplinks.values() if uplink.link]
    uplinks = [uplink for uplink in in_force.uplinks.values() if name in ("", uplink.name)]
    judged = [judge(_scene(in_force, uplink), target) for uplink in uplinks]
    for uplink, each in zip(uplinks, judged, strict=True):
        if each["answered"] and uplink.link:
            each["yet"] += [*_trouble(target, uplink.link, links), *await rivals(uplink.link, uplink.is_ours)]
    return report_of(target, judged)


def report_of(target: bytes, judged: list[dict[str, Any]]) -> dict[str, Any]:
    """Put together what was found on each uplink."""
    answered = any(each["answered"] for each in judged)
    return {"target": text(target), "answered": answered, "uplinks": judged}


def _scene(in_force: InForce, uplink: Uplink) -> Scene:
    link, gateways = uplink.link, uplink.gateways
    facts = UplinkState(bytes(6), gateways=gateways)
    if link:
        facts = UplinkState(link.lladdr, link.addresses, gateways, anycast=link.anycast)
    verified = (lambda asked: uplink.knows(asked) is True) if uplink.knows(b"") is not None else None
    entries = [entry for entry in in_force.board.entries if entry.serves(uplink.name)]
    return Scene(
        uplink.settings,
        state_of(uplink),
        facts,
        partial(uplink.responder.rehearse, is_there=verified),
        entries,
        [*(troubles(link) if link else ()), *(_down(entry) for entry in entries if not entry.up)],
    )


def _down(entry: Entry) -> str:
    said = entry.targets.live or entry.targets.claimed
    kept = "what it said last stays in force" if said else "it may be one of its targets"
    return f"{origin(entry)} cannot be read now: {kept}"


def _trouble(target: bytes, uplink: Link, uplinks: Collection[Link]) -> list[str]:
    """Return why packets for a target that is answered for may still not arrive, as far as the host's routes show."""
    from ndpresponder.linux.netlink.forwarding import Forwarding, IpsecPolicies

    try:
        with contextlib.closing(Forwarding()) as kernel:
            way = kernel.way(target, uplink.index)
    except SourceUnavailable:
        return []  # it is advice, no more
    if way.missing:
        return ["this host has no route to it: packets for it end here"]
    for link in uplinks:
        if link.index == way.link:
            taken = IpsecPolicies().takes(target)
            if taken:
                break
            lacks = f"back out of {link.name}: it lacks a route to where it lives"
            unless = ", unless an IPsec policy takes them, which only CAP_NET_ADMIN may see" if taken is None else ""
            return [f"this host would send packets for it {lacks}{unless}"]
    if not (way.link or way.local):
        return ["this host refuses packets for it: a route makes it unreachable"]
    if way.link and not all(link.forwarding for link in uplinks):
        return ["this host does not forward: sysctl net.ipv6.conf.all.forwarding=1"]
    return []
