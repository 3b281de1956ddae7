"""What reads what others wrote takes any octets: those that were once worth keeping, and new ones for some seconds."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import loops
import pytest
from fuzz import HERE, NAMES, corpus, fuzz, subject

SECONDS = 2
PROCESSES = 2
CORPUS_MAX = 500_000
WORTH_KEEPING = 5
NO_ATHERIS = "needs atheris, which has wheels for x86_64 and some versions of Python only"


@pytest.fixture(autouse=True, scope="module")
def loop() -> Iterator[None]:
    yield
    loops.close()


@pytest.mark.parametrize("name", NAMES)
def test_what_was_worth_keeping_ends_well(name: str) -> None:
    kept = corpus(name)
    assert len(kept) >= WORTH_KEEPING
    for octets in (*subject(name).SEEDS, *kept):
        subject(name).check(octets)


def test_the_corpus_is_small_and_of_subjects_that_exist() -> None:
    files = list((HERE / "corpus").iterdir())
    assert {file.name for file in files} == {f"{name}.hex" for name in NAMES}
    assert sum(file.stat().st_size for file in files) < CORPUS_MAX


def test_guided_by_coverage_nothing_is_found_in_seconds() -> None:
    pytest.importorskip("atheris", reason=NO_ATHERIS)
    with ThreadPoolExecutor(PROCESSES) as pool:
        failures = list(filter(None, pool.map(partial(fuzz, seconds=SECONDS), NAMES)))
    assert not failures, "\n\n".join(failures)


BROKEN = """
SEEDS, DICTIONARY = (b"seed",), (b"word",)

def check(octets):
    assert octets[:1] != b"!" or octets[1:2] != b"?"
"""


def test_an_input_that_fails_is_found_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fuzzer that notices nothing would pass all the others."""
    pytest.importorskip("atheris", reason=NO_ATHERIS)
    (tmp_path / "of_broken.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    failure = fuzz("broken", seconds=20)
    assert failure is not None
    assert b"!?".hex() in failure
    assert "AssertionError" in failure
