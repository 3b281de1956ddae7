"""The short version of `make soak`; and that what it looks for would be found."""

from dataclasses import replace

import pytest
from requirements import require
from soak import GROWTH_MAX_KB, Report, soak

SECONDS = 60.0
RATE = 5000  # leaves processors for what else the tests run meanwhile
LOST_WHEN_STARVED = 0.02  # where other work takes the processors even from what goes before others


def test_under_everything_that_changes_nothing_that_stays_is_lost_and_nothing_grows() -> None:
    require("ip")
    report = soak(SECONDS, RATE)
    if report.starved:  # by what else runs on this machine
        report = soak(SECONDS, RATE, seed=1)
    problems = report.problems()
    if report.starved and report.asked["lost"] < LOST_WHEN_STARVED * report.asked["asked"]:
        problems = [problem for problem in problems if not problem.startswith("lost ")]
    assert not problems, str(report)
    assert {"targets", "prefix", "neighbours", "bridge", "uplink_down", "uplink_anew"} <= report.changes.keys()


SOUND = Report(
    asked={"seconds": 10.0, "asked": 200_000, "answered": 200_000, "unexpected": 0, "lost": 0, "missed": 0},
    rss_kb=[(float(second), 40_000 + second % 3) for second in range(30)],
    descriptors=[20, 20],
    wrong={"far0": [], "far1": []},
)
LEAK = [(float(second), 40_000 + second * GROWTH_MAX_KB // 15) for second in range(30)]


def test_a_sound_report_has_no_problems() -> None:
    assert SOUND.problems() == []


@pytest.mark.parametrize(
    "report",
    [
        *(replace(SOUND, asked={**SOUND.asked, word: 1}) for word in ("lost", "unexpected", "missed")),
        replace(SOUND, asked={**SOUND.asked, "asked": 20_000}),
        replace(SOUND, rss_kb=LEAK),
        replace(SOUND, descriptors=[20, 21]),
        replace(SOUND, asked={**SOUND.asked, "lost": 1}, waited_s=1.0),
        replace(SOUND, wrong={"far0": [], "far1": ["2001:db8::1"]}),
    ],
    ids=["lost", "unexpected", "missed", "slow", "memory", "descriptors", "lost though starved", "table"],
)
def test_each_problem_is_found(report: Report) -> None:
    assert len(report.problems()) == 1
