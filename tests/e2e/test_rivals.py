"""A second proxy at work for our addresses is told once: the kernel's own entries, and other programs on this host."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_process import COMMAND, Installed
from peer import Wire

from ndpresponder.lab.namespace import Namespace

TARGET, PREFIX = "2001:db8::c1", "2001:db8::/112"
FLAGS = ("-i", "up0", "-n", PREFIX)
ENTRIES = ("2001:db8::5", "2001:db8::6")
WARNING = "another proxy is at work on this host"
KERNEL = "the kernel answers on up0 as well, by proxy entries for 2001:db8::5 and 1 more"


@pytest.fixture
def proxied(wire: Wire) -> Wire:
    wire.near.sysctl({"ipv6/conf/up0/forwarding": 1, "ipv6/conf/up0/proxy_ndp": 1})
    wire.near.ip(*(f"neighbor add proxy {address} dev up0" for address in (*ENTRIES, "2001:db8:7::1")))
    return wire


def said(namespace: Namespace, *argv: str) -> subprocess.CompletedProcess[str]:
    return namespace.run(COMMAND, *argv, check=False)


@contextlib.contextmanager
def program(namespace: Namespace, directory: Path, name: str) -> Iterator[int]:
    """Let something run under a name in a namespace."""
    shutil.copy(shutil.which("sleep") or "", directory / name)
    with namespace.popen(str(directory / name), "60") as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_the_kernels_entries_within_the_prefixes_are_told_once_and_with_what_removes_them(proxied):
    with Installed(proxied.near, *FLAGS) as daemon:
        daemon.await_line(WARNING)
        (line,) = daemon.lines(WARNING)
        assert KERNEL in line
        assert "ip -6 neighbor del proxy 2001:db8::5 dev up0" in line
        explained = said(proxied.near, "explain", TARGET, "--control", str(daemon.control)).stdout
        assert f"yet: {KERNEL}" in explained
    assert KERNEL in said(proxied.near, "explain", TARGET, *FLAGS).stdout
    checked = said(proxied.near, "check", *FLAGS)
    assert (checked.returncode, KERNEL in checked.stderr) == (0, True)


@pytest.mark.parametrize("setting", ["proxy_ndp", "forwarding"])
def test_entries_by_which_the_kernel_does_not_answer_are_no_rival(proxied, setting):
    proxied.near.sysctl({f"ipv6/conf/up0/{setting}": 0})
    assert "the kernel answers" not in said(proxied.near, "check", *FLAGS).stderr


def test_entries_for_what_is_not_ours_are_no_rival(proxied):
    assert "the kernel answers" not in said(proxied.near, "check", "-i", "up0", "-n", "2001:db8:8::/64").stderr


@pytest.mark.parametrize("name", ["ndppd", "npd6", "pndpd", "ndpresponder"])
def test_another_program_in_this_network_namespace_is_told(wire, tmp_path, name):
    with program(wire.near, tmp_path, name) as number, Installed(wire.near, *FLAGS) as daemon:
        expected = f"{name}, process {number}, may answer as well"
        daemon.await_line(WARNING)
        (line,) = daemon.lines(WARNING)
        assert expected in line
        assert expected in said(wire.near, "check", *FLAGS).stderr
        assert expected in said(wire.near, "explain", TARGET, "--control", str(daemon.control)).stdout


def test_a_program_in_another_network_namespace_and_another_daemon_of_ours_are_not(wire, tmp_path):
    with program(wire.far, tmp_path, "ndppd"), Installed(wire.near, *FLAGS):
        assert "may answer as well" not in said(wire.near, "check", *FLAGS).stderr
