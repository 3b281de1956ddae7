"""A Debian booted by its own systemd inside one network namespace, so that units are tested by what runs them.

The root file system is built once with mmdebstrap and kept below `.cache`; every boot writes to an overlay in memory,
so it stays as it was built. The machine shares nothing with the host but the kernel and the namespace it is given:
it must never see the host's links, its /run or its cgroups.
"""

import select
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from debian_roots import Recipe
from proc import children

PACKAGES = "systemd-sysv,python3-venv,iproute2,iputils-ping"
# Nothing here is wanted, and each would keep the boot waiting or the journal busy.
UNWANTED_UNITS = """\
apt-daily.timer apt-daily-upgrade.timer console-getty.service dpkg-db-backup.timer e2scrub_all.timer getty.target
systemd-logind.service systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service
systemd-resolved.service systemd-timesyncd.service systemd-update-utmp.service systemd-update-utmp-runlevel.service
"""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_DEADLINE_S = 60.0

JOIN_CGROUP = 'echo 0 >"$1/cgroup.procs" && shift && exec "$@"'
# Whatever the host has below these two places, systemd-nspawn finds plain cgroup v2 and an empty registry of machines.
OWN_MOUNTS = (
    'mount -t cgroup2 cgroup2 /sys/fs/cgroup && mkdir -p /run/systemd && mount -t tmpfs tmpfs /run/systemd && exec "$@"'
)


def debian_root(suite: str = "") -> Path:
    """Return a root file system of a release, the host's own if it is not named, built (in 30 s) unless cached."""
    recipe = Recipe(suite, PACKAGES)

    def finish(root: Path) -> None:
        recipe.debootstrap(root)
        units = root / "etc/systemd/system"
        for unit in UNWANTED_UNITS.split():
            (units / unit).unlink(missing_ok=True)
            (units / unit).symlink_to("/dev/null")
        # With an empty machine-id systemd takes this for a first boot and enables everything again.
        (root / "etc/machine-id").write_text(f"{'6e6470':0<32}\n")

    return recipe.cached("debian", finish, UNWANTED_UNITS)


class Machine:
    """A booted Debian; a context manager. `share` on the host is /share inside."""

    def __init__(self, root: Path, netns: str) -> None:
        self._root = root
        self._netns = netns
        self._state = Path()
        self._cgroup = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self.share = Path()

    def __enter__(self) -> Self:
        self._state = Path(tempfile.mkdtemp(prefix="ndpresponder-machine-"))
        self.share = self._state / "share"
        self.share.mkdir()
        self._cgroup = cgroup2_mount() / self._state.name
        self._cgroup.mkdir()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.bind(str(self._state / "notify"))
                self._process = self._boot()
                self._await_boot(notify)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _boot(self) -> subprocess.Popen[bytes]:
        nspawn = ["systemd-nspawn", "--quiet", f"--directory={self._root}", "--boot", "--volatile=overlay"]
        nspawn += [f"--network-namespace-path=/run/netns/{self._netns}", f"--bind={self.share}:/share"]
        nspawn += ["--machine=vps", "--register=no", "--keep-unit"]
        nspawn += ["--link-journal=no", "--console=read-only", "--notify-ready=yes"]
        # Units restrict themselves with BPF programs (IPAddressDeny=): the machine may load them.
        nspawn += ["--capability=all", "--system-call-filter=bpf"]
        unshared = ["unshare", "--mount-proc", "--pid", "--fork", "--kill-child", "--cgroup"]
        unshared += ["sh", "-c", OWN_MOUNTS, "sh", *nspawn]
        with (self._state / "console").open("wb") as console:
            return subprocess.Popen(
                ["sh", "-c", JOIN_CGROUP, "sh", self._cgroup, *unshared],
                env={"PATH": PATH, "NOTIFY_SOCKET": str(self._state / "notify")},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )

    def _await_boot(self, notify: socket.socket) -> None:
        """Wait until systemd inside has finished booting, and learn its process id."""
        assert self._process is not None
        deadline = time.monotonic() + BOOT_DEADLINE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if not select.select([notify], [], [], 0.2)[0]:
                continue
            said = dict(line.partition("=")[::2] for line in notify.recv(4096).decode().splitlines())
            if said.get("READY") == "1":
                (nspawn,) = children(self._process.pid)
                (self._leader,) = children(nspawn)
                return
        raise RuntimeError(f"systemd did not boot:\n{(self._state / 'console').read_text()[-3000:]}")

    def run(self, *argv: str, check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command inside as root and return what it said; with `check`, raise and show it on failure."""
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--pid", "--net", "--cgroup"]
        enter += ["--root", "--wd", "env", "--ignore-environment", f"PATH={PATH}", "HOME=/root"]
        done = subprocess.run(
            [*enter, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()  # and with it, by --kill-child, the whole process namespace
            self._process.wait()
        remove_cgroup(self._cgroup)
        shutil.rmtree(self._state)


def cgroup2_mount() -> Path:
    """Return where the host has cgroup v2."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise RuntimeError("no cgroup2 file system is mounted")


def remove_cgroup(cgroup: Path) -> None:
    """Remove a cgroup and all below it, once the processes in it have gone."""
    deadline = time.monotonic() + 10.0
    while "populated 1" in (cgroup / "cgroup.events").read_text():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{cgroup} still has processes")
        select.select([], [], [], 0.02)
    for below in sorted((place for place in cgroup.rglob("*") if place.is_dir()), reverse=True):
        below.rmdir()
    cgroup.rmdir()
