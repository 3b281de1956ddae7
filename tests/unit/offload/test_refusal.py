"""What a person is told when the kernel refuses the fast path: what is known of the reason, and no guess."""

import errno
import os
import re
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from ndpresponder.errors import LinkNotReady, PermissionMissing, SystemRefused
from ndpresponder.linux.bpf import syscall
from ndpresponder.linux.bpf.object import Program
from ndpresponder.linux.bpf.syscall import Hook, VerifierRefused, objection
from ndpresponder.offload import kernel_program as in_kernel
from ndpresponder.offload import refusal

OLD = "5.10.0-28-amd64"
DROP_IN = 0xC000003000  # CAP_NET_RAW, CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF
# As Linux 6.1 says it
SPILLED = """\
260: (bf) r1 = r8                      ; R1_w=scalar(id=9) R8=scalar(id=9)
261: (63) *(u32 *)(r10 -32) = r1       ; R1_w=scalar(id=9) R10=fp0 fp-32_w=
262: (63) *(u32 *)(r10 -28) = r1
attempt to corrupt spilled pointer on stack
processed 241 insns (limit 1000000) max_states_per_insn 0 total_states 19 peak_states 19 mark_read 12
"""
SPECULATED = """\
75: (b7) r8 = 2                       ; R8=2

from 19 to 76 (speculative execution): R0=pkt(off=86,r=79,imm=0) R2=scalar() R10=fp0
76: (2d) if r0 > r2 goto pc+107
R0 pointer comparison prohibited
processed 1548 insns (limit 1000000) max_states_per_insn 3 total_states 76 peak_states 76 mark_read 23
verification time 1400 usec
stack depth 40
"""
LOGS = {
    "a spilled number": (SPILLED, "attempt to corrupt spilled pointer on stack", 262),
    "a pointer that speculation lost": (SPECULATED, "R0 pointer comparison prohibited", 76),
    "no instruction": ("unknown opcode d7\nprocessed 0 insns (limit 1000000)\n", "unknown opcode d7", -1),
    "nothing": ("", "", -1),
    "cut short": ("0: (b7) r0 = 0\n1: (95) ex", "", 1),
}


@pytest.mark.parametrize(("log", "reason", "instruction"), LOGS.values(), ids=LOGS)
def test_of_the_verifiers_log_the_objection_is_told(log: str, reason: str, instruction: int) -> None:
    assert objection(log) == (reason, instruction)


@pytest.fixture
def may(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Say what this process may, and what runs it: by default all that the fast path needs, on Linux 6.1."""
    may = SimpleNamespace(capabilities=DROP_IN, limit=resource.RLIM_INFINITY, release="6.1.0", call=True)
    monkeypatch.setattr(refusal, "_effective", lambda: may.capabilities)
    monkeypatch.setattr(refusal, "_ALL_USERS", tuple(Path("/proc/self/uid_map").read_text().split()))
    monkeypatch.setattr(refusal.os, "uname", lambda: SimpleNamespace(release=may.release))
    monkeypatch.setattr(refusal.resource, "getrlimit", lambda _: (may.limit, may.limit))
    monkeypatch.setattr(syscall, "may_call", lambda: may.call)
    return may


def explained(number: int, hook: Hook = Hook.XDP, attaching: bool = False) -> Exception:
    return refusal.explain(OSError(number, os.strerror(number)), "up0", hook, attaching)


FORBIDS = {
    "memory, before it was no longer counted": (
        {"limit": 64 << 10, "release": OLD},
        "more memory than may be locked, 64 kB: LimitMEMLOCK=infinity",
    ),
    "a filter": ({"call": False}, "a filter of system calls forbids bpf(2): let it through by SystemCallFilter=bpf"),
    "an old kernel's filter": ({"call": False, "release": OLD}, "a filter of system calls forbids bpf(2)"),
    "a filter, whatever may be locked": ({"call": False, "limit": 64 << 10}, "a filter of system calls forbids"),
    "a capability": ({"capabilities": 1 << 13 | 1 << 12}, "needs CAP_BPF: run as root, install systemd/"),
    "both": ({"capabilities": 1 << 13, "call": False}, "needs CAP_NET_ADMIN and CAP_BPF"),
    "something else": ({}, "(Operation not permitted), though no capability that it needs is missing"),
}


@pytest.mark.parametrize(("given", "expected"), FORBIDS.values(), ids=FORBIDS)
def test_what_forbids_it_is_told_apart(may: SimpleNamespace, given: dict[str, object], expected: str) -> None:
    vars(may).update(given)
    error = explained(errno.EPERM)
    assert isinstance(error, PermissionMissing)
    assert expected in str(error)


def test_the_capabilities_of_a_container_are_known_to_be_none(
    may: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal, "_ALL_USERS", ("0", "0", "65536"))
    assert "those of a user namespace, such as an unprivileged container's, are none" in str(explained(errno.EPERM))


def test_what_the_verifier_objects_to_is_no_missing_capability_and_no_filter(may: SimpleNamespace) -> None:
    error = VerifierRefused(PermissionError(errno.EACCES, "Permission denied"), *objection(SPILLED))
    may.call = False
    for capabilities, more in ((DROP_IN, ""), (DROP_IN & ~(1 << 38), "; it is stricter without CAP_PERFMON")):
        may.capabilities = capabilities
        refused = refusal.explain(error, "up0", Hook.XDP, attaching=False)
        assert isinstance(refused, SystemRefused)
        assert str(refused) == (
            "the verifier of Linux 6.1.0 refuses the fast path's program: attempt to corrupt spilled pointer on stack "
            f"(instruction 262){more}"
        )


INTERFACES = {
    "no tcx": (errno.EINVAL, Hook.TCX_INGRESS, True, "this kernel has no tcx"),
    "something before that": (errno.EINVAL, Hook.TCX_INGRESS, False, "refuses the fast path on up0: Invalid argument"),
    "another program": (errno.EBUSY, Hook.XDP, True, "another XDP program is attached to up0"),
    "busy before that": (errno.EBUSY, Hook.XDP, False, "refuses the fast path on up0: Device or resource busy"),
    "busy, but no XDP": (errno.EBUSY, Hook.TCX_INGRESS, True, "refuses the fast path on up0: Device or resource busy"),
    "no driver for it": (errno.EOPNOTSUPP, Hook.XDP, True, "the driver of up0 takes no XDP program, or none while"),
    "no call": (errno.ENOSYS, Hook.XDP, False, "this kernel has no bpf(2)"),
}


@pytest.mark.parametrize(("number", "hook", "attaching", "expected"), INTERFACES.values(), ids=INTERFACES)
def test_the_interface_is_blamed_only_for_what_was_asked_of_it(
    number: int, hook: Hook, attaching: bool, expected: str
) -> None:
    error = explained(number, hook, attaching)
    assert isinstance(error, SystemRefused)
    assert expected in str(error)


def test_an_interface_that_is_gone_may_come_back() -> None:
    assert isinstance(explained(errno.ENODEV, attaching=True), LinkNotReady)


def test_a_program_of_another_version_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_kernel, "read_object", lambda _: Program(bytes(16), ((0, "of-another-version"),)))
    monkeypatch.setattr(syscall, "create_map", lambda *_: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(syscall, "set_entry", lambda *_: None)
    monkeypatch.setattr(syscall, "set_entries", lambda *_: None)
    program = in_kernel.KernelProgram("up0", Hook.XDP)
    program.tell(in_kernel.TargetTable.build([], []))
    with pytest.raises(SystemRefused, match=re.escape("install ndpresponder again")):
        program.load(b"", in_kernel.Entries(b"", b"", 0))
    program.close()
