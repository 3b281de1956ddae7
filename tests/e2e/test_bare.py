"""tests/bare.sh: a command in a Debian that has nothing yet and sees nothing of the machine's leaves nothing behind."""

import os
import platform
import subprocess
from pathlib import Path

import pytest
from debian_roots import CACHE

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests/bare.sh"
SUITE = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
# What a bare Debian has, what a chroot would refuse, and what of the environment gets in
LOOK = """
set -e
git rev-parse HEAD
test -x .ci/setup && test ! -e .venv
! command -v clang ip pip
unshare --user --map-root-user true
tr '\\0' ' ' </proc/1/cmdline | grep -q -- '--enter'
python3 -c 'import ssl, sys; assert sys.version_info >= (3, 11)'
echo "PIP_SAID=$PIP_SAID SECRET=$SECRET"
exit 7
"""


def left() -> set[str]:
    """Return the roots of runs, which hold a dot; the pristine ones stay."""
    return {path.name for path in CACHE.glob("bare-*.??????")}


@pytest.mark.needs("mmdebstrap", "unshare", "pivot_root", "git")
def test_a_command_runs_in_a_bare_debian_and_leaves_nothing_behind() -> None:
    before = left()
    said = subprocess.run(
        [SCRIPT, SUITE, LOOK], env={**os.environ, "PIP_SAID": "yes", "SECRET": "no"}, capture_output=True, text=True
    )
    assert said.returncode == 7, said.stderr
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert said.stdout.splitlines() == [head.strip(), "PIP_SAID=yes SECRET="]
    assert left() <= before


@pytest.mark.parametrize("arguments", [(), ("trixie", "true", "false"), ("../trixie",)])
def test_what_cannot_be_meant_is_refused_with_the_usage(arguments: tuple[str, ...]) -> None:
    said = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True)
    assert said.returncode == 2
    assert "usage: tests/bare.sh SUITE [COMMAND]" in said.stderr
