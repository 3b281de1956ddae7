"""A real dockerd, and a real Podman service, for the length of a context: inside one network namespace, with mounts,
processes and cgroups of their own, so that killing one process takes all of it away.

They must never see the host's containers, nor pull anything: the only image is made of the host's own busybox.
"""

import io
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from booted_debian import JOIN_CGROUP, cgroup2_mount, remove_cgroup
from proc import children, command

from ndpresponder.lab import wait_until
from ndpresponder.lab.namespace import Namespace

IMAGE = "busybox"
UNTIL_TOLD = ("/bin/busybox", "sh", "-c", "trap exit TERM; while :; do /bin/busybox sleep 3600 & wait; done")
READY_DEADLINE_S = 30.0
NEEDS_DOCKER = ("dockerd", "docker", "containerd", "runc", "busybox")
NEEDS_PODMAN = ("podman", "crun", "conmon", "busybox", "docker")

# Process 1: starts the engine, and again after each octet in the pipe.
HOLDER = """\
set -e
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/lib
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/lock /run/netns
folder=$1; shift
while :; do
  "$@" $(cat "$folder/flags") >>"$folder/log" 2>&1 &
  wait $! || :
  read -r _ <"$folder/again"
done
"""
CONTAINERS_CONF = """\
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
cgroups = "disabled"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""


class Engine:
    """An engine that listens on `url`; `cli` runs Docker's command against it."""

    name: ClassVar[str]
    daemon: ClassVar[str]  # the name of its process

    def __init__(self, namespace: Namespace, *flags: str) -> None:
        self._namespace = namespace
        self._flags = flags

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="ndpe"))  # short: sockets live there
        self.url = f"unix://{self._folder}/sock"
        self._cgroup = cgroup2_mount() / self._folder.name
        self._cgroup.mkdir()
        try:
            (self._folder / "flags").write_text(" ".join(self._flags))
            subprocess.run(["mkfifo", self._folder / "again"], check=True)
            self._prepare()
            unshared = ["unshare", "-mpCiuf", "--kill-child", "--propagation", "private"]
            holding = [*unshared, "sh", "-c", HOLDER, "sh", str(self._folder), *self._argv()]
            argv = ["sh", "-c", JOIN_CGROUP, "sh", str(self._cgroup), *self._namespace.argv(*holding)]
            with (self._folder / "log").open("w") as log:
                self._holder = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self._await_ready()
            self.cli("import", "-", IMAGE, octets=image())
        except BaseException as error:
            log_file = self._folder / "log"
            error.add_note(log_file.read_text()[-2000:] if log_file.exists() else "not started")
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if hasattr(self, "_holder"):
            self._holder.kill()  # and with it, by --kill-child, all of its processes
            self._holder.wait()
        remove_cgroup(self._cgroup)
        shutil.rmtree(self._folder)

    def cli(self, *argv: str, octets: bytes = b"", check: bool = True) -> str:
        """Run a command of the engine and return what it printed."""
        done = subprocess.run([*self._client(), *argv], input=octets, capture_output=True, timeout=60, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{self.name} {' '.join(argv)}: {done.stdout.decode()}{done.stderr.decode()}")
        return done.stdout.decode().strip()

    def run_container(self, name: str, network: str, address: str = "") -> str:
        """Start a container and return its IPv6 address."""
        chosen = ("--ip6", address) if address else ()
        self.cli("run", "-d", "--name", name, "--network", network, *chosen, IMAGE, *UNTIL_TOLD)
        return self.cli("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}", name)

    def kill(self, number: signal.Signals) -> None:
        """End the daemon, and only it, by a signal."""
        (pid,) = self._daemons()
        subprocess.run(["kill", f"-{number.name.removeprefix('SIG')}", str(pid)], check=True)
        wait_until(lambda: not self._daemons(), 30, f"{self.name} to end")

    def start(self, *flags: str) -> None:
        """Start the daemon again."""
        (self._folder / "flags").write_text(" ".join(flags))
        (self._folder / "again").write_text("\n")
        self._await_ready()

    def _daemons(self) -> list[int]:
        return [pid for holder in children(self._holder.pid) for pid in children(holder) if command(pid) == self.daemon]

    def _await_ready(self) -> None:
        def answers() -> bool:
            if self._holder.poll() is not None:
                raise ChildProcessError(f"{self.name} has ended")
            return subprocess.run([*self._client(), "ps"], capture_output=True, check=False).returncode == 0

        wait_until(answers, READY_DEADLINE_S, f"{self.name} to answer", every_s=0.1)

    def _prepare(self) -> None: ...

    def _argv(self) -> list[str]:
        raise NotImplementedError

    def _client(self) -> list[str]:
        raise NotImplementedError


class Docker(Engine):
    """Debian's docker.io."""

    name = "docker"
    daemon = "dockerd"

    def _argv(self) -> list[str]:
        state = [
            f"--data-root={self._folder}/data",
            f"--exec-root={self._folder}/exec",
            f"--pidfile={self._folder}/pid",
        ]
        plain = ["--storage-driver=vfs", "--exec-opt=native.cgroupdriver=cgroupfs", "--cgroup-parent=/containers"]
        return ["dockerd", *state, *plain, "--bridge=none", "--iptables=false", f"--host={self.url}"]

    def _client(self) -> list[str]:
        return ["docker", f"--host={self.url}"]


class Podman(Engine):
    """Podman's service, which speaks Docker's API."""

    name = daemon = "podman"

    def _prepare(self) -> None:
        (self._folder / "containers.conf").write_text(CONTAINERS_CONF.format(folder=self._folder))

    def _argv(self) -> list[str]:
        state = [f"--root={self._folder}/root", f"--runroot={self._folder}/runroot", f"--tmpdir={self._folder}/tmp"]
        return [
            "env",
            f"CONTAINERS_CONF={self._folder}/containers.conf",
            "podman",
            *state,
            "--storage-driver=vfs",
            "system",
            "service",
            "--time=0",
            self.url,
        ]

    def _client(self) -> list[str]:
        return ["docker", f"--host={self.url}"]  # Podman's own asks for limits that not every machine grants


@contextmanager
def network(engine: Engine, name: str, *flags: str) -> Iterator[None]:
    """Have a network with IPv6 for the length of a context; what is in it goes with it."""
    engine.cli("network", "create", "--ipv6", *flags, name)
    try:
        yield
    finally:
        containers = engine.cli("ps", "-aq", check=False).split()
        if containers:
            engine.cli("rm", "-f", *containers, check=False)
        engine.cli("network", "rm", name, check=False)


def image() -> bytes:
    """Return a root file system with one program in it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(shutil.which("busybox") or "/bin/busybox", "bin/busybox")
        for name in ("proc", "sys", "dev", "etc", "tmp"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
    return packed.getvalue()
