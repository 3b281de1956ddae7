"""What is served moves from one address to another, or stays where it is."""

import asyncio
from collections.abc import Callable

import pytest

from ndpresponder.daemon.endpoint import Endpoint
from ndpresponder.errors import SourceUnavailable, SystemRefused

REFUSED = "refused"
SLOW = "slow"


class Served:
    """Remembers which addresses are served now."""

    def __init__(self) -> None:
        self.now: list[str] = []

    async def serve(self, address: str, listening: Callable[[], None]) -> None:
        if address == REFUSED:
            raise SystemRefused("taken")
        if address == SLOW:
            await asyncio.Event().wait()
        assert self.now == [], "the old address is free before the new one is tried"
        self.now.append(address)
        listening()
        try:
            await asyncio.Event().wait()
        finally:
            self.now.remove(address)


def moved(*addresses: str) -> list[list[str]]:
    """Return what is served after each move."""

    async def run() -> list[list[str]]:
        served = Served()
        endpoint = Endpoint(served.serve, asyncio.create_task, lambda *_: None)
        after = []
        for address in addresses:
            if address == REFUSED:
                with pytest.raises(SystemRefused):
                    await endpoint.move(address)
            else:
                await endpoint.move(address)
            after.append(list(served.now))
        await endpoint.close()
        assert served.now == []
        return after

    return asyncio.run(run())


def test_it_moves_and_ends() -> None:
    assert moved("a", "b", "b", "", "c") == [["a"], ["b"], ["b"], [], ["c"]]


def test_where_it_is_refused_it_stays_as_it_was() -> None:
    assert moved("a", REFUSED, "b") == [["a"], ["a"], ["b"]]
    assert moved(REFUSED, "b") == [[], ["b"]]


@pytest.mark.parametrize("turns", [0, 3])
@pytest.mark.parametrize(("wanted", "expected"), [("b", ["b"]), ("", [])])
def test_what_does_not_listen_yet_gives_way_to_what_is_wanted_by_now(
    turns: int, wanted: str, expected: list[str]
) -> None:
    async def run() -> list[str]:
        served = Served()
        endpoint = Endpoint(served.serve, asyncio.create_task, lambda *_: None)
        pending = asyncio.create_task(endpoint.move(SLOW))
        for _ in range(turns + 1):
            await asyncio.sleep(0)
        await endpoint.move(wanted)
        with pytest.raises(asyncio.CancelledError):
            await pending
        now = list(served.now)
        await endpoint.close()
        return now

    assert asyncio.run(run()) == expected


def test_what_fails_for_now_is_told_and_tried_again_while_nobody_waits() -> None:
    async def run() -> tuple[list[str], list[str]]:
        served, told = Served(), list[str]()

        async def serve(address: str, listening: Callable[[], None]) -> None:
            if not told:
                raise SourceUnavailable("not now")
            await served.serve(address, listening)

        endpoint = Endpoint(serve, asyncio.create_task, lambda error, _: told.append(str(error)))
        await endpoint.move("a")
        at_first = list(served.now)
        async with asyncio.timeout(5):
            while not served.now:
                await asyncio.sleep(0.01)
        await endpoint.close()
        return at_first, told

    assert asyncio.run(run()) == ([], ["not now"])
