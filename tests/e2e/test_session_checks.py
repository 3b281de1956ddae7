"""The checks of conftest.py work: no skip where CI forbids it, nothing left behind by a session."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def session(folder: Path, test: str, **environment: str) -> tuple[int, str]:
    """Run a session with one test file under our conftest.py."""
    for shared in (*TESTS.glob("*.py"), *TESTS.glob("support/*.py")):  # what it imports
        shutil.copy(shared, folder)
    (folder / "test_it.py").write_text(test)
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-ra", "--rootdir", str(folder), str(folder)]
    inherited = {key: value for key, value in os.environ.items() if key != "NDPRESPONDER_REQUIRE_ALL"}
    finished = subprocess.run(
        argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=inherited | environment, cwd=folder
    )
    return finished.returncode, finished.stdout


SKIPS = {
    "a mark": "import pytest\n@pytest.mark.skip('why')\ndef test_a(): pass\n",
    "a call": "import pytest\ndef test_a(): pytest.skip('why')\n",
    "a module": "import pytest\npytest.skip('why', allow_module_level=True)\n",
    "a missing command": "import pytest\n@pytest.mark.needs('why-not')\ndef test_a(): pass\n",
}


@pytest.mark.parametrize("test", SKIPS.values(), ids=SKIPS.keys())
def test_a_skip_is_a_failure_only_where_everything_is_required(tmp_path, test):
    code, output = session(tmp_path, test)
    assert code in (0, 5)  # 5: nothing was collected
    assert "1 skipped" in output
    code, output = session(tmp_path, test, NDPRESPONDER_REQUIRE_ALL="1")
    assert code in (1, 2)  # 2: while collecting
    assert "forbids this skip: " in output


def test_an_expected_failure_is_not_a_skip(tmp_path):
    test = "import pytest\n@pytest.mark.xfail\ndef test_a(): assert False\n"
    code, output = session(tmp_path, test, NDPRESPONDER_REQUIRE_ALL="1")
    assert "1 xfailed" in output
    assert code == 0


LEAKS = {
    "process ": "import subprocess\ndef test_a(): subprocess.Popen(['sleep', '5'])\n",
    "file descriptor of socket:": "import os, socket\ndef test_a():\n with socket.socket() as s: os.dup(s.fileno())\n",
    "file descriptor of pipe:": "import os\ndef test_a(): os.pipe()\n",
    "namespace ndpt": "from requirements import OURS\nfrom ndpresponder.lab.namespace import Namespace, create_all\n"
    "def test_a(): create_all([Namespace(OURS)])\n",
}


@pytest.mark.parametrize(("leak", "test"), LEAKS.items(), ids=LEAKS.keys())
@pytest.mark.needs("ip")
def test_what_a_session_leaves_behind_fails_it(tmp_path, leak, test):
    code, output = session(tmp_path, test)
    assert f"LEAKED by the tests: {leak}" in output
    assert "1 passed" in output
    assert code == 1


@pytest.mark.needs("ip")
def test_namespaces_of_a_session_that_is_gone_are_removed(tmp_path):
    _, output = session(tmp_path, LEAKS["namespace ndpt"])
    left = Path("/run/netns", re.search(r"namespace (ndpt\d+)", output)[1])
    assert left.exists()
    code, output = session(tmp_path, "def test_a(): pass\n")
    assert not left.exists()
    assert code == 0
