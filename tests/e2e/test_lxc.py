"""A container of LXC on a bridge of the VPS: LXC is asked for nothing, `-b` alone makes it reachable while it runs."""

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from booted_debian import JOIN_CGROUP, cgroup2_mount, remove_cgroup
from container_checks import WEB, await_live, await_reachable
from daemon_process import Installed

from ndpresponder.lab import Lab

CONFIGURATION = """\
lxc.uts.name = web
lxc.rootfs.path = dir:{folder}/root
lxc.autodev = 0
lxc.apparmor.profile = unconfined
lxc.net.0.type = veth
lxc.net.0.link = br-ct
lxc.net.0.flags = up
lxc.net.0.name = eth0
lxc.net.0.ipv6.address = {address}/112
lxc.net.0.ipv6.gateway = 2001:db8::1
"""
# Mounts of its own, so that what LXC leaves of a killed container goes with it
OWN_MOUNTS = (
    "mount -t proc proc /proc && mount -t tmpfs tmpfs /run && mount -t cgroup2 cgroup2 /sys/fs/cgroup && "
    'cd "$1" && exec lxc-start -F -P . -n web -f configuration -- /bin/busybox sleep 3600'
)

pytestmark = pytest.mark.needs("ip", "nft", "ping", "lxc-start", "busybox", "unshare")


@contextmanager
def container(lab: Lab, folder: Path, address: str) -> Iterator[None]:
    """Run a container for the length of a context; the end kills it."""
    for name in ("bin", "proc", "sys", "dev"):
        (folder / "root" / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", folder / "root/bin/busybox")
    (folder / "configuration").write_text(CONFIGURATION.format(folder=folder, address=address))
    cgroup = cgroup2_mount() / lab["vps"].name
    cgroup.mkdir()
    unshared = ["unshare", "-mpCiuf", "--kill-child", "--propagation", "private"]
    holding = lab["vps"].argv(*unshared, "sh", "-c", OWN_MOUNTS, "sh", str(folder))
    with (folder / "log").open("w") as log:
        argv = ["sh", "-c", JOIN_CGROUP, "sh", str(cgroup), *holding]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
        assert process.poll() is None, (folder / "log").read_text()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        remove_cgroup(cgroup)


def test_a_container_is_reachable_and_live_while_it_runs(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    lab = make_lab(containers=0)
    lab.filter("strict")
    with Installed(lab["vps"], "-i", "uplink", "-b", "br-ct") as installed:
        await_live(installed, 0, "bridge")
        with container(lab, tmp_path, WEB):
            await_reachable(lab, WEB)
            await_live(installed, 1, "bridge")
        await_live(installed, 0, "bridge")
