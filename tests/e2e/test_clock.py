"""A step of the clock costs no answer: in a throw-away machine, whose clock may be set."""

import re

import vm

SCRIPT = """
ln -s /usr/local/bin/ndpresponder /usr/bin/
modprobe veth
ndpresponder check -q -i up0 -n 2001:db8::/112  # compiles what is slow to start here
export THROW_AWAY_MACHINE=1
exec python3 -m pytest -q --color=no -p no:cacheprovider /checkout/tests/e2e/steps_of_clock.py
"""


def test_a_step_of_the_clock_makes_nothing_too_old_and_no_duration_of_hours() -> None:
    result = vm.run("trixie", SCRIPT, deadline_s=600)
    assert re.search(r"\b15 passed", result.output), result.output
    assert result.exit_code == 0
