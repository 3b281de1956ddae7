"""`ndpresponder demo`, the installed command: it shows what it should, and leaves nothing behind however it ends."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ndpresponder.lab import Lab, Namespace, wait_until
from ndpresponder.lab.namespace import processes
from ndpresponder.lab.topology import CONTAINER

COMMAND = str(Path(sys.executable).with_name("ndpresponder"))
NAME = f"ndpt{os.getpid()}d"
VPS = Namespace(f"{NAME}-vps")
SLOW_TO_ENTER = """\
#!/bin/sh
case "$*" in *"-m ndpresponder"*) echo $$ >{pid_file}.new; mv {pid_file}.new {pid_file}; sleep 2 ;; esac
exec {ip} "$@"
"""

pytestmark = pytest.mark.needs("ip", "nft", "ping")


@pytest.fixture(autouse=True)
def _no_lab_left() -> Iterator[None]:
    yield
    Lab(NAME).down()


def demo(*flags: str, **options) -> subprocess.CompletedProcess[str]:
    argv = [COMMAND, "demo", "--name", NAME, *flags]
    return subprocess.run(argv, text=True, capture_output=True, timeout=60, **options)


@contextmanager
def running_demo(*flags: str) -> Iterator[subprocess.Popen[str]]:
    """Start the demo and wait for the moment when its daemon runs."""
    argv = [COMMAND, "demo", "--name", NAME, "--uplink", "veth", *flags]
    with subprocess.Popen(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            for line in process.stdout:
                if "start the daemon" in line:
                    break
            wait_until(lambda: daemons() != [], 10, "the daemon")
            yield process
        finally:
            process.kill()


def daemons() -> list[int]:
    found = []
    for pid in processes([VPS]):
        with contextlib.suppress(OSError):  # it ended since it was listed
            if b"ndpresponder\0--prefix" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def namespaces() -> list[str]:
    return sorted(path.name for path in Path("/run/netns").glob(f"{NAME}-*"))


def test_the_demo_shows_that_only_the_responder_gets_through_the_filter():
    finished = demo()
    rows = [re.split(r"\s{2,}", line) for line in finished.stdout.splitlines()]
    kernel = "unreachable, NA from fe80::ff:fe00:2 dropped"
    ours = "reachable, NA from 2001:db8::c1"
    assert ["who answers", "uplink veth", "uplink macvlan"] in rows
    assert ["nothing", "unreachable", "unreachable"] in rows
    assert ["kernel proxy_ndp", kernel, kernel] in rows
    assert ["ndpresponder", ours, ours] in rows
    assert ["", "Ethernet", "02:00:00:00:00:02 -> 02:00:00:00:00:01"] in rows
    assert ["", "IPv6", "2001:db8::c1 -> fe80::1"] in rows
    received = 'ndpresponder_solicitations_received_total{interface="uplink",kind="multicast"}'
    assert re.search(rf"^  {re.escape(received)} [1-9]", finished.stdout, re.MULTILINE)
    assert "must ping its gateway first" in finished.stdout
    assert finished.stderr == ""
    assert finished.returncode == 0
    assert namespaces() == []


@pytest.mark.parametrize("name", ["none", "na"])
def test_as_json_the_demo_tells_the_same_with_another_filter(name):
    finished = demo("--uplink", "macvlan", "--filter", name, "--json")
    findings = json.loads(finished.stdout)
    replies = {trial["answers"]: trial["ping"]["received"] for trial in findings["trials"]}
    assert replies == {"nothing": 0, "kernel proxy_ndp": 3 if name == "none" else 0, "ndpresponder": 3}
    assert findings["trials"][-1]["advertisement"]["source"] == CONTAINER
    assert findings["counters"]
    assert findings["ok"] is True
    assert "start the daemon" in finished.stderr
    assert finished.returncode == 0


def assert_ended_by(process: subprocess.Popen[str], number: int) -> None:
    """Fail, and show what it said, unless the demo was ended by a signal and cleaned up."""
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (128 + number, ""), stdout
    assert namespaces() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_leaves_nothing(number):
    with running_demo("--keep") as process:
        (daemon,) = daemons()
        process.send_signal(number)
        assert_ended_by(process, number)
    assert not Path(f"/proc/{daemon}").exists()


def test_interrupted_at_any_moment_it_leaves_nothing():
    for step in range(8):
        argv = [COMMAND, "demo", "--name", NAME, "--uplink", "veth"]
        with subprocess.Popen(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.readline()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.13 * step)
            process.terminate()
            assert_ended_by(process, signal.SIGTERM)


def test_a_daemon_that_is_just_being_started_goes_too(tmp_path):
    """The moment before its command has entered the lab, where it could be found."""
    (tmp_path / "ip").write_text(SLOW_TO_ENTER.format(pid_file=tmp_path / "pid", ip=shutil.which("ip")))
    (tmp_path / "ip").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    argv = [COMMAND, "demo", "--name", NAME, "--uplink", "veth"]
    with subprocess.Popen(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        wait_until((tmp_path / "pid").exists, 20, "the daemon's command")
        process.terminate()
        assert_ended_by(process, signal.SIGTERM)
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_interrupted_again_and_again_it_still_cleans_up():
    argv = [COMMAND, "demo", "--name", NAME, "--uplink", "veth"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, text=True, start_new_session=True, **pipes) as process:
        for line in process.stdout:
            if "start the daemon" in line:
                break

        def is_over() -> bool:
            os.killpg(process.pid, signal.SIGINT)  # as the terminal does: to its commands as well
            return process.poll() is not None

        with contextlib.suppress(ProcessLookupError):
            wait_until(is_over, 20, "the end", every_s=0.01)
        assert_ended_by(process, signal.SIGINT)


def test_after_a_killed_run_it_starts_over():
    with running_demo() as process:
        (daemon,) = daemons()
        process.kill()
        process.wait(10)
    assert daemons() == [daemon]
    assert demo("--uplink", "veth").returncode == 0
    assert namespaces() == []
    assert not Path(f"/proc/{daemon}").exists()


def test_kept_it_says_how_to_go_on_and_the_lab_works():
    finished = demo("--uplink", "macvlan", "--keep")
    assert finished.returncode == 0
    for namespace in namespaces():
        assert f"ip netns exec {namespace} bash\n" in finished.stdout
    assert processes([Namespace(name) for name in namespaces()]) == []
    start = re.search(r"ip netns exec \S+ ndpresponder (.*)", finished.stdout)
    ping = re.search(r"ip netns exec \S+ ping .*", finished.stdout)
    down = re.search(r"ndpresponder (demo --down .*)", finished.stdout)

    log = subprocess.PIPE
    with VPS.popen(COMMAND, *start[1].split(), stdout=log, stderr=log) as daemon:
        argv = [*ping[0].split(), "-c1", "-W1"]
        wait_until(lambda: subprocess.run(argv, capture_output=True).returncode == 0, 10, "the container")
        assert subprocess.run([COMMAND, *down[1].split()]).returncode == 0
        assert daemon.wait(5) == -signal.SIGKILL
    assert namespaces() == []
    assert demo("--down").returncode == 0


def test_a_second_demo_of_the_same_name_leaves_the_first_alone():
    with running_demo() as process:
        second = demo()
        assert "is running: let it end, or choose another --name" in second.stderr
        assert second.returncode == 71
        process.communicate(timeout=30)
        assert process.returncode == 0


@pytest.mark.needs("unshare")
def test_without_root_it_says_so():
    argv = ["unshare", "--user", COMMAND, "demo", "--name", NAME]
    finished = subprocess.run(argv, text=True, capture_output=True)
    assert finished.stderr == "ndpresponder: the demo creates network namespaces: run it as root\n"
    assert finished.returncode == 77


def test_a_missing_command_is_named_with_its_package(tmp_path):
    finished = demo(env={"PATH": str(tmp_path)})
    assert finished.stderr == "ndpresponder: 'ip' is not on the PATH: apt install iproute2\n"
    assert finished.returncode == 71


def test_a_name_that_cannot_be_a_namespace_is_refused():
    finished = subprocess.run([COMMAND, "demo", "--name", "../x"], text=True, capture_output=True)
    assert "'../x': letters, digits" in finished.stderr
    assert finished.returncode == 2
