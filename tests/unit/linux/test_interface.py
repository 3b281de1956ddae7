"""An interface that is not there has no index; that nobody can tell is something else."""

import contextlib
import errno
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ndpresponder.config.settings import RoutesSourceConfig
from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux import interface
from ndpresponder.linux.bpf import syscall
from ndpresponder.linux.bpf.syscall import Hook
from ndpresponder.linux.interface import is_set
from ndpresponder.linux.netlink.asking import index_of, name_of
from ndpresponder.linux.netlink.resolver import Neighbor
from ndpresponder.observe.logs import get_logger
from ndpresponder.offload.kernel_program import KernelProgram
from ndpresponder.offload.map_entries import COUNT
from ndpresponder.targets.installed_routes import Autowire
from ndpresponder.targets.sources.routes import RoutesSource
from ndpresponder.targets.sources.unrouted_hosts import UnroutedHosts

LOOPBACK = 1  # index of `lo` in every network namespace


@contextlib.contextmanager
def no_descriptor() -> Iterator[None]:
    """Have none left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_index_and_name_are_the_kernels() -> None:
    assert (name_of(LOOPBACK), name_of(1 << 30)) == ("lo", "")
    assert index_of("lo") == int(Path("/sys/class/net/lo/ifindex").read_text())


@pytest.mark.parametrize("name", ["nothere", "", "x" * 16, "\udcff", "a\0b"])
def test_what_is_not_there_has_none(name: str) -> None:
    assert index_of(name) == 0


def of_routes() -> object:
    """Without the uplinks' indexes, routes that lead back out of them would be ours."""
    return RoutesSource(RoutesSourceConfig(), ["lo"])._selection()


def of_wiring() -> object:
    """Without the index of the bridge, all routes to what lives there would be removed."""
    return Autowire(lambda: {bytes(16): "lo"}, list, get_logger())._wanted()


def of_unrouted_hosts() -> object:
    """Without the names of their links, all hosts that `verify` has found would be forgotten until another is found."""
    hosts = UnroutedHosts()
    hosts.add(Neighbor(LOOPBACK, bytes(16)))
    return hosts.targets()


@pytest.mark.parametrize("ask", [of_routes, of_wiring, of_unrouted_hosts])
def test_without_a_descriptor_no_interface_is_taken_for_gone(ask: Callable[[], object]) -> None:
    with no_descriptor(), pytest.raises(SourceUnavailable):
        ask()
    ask()


def test_without_a_descriptor_the_host_is_not_taken_for_one_that_does_not_forward() -> None:
    with no_descriptor(), pytest.raises(OSError, match="Too many open files"):
        is_set("lo", "forwarding")
    assert not is_set("nothere", "forwarding")


def test_a_driver_that_cannot_be_asked_has_not_counted_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that it counted before would be new to the next look: answers that left, counted as lost."""
    with no_descriptor():
        assert interface.driver_counters("lo") is None
    counted: list[dict[str, int] | None] = [{"rx_queue_0_xdp_tx_errors": each} for each in (500, 507)]
    counted.insert(1, None)
    monkeypatch.setattr(interface, "driver_counters", lambda _: counted.pop(0))
    program = KernelProgram("up0", Hook.XDP)
    program._dropped_before = 500
    assert [program.lost() for _ in range(3)] == [0, 0, 7]


def test_counters_that_cannot_be_read_now_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> list[bytes]:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    program = KernelProgram("up0", Hook.TCX_INGRESS)
    program._kept["counts"], program._cpus = 99, 2
    monkeypatch.setattr(syscall, "per_cpu", refuse)
    assert program.counts() == []
    monkeypatch.setattr(syscall, "per_cpu", lambda *_: [COUNT.pack(1, 2, 3)] * 2)
    assert program.counts() == [(1, 2, 3)] * 2
