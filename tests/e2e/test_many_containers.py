"""2,000 containers that start at once, and stop at once, before the installed command and an engine that stands in."""

import re

import pytest
from daemon_process import Installed
from engine_thread import running
from fake_engine import network
from frames import packed, solicitation
from peer import Peer, Wire

from ndpresponder.lab import wait_until

MANY, STEP, BATCH = 2000, 10, 250
TARGETS = [f"2001:db8::{number:x}" for number in range(1, MANY + 1)]
FOLLOW_S = 10.0

pytestmark = pytest.mark.needs("ip")


def answered(wire: Wire, deadline_s: float = 0.1) -> set[bytes]:
    """Solicit every address once and return those that were answered."""
    found: set[bytes] = set()
    with Peer(wire.far) as peer:
        for first in range(0, MANY, BATCH):
            asked = {packed(target) for target in TARGETS[first : first + BATCH]}
            peer.send(*map(solicitation, asked))
            for frame in peer.advertisements(deadline_s):
                if frame[58] & 0x40:  # solicited
                    found.add(frame[62:78])
                if asked <= found:
                    break
    return found


def live(installed: Installed) -> int:
    (count,) = re.findall(r'_addresses\{.*source="docker"\} (\S+)', installed.scrape())
    return int(float(count))


def test_every_one_of_2000_containers_is_answered_for_and_none_when_they_are_gone():
    with running() as (engine, loop), Wire("many") as wire:
        flags = ("-i", "up0", "-N", "web", "--docker-url", f"unix://{engine.path}")
        with Installed(wire.near, *flags) as installed:
            assert answered(wire) == set()
            for count in range(STEP, MANY + 1, STEP):
                containers = network("web", *(f"{target}/112" for target in TARGETS[:count]))
                loop.call_soon_threadsafe(engine.change, containers)
            wait_until(lambda: live(installed) == MANY, FOLLOW_S, "all of them")
            with Peer(wire.far) as peer:
                peer.await_answer(TARGETS[-1])  # the table is built a moment later
            assert answered(wire, 2.0) == {packed(target) for target in TARGETS}
            loop.call_soon_threadsafe(engine.change, network("web"))
            wait_until(lambda: live(installed) == 0, FOLLOW_S, "their end")
            wait_until(lambda: answered(wire) == set(), FOLLOW_S, "silence")
