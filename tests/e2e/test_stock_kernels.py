"""The fast path on the stock kernels of Debian 12 and 13: tests of tests/netns, run again in machines of their own.

Their verifiers were stricter than later ones, and 6.1 has no tcx.
"""

import shlex

import pytest
import vm

EVERYWHERE = (
    "test_fastpath.py::test_three_capabilities_are_all_it_needs[xdp]",
    "test_fastpath.py::test_the_verifier_objects_in_its_own_words",
    "on_virtio.py::test_the_driver_answers",
)
CASES = {
    "bookworm": (
        *EVERYWHERE,
        "before_tcx.py::test_without_tcx_auto_makes_do_and_says_so_in_one_line",
        "before_tcx.py::test_tcx_ends_it_and_names_what_there_is",
    ),
    "trixie": (
        *EVERYWHERE,
        "test_fastpath.py::test_three_capabilities_are_all_it_needs[tcx]",
    ),
}
DEADLINE_S = 500.0
CARDS = [
    option
    for name in ("a", "b")
    for option in ("-netdev", f"hubport,id={name},hubid=0", "-device", f"virtio-net-pci,netdev={name},romfile=")
]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, vm.Result]:
    """Return how the cases of a suite ended, once they ran."""
    return {}


@pytest.mark.parametrize(("suite", "case"), [(suite, case) for suite, cases in CASES.items() for case in cases])
def test_the_fast_path_of_the_drop_in(outcomes, suite, case):
    if suite not in outcomes:
        script = f"cd /checkout/tests/netns && python3 -m pytest -v --color=no {shlex.join(CASES[suite])}"
        outcomes[suite] = vm.run(suite, script, deadline_s=DEADLINE_S, hardware=CARDS)
    assert f"{case} PASSED" in outcomes[suite].output, outcomes[suite].output
