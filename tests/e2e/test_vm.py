"""The machines with stock kernels, by themselves: what a script prints, its files, its end, and what ends it."""

import pytest
import vm

SCRIPT = """#!/usr/bin/python3
import os, sys
from pathlib import Path
from ndpresponder import __version__
print(os.uname().release, os.getuid(), Path("given/text").read_text(), Path("octets").read_bytes(), __version__)
sys.exit(3)
"""


def test_a_script_runs_as_root_on_the_stock_kernel_with_its_files_and_the_checkout():
    result = vm.run("bookworm", SCRIPT, files={"given/text": "told", "octets": b"\1"})
    assert result.exit_code == 3
    release, user, text, octets, version = result.output.split()
    assert release.startswith(vm.SUITES["bookworm"])
    assert (user, text, octets) == ("0", "told", repr(b"\1"))
    assert version


def test_a_script_that_does_not_end_is_stopped_at_the_deadline():
    with pytest.raises(TimeoutError, match=r"no end after 0\.2 s"):
        vm.run("bookworm", "sleep 60", deadline_s=0.2)
