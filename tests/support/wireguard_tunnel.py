"""One end of a WireGuard tunnel, made by wireguard-go."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ndpresponder.lab import wait_until
from ndpresponder.lab.namespace import Namespace

PEER = "2001:db8::a:1"
SOCKETS = Path("/var/run/wireguard")


@dataclass
class Tunnel:
    """One end of a tunnel: a process that makes an interface."""

    namespace: Namespace
    name: str
    address: str
    private: str
    public: str

    def set(self, *words: str) -> None:
        """Change its settings."""
        argv = ("wg", "set", self.name, "private-key", "/dev/stdin", *words)
        self.namespace.run(*argv, input=self.private)


@contextlib.contextmanager
def tunnel(namespace: Namespace, name: str, address: str) -> Iterator[Tunnel]:
    """Run wireguard-go, with a key of its own, for the time of the block."""
    key = subprocess.run(["wg", "genkey"], check=True, capture_output=True, text=True).stdout
    public = subprocess.run(["wg", "pubkey"], check=True, capture_output=True, text=True, input=key).stdout.strip()
    silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = namespace.popen("wireguard-go", "-f", name, **silent)
    try:
        wait_until((SOCKETS / f"{name}.sock").exists, 10, "wireguard-go")
        namespace.ip(f"link set {name} up")
        yield Tunnel(namespace, name, address, key, public)
    finally:
        process.terminate()
        process.wait()
        (SOCKETS / f"{name}.sock").unlink(missing_ok=True)
