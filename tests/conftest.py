"""What tests share: a lab, a wire, marks for what a test needs of the machine, and a check that nothing is left behind.

`@pytest.mark.needs("ndppd", "promtool")` skips where a command is missing, and always where we are not root.
With NDPRESPONDER_REQUIRE_ALL=1 every skip is a failure.
"""

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kernel_runs import Fastpath
from peer import Peer, Wire
from requirements import LAB_COMMANDS, OURS, require
from shared_lab import SharedLab

from ndpresponder.lab import Lab, Namespace
from ndpresponder.lab.namespace import create_all, delete_all, processes
from ndpresponder.lab.topology import Uplink

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

REQUIRE_ALL = os.environ.get("NDPRESPONDER_REQUIRE_ALL") == "1"
NETNS = Path("/run/netns")

open_at_start = pytest.StashKey[set[str]]()
leaks_found = pytest.StashKey[list[str]]()


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    """Return a function that builds a lab of its own for this test: `make_lab("macvlan", containers=1)`."""
    require(*LAB_COMMANDS)
    numbers = itertools.count(1)
    with contextlib.ExitStack() as stack:

        def make(uplink: Uplink = "veth", containers: int = 2) -> Lab:
            return stack.enter_context(SharedLab(f"{OURS}x{next(numbers)}", uplink, containers))

        yield make


@pytest.fixture
def fresh_lab(make_lab: Callable[..., Lab]) -> Lab:
    """Return a lab that only this test uses; it may be changed at will."""
    return make_lab()


@pytest.fixture(scope="session")
def session_lab() -> Iterator[Lab]:
    require(*LAB_COMMANDS)
    with SharedLab(f"{OURS}s") as lab:
        yield lab


@pytest.fixture
def lab(session_lab: Lab) -> Lab:
    """Return the lab that tests share, reset; they leave its links, addresses and routes as they are."""
    session_lab.reset()
    return session_lab


@pytest.fixture
def make_namespace() -> Iterator[Callable[[str], Namespace]]:
    """Return a function that creates an empty namespace of its own for this test."""
    require("ip")
    made: list[Namespace] = []

    def make(word: str = "a") -> Namespace:
        namespace = Namespace(f"{OURS}-{word}")
        create_all([namespace])
        made.append(namespace)
        return namespace

    yield make
    delete_all(made)


@pytest.fixture
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    """Return a wire that only this test uses."""
    require("ip")
    with Wire(request.module.__name__.rpartition(".")[2].removeprefix("test_")) as wire:
        yield wire


@pytest.fixture
def peer(wire: Wire) -> Iterator[Peer]:
    """Return the router's end of the wire."""
    with Peer(wire.far) as peer:
        yield peer


@pytest.fixture(scope="module", params=["off", "tcx"])
def fastpath(request: pytest.FixtureRequest) -> Fastpath:
    """Return what gives a daemon its flags, so that who takes it runs without the fast path and once more with it."""
    return Fastpath(request.param)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*commands): needs root and these commands")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        require(*mark.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    return _no_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    return _no_skip((yield))


def _no_skip(report):
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"NDPRESPONDER_REQUIRE_ALL=1 forbids this skip: {reason}"
    return report


def pytest_sessionstart(session: pytest.Session) -> None:
    if os.geteuid() == 0:
        delete_all(_namespaces_of_dead_sessions())
    session.config.stash[open_at_start] = _open_files()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    found = session.config.stash.setdefault(leaks_found, [])
    if not session.config.getoption("numprocesses", None):  # else the workers are our children, and look themselves
        found.extend(_leaks(session.config.stash.get(open_at_start, set())))
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["leaks"] = found
    if found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: "WorkerController", error: object) -> None:
    """Take over what a worker found; xdist calls this before the session of the controlling process finishes."""
    node.config.stash.setdefault(leaks_found, []).extend(getattr(node, "workeroutput", {}).get("leaks", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for leak in config.stash.get(leaks_found, []):
        terminalreporter.write_line(f"LEAKED by the tests: {leak}", red=True)


def _leaks(open_before: set[str]) -> Iterator[str]:
    left = [Namespace(path.name) for path in NETNS.glob(f"{OURS}*")]
    yield from (f"namespace {namespace.name}" for namespace in left)
    for pid in {*processes(left), *_children()}:
        with contextlib.suppress(OSError):
            yield f"process {pid}: {Path(f'/proc/{pid}/cmdline').read_text().replace(chr(0), ' ')}"
    yield from (f"file descriptor of {name}" for name in sorted(_open_files() - open_before))


def _children() -> list[int]:
    text = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return [int(pid) for pid in text.split()]


def _open_files() -> set[str]:
    """Return what our descriptors refer to: sockets, pipes and namespaces by number, files by name."""
    names = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists this directory
            names.add(os.readlink(path))
    return {name for name in names if not name.startswith(("/proc/", "/dev/"))}


def _namespaces_of_dead_sessions() -> list[Namespace]:
    found = [(path.name, re.match(r"ndpt(\d+)", path.name)) for path in NETNS.glob("ndpt*")]
    return [Namespace(name) for name, match in found if match and not Path("/proc", match[1]).exists()]
