"""How much of a flood is read next, by what was read since the last look."""

import asyncio

import pytest

from ndpresponder.linux.loop import frame_loop
from ndpresponder.linux.packet.sender import BATCH
from ndpresponder.offload import reading
from ndpresponder.offload.flood_program import Shares
from ndpresponder.offload.reading import Read, Reading
from ndpresponder.policy.confirmed_gateways import ConfirmedGateways
from ndpresponder.policy.known_requesters import KnownRequesters
from ndpresponder.policy.overload import Overload

IDLE = Read(at_s=0.1, waited_s=0.05, frames=6400, batches=100, from_known=6400, from_guarded=0, crowded=0)


def clock() -> float:
    return 0.0


@pytest.fixture
def overload() -> Overload:
    return Overload(KnownRequesters(clock), ConfirmedGateways(clock), {}, clock)


def test_where_each_time_found_a_batch_the_time_tells_how_much_can_be_read() -> None:
    assert IDLE.busy == pytest.approx(1 / 2)


def test_where_each_time_found_a_frame_more_can_be_read_than_the_time_tells() -> None:
    assert IDLE._replace(batches=IDLE.frames).busy < 1 / 4


@pytest.mark.parametrize("crowded", [0, 640, 1600, 6400])
def test_what_came_too_fast_for_a_part_of_the_time_is_read_less_by_that_part(overload: Overload, crowded: int) -> None:
    chosen = Reading(overload)
    chosen.in_force = Shares(1 / 4, 1 / 4, 1 / 4)
    assert chosen.adapt(IDLE._replace(crowded=crowded))
    times = max(reading._LESS, 1 - crowded / IDLE.frames) if crowded else reading._BUSY * 2
    assert chosen.shares.known == pytest.approx(times / 4)


def test_a_pause_of_the_flood_changes_nothing(overload: Overload) -> None:
    chosen = Reading(overload)
    before = chosen.shares
    assert not chosen.adapt(IDLE._replace(frames=0, batches=0, from_known=0))
    assert chosen.shares == before


def test_a_look_tells_what_was_read_since_the_last_one(overload: Overload) -> None:
    async def main() -> None:
        looks = Reading(overload)
        looks.look(1.0)
        overload.frames, overload.batches, overload.total = BATCH, 1, 3
        read = looks.look(1.5)
        assert (read.at_s, read.frames, read.batches, read.crowded) == (0.5, BATCH, 1, 3)
        assert looks.look(1.5).frames == 0

    with asyncio.Runner(loop_factory=frame_loop) as runner:
        runner.run(main())
