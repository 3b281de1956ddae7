"""What of a source's targets counts on one uplink, and what is left out there, with the reason.

Pure. Among 100,000 live targets only those that are new are looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ndpresponder.policy.table import Prefix
from ndpresponder.targets.scope import Scope, contains
from ndpresponder.targets.source import TargetSet


class Cause(StrEnum):
    """Why a target does not count on an uplink, as it is said to a person."""

    FOREIGN = "it is not in a prefix that is on-link at, or routed to, the uplink"
    OUT_OF_SCOPE = "it is not in what `within` names"
    UNROUTED = "this host would not forward packets for it to where it was found"
    WIRING = "`install_routes` is about to give it its route"
    NEIGHBOR = "a neighbor on the uplink has this address"
    UNEXAMINED = "its route was not asked for yet"


# Live target -> why it does not count, although it is in scope; None: nobody has looked yet
Astray = Mapping[bytes, Cause] | None


@dataclass(frozen=True, slots=True)
class Counted:
    """The part of a source's targets that counts on one uplink."""

    targets: TargetSet  # all of them
    scope: Scope
    astray: Astray
    inside: frozenset[bytes]  # the live ones in scope
    live: frozenset[bytes]
    claimed: frozenset[Prefix]
    own_scope: bool = field(default=False)  # the source's own `within`, not the uplink's

    def left_out(self, target: bytes) -> Cause | None:
        """Return why a target that the source names does not count, None if it does or is not named at all."""
        if target in self.targets.live and target not in self.live:
            if target in self.inside:
                return (self.astray or {}).get(target, Cause.UNEXAMINED)
            return self._outside
        host = Prefix(int.from_bytes(target, "big"), 128)
        if any(contains(prefix, host) for prefix in self.targets.claimed) and not any(
            contains(prefix, host) for prefix in self.claimed
        ):
            return self._outside
        return None

    def left_out_prefix(self, prefix: Prefix) -> Cause | None:
        """Return why nothing of a claimed prefix counts."""
        kept = prefix in self.claimed or any(contains(prefix, each) for each in self.claimed)
        return None if kept else self._outside

    @property
    def _outside(self) -> Cause:
        return Cause.OUT_OF_SCOPE if self.own_scope else Cause.FOREIGN


def count(targets: TargetSet, scope: Scope, astray: Astray, before: Counted | None, own: bool = False) -> Counted:
    """Return what of `targets` counts where `scope` says what belongs; `before` is what counted last."""
    if before is not None and before.scope is scope:
        if before.targets is targets and before.astray is astray:
            return before
        known = before.targets.live & targets.live if before.targets is not targets else targets.live
        inside = before.inside & targets.live if before.targets is not targets else before.inside
        new = targets.live - known
        inside = inside | scope.select(new) if new else inside
        claimed = before.claimed if before.targets is targets else scope.clip(targets.claimed, targets.refused)
    else:
        inside = scope.select(targets.live)
        claimed = scope.clip(targets.claimed, targets.refused)
    live = frozenset() if astray is None else inside.difference(astray) if astray else inside
    return Counted(targets, scope, astray, inside, live, claimed, own)
