"""Which station is confirmed for a gateway: the one that the kernel reached, not one that somebody names."""

import asyncio
import contextlib

import pytest
from frames import ROUTER_LLADDR, lladdr, packed, solicitation
from peer import Peer, Wire

from ndpresponder.lab import wait_until
from ndpresponder.linux.netlink import MAX_SERVED_GATEWAYS, GatewayWatcher, ask_links

GATEWAY, OWN = "fe80::11", "fe80::2"
STRANGER_LLADDR = "02:00:00:00:00:66"


@pytest.fixture
def wire(wire) -> Wire:
    wire.near.ip(f"address add {OWN}/64 dev up0 nodad", f"route add default via {GATEWAY} dev up0")
    return wire


def confirmed(wire: Wire, *commands: str, until: int = 1, deadline_s: float = 3.0) -> list[bytes]:
    """Return the stations that are confirmed while the commands of ip(8) are run, at the latest after the deadline."""
    found: list[bytes] = []

    async def main() -> None:
        (link,) = (await ask_links(["up0"])).values()
        assert link is not None
        watcher = GatewayWatcher(lambda: [link], lambda _, gateway, station: found.append(station))
        task = asyncio.create_task(watcher.run())
        for command in commands:
            await asyncio.sleep(0.3)
            await asyncio.to_thread(wire.near.ip, command)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while len(found) < until and not task.done():
                    await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    with wire.near.enter():
        asyncio.run(main())
    return found


@pytest.mark.parametrize("state", ["reachable", "permanent", "noarp"])
def test_an_entry_that_is_confirmed_is_seen_at_the_start_and_when_it_changes(wire, state):
    entry = f"neighbour replace {GATEWAY} lladdr {ROUTER_LLADDR} dev up0 nud {state}"
    assert confirmed(wire, entry) == [lladdr(ROUTER_LLADDR)]
    assert confirmed(wire)[0] == lladdr(ROUTER_LLADDR)


def test_an_entry_that_a_solicitation_made_up_is_not_confirmed(wire):
    with Peer(wire.far) as peer:
        peer.send(solicitation(OWN, GATEWAY, OWN, ethernet_source=STRANGER_LLADDR, slla=STRANGER_LLADDR))

        def shown() -> str:
            return wire.near.run("ip", "-6", "neigh", "show", GATEWAY, "dev", "up0").stdout

        wait_until(lambda: STRANGER_LLADDR in shown(), 3, "the entry")
        assert any(state in shown() for state in ("STALE", "DELAY", "PROBE"))
        assert confirmed(wire, deadline_s=0.5) == []


def test_a_static_gateway_is_served_however_many_router_advertisements_make_up(wire):
    static = "fe80::ffff:1"
    wire.near.ip(f"route delete default via {GATEWAY} dev up0", f"route add default via {static} dev up0 metric 2000")
    wire.near.ip(*(f"route add default via fe80::1:{n} dev up0 proto ra metric {3000 + n}" for n in range(1, 41)))
    with wire.near.enter():
        (link,) = asyncio.run(ask_links(["up0"])).values()
    assert link is not None
    assert link.served_gateways[0] == packed(static)
    assert len(link.served_gateways) == MAX_SERVED_GATEWAYS
