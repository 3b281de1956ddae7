"""What is known of requesters goes to a successor whole, and nothing that is wrong is believed."""

import json

import pytest
from frames import ROUTER_LLADDR, lladdr, packed, solicitation
from sample_responder import GATEWAY

from ndpresponder.linux.memory_file import MOST
from ndpresponder.observe.tally import Tally
from ndpresponder.policy.confirmed_gateways import Confirmation
from ndpresponder.policy.known_requesters import MAX_REQUESTERS, KnownRequester, KnownRequesters
from ndpresponder.uplink.requesters import (
    MAX_GATEWAYS,
    MAX_KNOWN,
    Memory,
    Requesters,
    decode_memories,
    encode_memories,
)
from ndpresponder.wire.layout import REQUESTER

STATION = lladdr(ROUTER_LLADDR)
ROUTER = solicitation()[REQUESTER]


def handed_over(memories: dict[str, Memory]) -> dict[str, Memory]:
    return decode_memories(encode_memories(memories))


class Scene:
    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s
        self.requesters = Requesters(KnownRequesters(lambda: self.now_s), lambda _: None, Tally(), lambda: self.now_s)


def test_a_successor_knows_what_its_predecessor_knew() -> None:
    before, after = Scene(), Scene(1001.0)
    before.requesters.known.meet(ROUTER)
    before.requesters.confirmed.confirm(packed(GATEWAY), STATION)
    before.requesters.gateways.restore([packed(GATEWAY)])
    before.requesters.overload.flooded = True
    memories = handed_over({"up0": before.requesters.remember(100), "up1": Memory(False, [], [], [])})
    after.requesters.restore(memories["up0"])
    assert memories["up1"] == Memory(False, [], [], [])
    assert after.requesters.was_flooded
    assert list(after.requesters.known.since_s) == [ROUTER]
    assert after.requesters.confirmed.stations == {STATION: {packed(GATEWAY)}}
    assert list(after.requesters.gateways.seen_s) == [packed(GATEWAY)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[1]",
        b"\xff",
        b"[" * 100_000,
        b'{"version": 2, "uplinks": {}}',
        b'{"version": 1, "uplinks": {"up0": []}}',
        b'{"version": 1, "uplinks": [1]}',
        b'{"version": 1, "uplinks": {"up0": {"in_flood": 1, "gateways": ["x"], "confirmed": [], "known": []}}}',
        b'{"version": 1, "uplinks": {"up0": {"in_flood": 1, "gateways": [], "confirmed": [1], "known": []}}}',
        b'{"version": 1, "uplinks": {"up0": {"in_flood": 1, "gateways": [], "confirmed": [], "known": [1]}}}',
    ],
)
def test_what_is_no_memory_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode_memories(data)


def test_what_cannot_be_true_is_left_out() -> None:
    known = [
        KnownRequester(ROUTER, 1.0, 5000.0),
        KnownRequester(b"short", 1.0, 2.0),
        KnownRequester(bytes(32), 1.0, 2.0),
    ]
    confirmed = [Confirmation(b"", STATION, 1.0), Confirmation(packed(GATEWAY), b"", 1.0)]
    scene = Scene()
    scene.requesters.restore(handed_over({"up0": Memory(False, [b"", packed(GATEWAY)], confirmed, known)})["up0"])
    assert len(scene.requesters.known.since_s) == 0
    assert not scene.requesters.confirmed.stations
    assert list(scene.requesters.gateways.seen_s) == [packed(GATEWAY)]


def test_the_largest_memory_has_room() -> None:
    scene = Scene()
    for number in range(MAX_REQUESTERS):
        scene.requesters.known.meet(b"\x02\xbb" + number.to_bytes(4, "big") + ROUTER[6:])
    scene.requesters.gateways.restore([number.to_bytes(16, "big") for number in range(MAX_GATEWAYS)])
    uplinks = 8
    each = scene.requesters.remember(MAX_KNOWN // uplinks)
    assert len(encode_memories({f"interface{number}": each for number in range(uplinks)})) < MOST
    assert json.loads(encode_memories({"up0": each}))
