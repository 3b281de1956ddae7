"""What only the kernel's bad moments show: a pin that is cancelled midway, routes that change while they are read."""

import asyncio
import contextlib

import pytest
from sample_link import LINK
from sample_responder import addresses
from structlog.testing import capture_logs

from ndpresponder.gateway import pin
from ndpresponder.gateway.pin import GatewayPin
from ndpresponder.linux.netlink import own_entries
from ndpresponder.linux.netlink.asking import Interrupted
from ndpresponder.linux.netlink.own_entries import HostRoute
from ndpresponder.observe.logs import get_logger
from ndpresponder.targets.installed_routes import Autowire

(GATEWAY,) = LINK.gateways
(TARGET,) = addresses("2001:db8::c1")


def test_a_pin_that_is_cancelled_midway_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    released = []

    async def find_pin(index: int, address: bytes) -> None: ...

    async def never_told(index: int, address: bytes, lladdr: bytes) -> bool:
        return await asyncio.get_running_loop().create_future()

    async def unpin(index: int, address: bytes) -> None:
        released.append((index, address))

    for stand_in in (find_pin, unpin):
        monkeypatch.setattr(pin, stand_in.__name__, stand_in)
    monkeypatch.setattr(pin, "pin", never_told)

    async def run() -> None:
        gateway_pin = GatewayPin(lambda: LINK, lambda frames: None, get_logger())
        gateway_pin._gateways[LINK.index, GATEWAY].answers[bytes(6)] = 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await gateway_pin._hold(LINK)
        await gateway_pin.release()

    asyncio.run(run())
    assert released == [(LINK.index, GATEWAY)]


@pytest.mark.parametrize(("interruptions", "left"), [(0, 0), (2, 0), (3, 1)])
def test_cleaning_does_not_give_up_at_once(interruptions: int, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    routes = {HostRoute(TARGET, 7)}
    answers = iter([Interrupted] * interruptions)

    async def installed_routes() -> set[HostRoute]:
        for interruption in answers:
            raise interruption
        return set(routes)

    async def remove_route(route: HostRoute) -> None:
        routes.remove(route)

    for stand_in in (installed_routes, remove_route):
        monkeypatch.setattr(own_entries, stand_in.__name__, stand_in)
    with capture_logs() as logs:
        asyncio.run(Autowire(dict, list, get_logger()).clean())
    assert len(routes) == left
    assert any("may be left" in entry["event"] for entry in logs) == bool(left)


@pytest.mark.parametrize("name", ["eth\0", "\ud800", "x" * 100, ""])
def test_a_target_behind_a_name_that_is_none_gets_no_route(name: str) -> None:
    assert Autowire(lambda: {TARGET: name}, list, get_logger())._wanted() == frozenset()
