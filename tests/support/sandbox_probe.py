"""What a daemon that was taken over could do: run in its place, inside its sandbox, this tries and prints a table.

It imports nothing but the standard library, changes nothing that is allowed, and must never run outside a sandbox.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

SIOCSIFFLAGS = 0x8914
CLONE_NEWUSER = 0x10000000
PTRACE_ATTACH = 16
SCHED_FIFO = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """Call a function of libc and raise what it says."""
    if getattr(LIBC, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def open_socket(family: int, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


def take_link_down() -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as packet:
        fcntl.ioctl(packet, SIOCSIFFLAGS, struct.pack("16sh22x", b"uplink", 0))


ATTEMPTS: dict[str, Callable[[], object]] = {
    "packet socket": lambda: open_socket(socket.AF_PACKET, socket.SOCK_RAW),
    "netlink socket": lambda: open_socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "IPv4 socket": lambda: open_socket(socket.AF_INET),
    "IPv6 socket": lambda: open_socket(socket.AF_INET6),
    "raw IPv6 socket": lambda: open_socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
    "kernel crypto socket": lambda: open_socket(socket.AF_ALG, socket.SOCK_SEQPACKET),
    "engine's socket": lambda: connect("/run/docker.sock"),
    "systemd's own socket": lambda: connect("/run/systemd/private"),
    "take the link down": take_link_down,
    "read /etc/shadow": lambda: Path("/etc/shadow").read_bytes(),
    "read /root": lambda: os.listdir("/root"),
    "read /dev/mem": lambda: Path("/dev/mem").read_bytes(),
    "environment of process 1": lambda: Path("/proc/1/environ").read_bytes(),
    "kill process 1": lambda: os.kill(1, 0),
    "trace process 1": lambda: call("ptrace", PTRACE_ATTACH, 1, 0, 0),
    "change its configuration": lambda: Path("/etc/ndpresponder/more.toml").write_text(""),
    "change its program": lambda: Path("/opt/ndpresponder/more.py").write_text(""),
    "change a sysctl": lambda: Path("/proc/sys/net/ipv6/conf/uplink/forwarding").write_text("1"),
    "become root": lambda: os.setuid(0),
    "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "new user namespace": lambda: call("unshare", CLONE_NEWUSER),
    "load a module": lambda: call("syscall", 175, None, 0, b""),
    "load a BPF program": lambda: call("syscall", 321, 5, None, 0),
    "set the clock": lambda: call("settimeofday", b"\0" * 16, None),
    "set the host name": lambda: call("sethostname", b"x", 1),
    "real-time priority": lambda: os.sched_setscheduler(0, SCHED_FIFO, os.sched_param(1)),
    "memory that is writable and executable": lambda: mmap.mmap(-1, 4096, prot=7).close(),
}


def attempt(act: Callable[[], object]) -> str:
    """Return "allowed", or the name of the error."""
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno or errno.EIO]
    return "allowed"


def found(directory: str) -> list[str]:
    """Return everything below a directory."""
    return sorted(str(path) for path in Path(directory).rglob("*"))


if __name__ == "__main__":
    print(json.dumps({"run": found("/run"), **{name: attempt(act) for name, act in ATTEMPTS.items()}}), flush=True)
