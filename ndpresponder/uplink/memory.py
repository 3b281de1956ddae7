"""Turn what an uplink remembers of requesters and gateways into octets for a successor, and back.

Pure. The times are those of the system's monotonic clock, which both processes share. Octets that are no memory are
refused here; facts that cannot be true are left out where they are taken over.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ndpresponder.policy.confirmed_gateways import Confirmation
from ndpresponder.policy.known_requesters import KnownRequester

_VERSION: Final = 1
MAX_KNOWN: Final = 4096  # of all uplinks together, those that asked last: some 110 octets each


class Memory(NamedTuple):
    """What one uplink remembers."""

    in_flood: bool
    gateways: list[bytes]
    confirmed: list[Confirmation]
    known: list[KnownRequester]


def encode(memories: Mapping[str, Memory]) -> bytes:
    """Return the memories of some uplinks, by their names, as octets."""
    uplinks = {name: each._asdict() for name, each in memories.items()}
    return json.dumps({"version": _VERSION, "uplinks": uplinks}, default=bytes.hex).encode()


def decode(data: bytes) -> dict[str, Memory]:
    """Return the memories in `data`.

    Raises:
        ValueError: it holds none.
    """
    try:
        whole = json.loads(data)
        if whole["version"] != _VERSION:
            raise ValueError(f"they are of version {whole['version']}")
        return {str(name): _memory(each) for name, each in whole["uplinks"].items()}
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError("they are no memories") from error


def _memory(each: Any) -> Memory:
    return Memory(
        each["in_flood"] is True,
        [bytes.fromhex(gateway) for gateway in each["gateways"]],
        [
            Confirmation(bytes.fromhex(gateway), bytes.fromhex(station), float(last_s))
            for gateway, station, last_s in each["confirmed"]
        ],
        [KnownRequester(bytes.fromhex(who), float(since_s), float(last_s)) for who, since_s, last_s in each["known"]],
    )
