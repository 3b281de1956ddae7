"""A stall lasts while frames wait and none is taken: not on an idle link, not under load, not for a single look."""

import pytest

from ndpresponder.config import InterfaceConfig
from ndpresponder.observe.uplink_log import UplinkLog
from ndpresponder.uplink.frames import Stall


class Ring:
    """Stands in for `PacketSocket`."""

    def __init__(self) -> None:
        self.waiting = True
        self.slots_taken = 5
        self.sought = 0

    def seek_anew(self) -> None:
        self.sought += 1


class Looking:
    """A stall, looked for on a clock of ours."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.ring = Ring()
        self._stall = Stall(UplinkLog(InterfaceConfig("up0")), lambda: self.now_s)

    def after(self, seconds: float, ring: Ring | None = None) -> float:
        self.now_s += seconds
        return self._stall.look(ring or self.ring)  # type: ignore[arg-type]

    def without_ring(self, seconds: float) -> float:
        self.now_s += seconds
        return self._stall.look(None)


@pytest.fixture
def looking() -> Looking:
    return Looking()


def test_it_is_as_long_as_it_was_seen(looking: Looking) -> None:
    assert [looking.after(7), looking.after(0.4), looking.after(0.4), looking.after(2)] == pytest.approx(
        [0, 0.4, 0.8, 2.8]
    )
    assert looking.ring.sought == 2


@pytest.mark.parametrize("ends", ["none waits", "some were taken", "the ring is not read"])
def test_it_begins_anew_when(looking: Looking, ends: str) -> None:
    looking.after(1)
    assert looking.after(1) == 1
    if ends == "none waits":
        looking.ring.waiting = False
        assert looking.after(1) == 0
        looking.ring.waiting = True
    elif ends == "some were taken":
        looking.ring.slots_taken += 1
    else:
        assert looking.without_ring(1) == 0
    assert looking.after(1) == 0
    assert looking.after(0.25) == 0.25


def test_a_link_without_frames_stalls_never(looking: Looking) -> None:
    looking.ring.waiting = False
    assert [looking.after(3600) for _ in range(3)] == [0, 0, 0]
