"""How long frames have waited, by a clock that anybody may set meanwhile."""

import math
import struct
import time

import pytest

from ndpresponder.linux.packet.timestamps import has_waited, offset, step_since

NOW_S = 1_800_000_000.0


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 4.0, -4.0])
def test_a_step_between_two_processes_is_found(step_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW_S)
    monkeypatch.setattr(time, "clock_gettime", lambda _: 50.0)
    kept = offset()
    monkeypatch.setattr(time, "time", lambda: NOW_S + 20 + step_s)
    monkeypatch.setattr(time, "clock_gettime", lambda _: 70.0)
    assert step_since(kept) == pytest.approx(step_s)


@pytest.mark.parametrize(
    "kept",
    [b"", b"1234567", struct.pack("=d", math.nan), struct.pack("=d", math.inf), offset()],
    ids=["none", "cut", "no number", "no end", "no step"],
)
def test_without_a_step_or_without_what_is_needed_there_is_none(kept: bytes) -> None:
    assert step_since(kept) == 0.0


FORWARD, BACK = 3600.0, -3600.0
STAMPS = {
    "no step, just received": (0.0, NOW_S, False),
    "no step, the limit": (0.0, NOW_S - 3.0, False),
    "no step, longer": (0.0, NOW_S - 3.01, True),
    "no step, an hour": (0.0, NOW_S - 3600, True),
    "no step, from the future": (0.0, NOW_S + 3600, False),
    "forward, received before it": (FORWARD, NOW_S - FORWARD - 1, False),
    "forward, received long before it": (FORWARD, NOW_S - FORWARD - 10, True),
    "forward, received after it": (FORWARD, NOW_S - 1, False),
    "forward, received long ago but after it": (FORWARD, NOW_S - 10, True),
    "back, received before it": (BACK, NOW_S - BACK - 1, False),
    "back, received long before it": (BACK, NOW_S - BACK - 10, True),
    "back, received after it": (BACK, NOW_S - 1, False),
    "back, received long ago but after it": (BACK, NOW_S - 10, True),
    "back, from the future even so": (BACK, NOW_S - BACK + 10, False),
    "a short one, received before it": (4.0, NOW_S - 5.0, False),
    "a short one, received long before it": (4.0, NOW_S - 8.0, True),
}


@pytest.mark.parametrize(("step_s", "stamp_s", "old"), STAMPS.values(), ids=STAMPS)
def test_a_frame_is_too_old_if_it_is_whenever_the_clock_was_set(step_s: float, stamp_s: float, old: bool) -> None:
    assert has_waited(3.0, NOW_S, step_s, stamp_s) is old
