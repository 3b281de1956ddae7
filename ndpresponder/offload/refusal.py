"""Say why the kernel refuses the fast path, and what helps: only facts, no guesses."""

import errno
import os
import resource
from pathlib import Path
from typing import Final

from ndpresponder.errors import LinkNotReady, NdpresponderError, PermissionMissing, SystemRefused
from ndpresponder.linux.bpf import syscall
from ndpresponder.linux.bpf.syscall import Hook, VerifierRefused
from ndpresponder.linux.packet.fanout import kernel_version

_DROP_IN: Final = "systemd/ndpresponder-fastpath.conf"
_CAPABILITIES: Final = ((12, "CAP_NET_ADMIN"), (39, "CAP_BPF"))  # linux/capability.h
_CAP_SYS_ADMIN: Final = 21
_CAP_PERFMON: Final = 38
_UNLOCKED: Final = (5, 11)  # the Linux since which maps and programs do not count as locked memory
_ALL_USERS: Final = ("0", "0", "4294967295")  # /proc/self/uid_map of the machine itself, no container


def explain(error: OSError, name: str, hook: Hook, attaching: bool) -> NdpresponderError:
    """Return what to raise instead of `error`, which came of `attaching` to the interface `name`, or before that."""
    if isinstance(error, VerifierRefused):
        return SystemRefused(_objection(error))
    if error.errno in (errno.ENODEV, errno.ENXIO, errno.ENOLINK):
        return LinkNotReady(f"{name}: {os.strerror(error.errno)}")
    if error.errno in (errno.EPERM, errno.EACCES):
        return PermissionMissing(_what_forbids(error))
    return SystemRefused((attaching and _of_interface(error, name, hook)) or _of_kernel(error, name))


def _of_interface(error: OSError, name: str, hook: Hook) -> str:
    if hook is Hook.TCX_INGRESS:
        # clsact, its predecessor, would stay behind when we are killed
        no_tcx = "this kernel has no tcx, which came with Linux 6.6: use the fast path xdp, or none"
        return no_tcx if error.errno == errno.EINVAL else ""
    if error.errno in (errno.EBUSY, errno.EEXIST):
        return f"another XDP program is attached to {name}: use the fast path tcx, or detach that"
    if error.errno == errno.EOPNOTSUPP:
        return (
            f"the driver of {name} takes no XDP program, or none while offloads are on (`ethtool -k {name}`: LRO, "
            "GRO_HW): use the fast path xdp, which does without the driver"
        )
    return ""


def _of_kernel(error: OSError, name: str) -> str:
    if error.errno == errno.ENOSYS:
        return "this kernel has no bpf(2), which the fast path needs"
    return f"the kernel refuses the fast path on {name}: {error.strerror}"


def _objection(error: VerifierRefused) -> str:
    where = f" (instruction {error.instruction})" if error.instruction >= 0 else ""
    message = f"the verifier of Linux {os.uname().release} refuses the fast path's program: {error.reason}{where}"
    if _effective() >> _CAP_PERFMON & 1:
        return message
    return f"{message}; it is stricter without CAP_PERFMON"


def _what_forbids(error: OSError) -> str:
    effective = _effective()
    missing = [name for number, name in _CAPABILITIES if not effective >> number & 1]
    if effective >> _CAP_SYS_ADMIN & 1 and "CAP_BPF" in missing:
        missing.remove("CAP_BPF")  # of which it was part before Linux 5.8
    if missing:
        return (
            f"the fast path needs {' and '.join(missing)}: run as root, install {_DROP_IN} as a drop-in of the unit, "
            "or switch the fast path off"
        )
    if Path("/proc/self/uid_map").read_text().split() != list(_ALL_USERS):
        return (
            "the fast path needs capabilities of the machine itself, and those of a user namespace, such as an "
            "unprivileged container's, are none: run it outside, or switch the fast path off"
        )
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and kernel_version() < _UNLOCKED:
        return (
            f"the fast path needs more memory than may be locked, {limit // 1024} kB: LimitMEMLOCK=infinity in the "
            f"unit, as {_DROP_IN} has it, or ulimit -l unlimited"
        )
    if not syscall.may_call():
        return f"a filter of system calls forbids bpf(2): let it through by SystemCallFilter=bpf, as {_DROP_IN} has it"
    return f"the system forbids the fast path ({error.strerror}), though no capability that it needs is missing"


def _effective() -> int:
    return int(Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0], 16)
