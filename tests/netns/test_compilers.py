"""What runs in the kernel loads whatever clang compiled it: each that is installed is tried, `clang` and `clang-NN`.

Debian 12 has 14, 15, 16 and 19, Debian 13 has 17, 18 and 19.
"""

import ctypes
import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import programs
import pytest
from frames import advertisement, packed, solicitation
from kernel_runs import InKernel
from sample_responder import CLAIMED, GATEWAY, LIVE_TARGET, prefixes, uplink_state

from ndpresponder.lab.namespace import Namespace
from ndpresponder.linux.bpf.object import read_program
from ndpresponder.linux.bpf.syscall import Hook, load_program
from ndpresponder.offload import kernel_program
from ndpresponder.policy.requester import Policy
from ndpresponder.policy.table import TargetTable

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "packaging/compile_fastpath.py"
HOOK_INTERFACE = "hatchling.builders.hooks.plugin.interface"
GRANTED = 1 << 12 | 1 << 39  # CAP_NET_ADMIN and CAP_BPF, by systemd/ndpresponder-fastpath.conf
CAPABILITY_VERSION = 0x20080522
# An octet of the frame, without a look at where that ends
UNSAFE = """
#include <linux/bpf.h>
__attribute__((section("xdp"), used)) int unsafe(struct xdp_md *ctx) { return *(char *)(long)ctx->data; }
"""

pytestmark = pytest.mark.needs("ip", "gcc", "clang")


def installed() -> list[str]:
    """Return each clang once: `clang` is most often one of those with a number."""
    names = {file.name for folder in os.get_exec_path() for file in Path(folder).glob("clang-*")}
    names = {"clang", *(name for name in names if re.fullmatch(r"clang-\d+", name))}
    found = {os.path.realpath(path): name for name in sorted(names) if (path := shutil.which(name))}
    return sorted(found.values()) or ["clang"]


@pytest.fixture(params=installed())
def clang(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def build(clang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the object file that the wheel would have, built by the wheel's own recipe with this compiler."""
    for number in range(1, HOOK_INTERFACE.count(".") + 2):
        name = ".".join(HOOK_INTERFACE.split(".")[:number])
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules[HOOK_INTERFACE], "BuildHookInterface", object, raising=False)
    spec = importlib.util.spec_from_file_location("compile_fastpath", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/clang").symlink_to(shutil.which(clang) or "")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    shutil.copytree(ROOT / recipe.SOURCE.parent, tmp_path / recipe.SOURCE.parent, ignore=shutil.ignore_patterns("*.o"))
    warnings: list[str] = []
    hook = recipe.CompileFastpath()
    hook.root, hook.target_name, hook.app = str(tmp_path), "wheel", SimpleNamespace(display_warning=warnings.append)
    monkeypatch.chdir(tmp_path)
    made: dict[str, list[str]] = {"artifacts": []}
    hook.initialize("standard", made)
    assert warnings == []
    (artifact,) = made["artifacts"]
    return tmp_path / artifact.lstrip("/")


def as_root(act: Callable[[], None]) -> None:
    act()


def as_the_service(act: Callable[[], None]) -> None:
    """Act in a thread, which alone has no other capabilities than are granted to the service."""

    def confined() -> None:
        low, high = GRANTED & 0xFFFFFFFF, GRANTED >> 32
        header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
        assert ctypes.CDLL(None).capset(header, struct.pack("=6I", low, low, 0, high, high, 0)) == 0
        act()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(confined).result()


@pytest.mark.parametrize("run", [as_root, as_the_service])
@pytest.mark.parametrize("hook", [Hook.TCX_INGRESS, Hook.XDP], ids=["tcx", "xdp"])
def test_the_fast_path_loads_and_answers(
    build: Path, hook: Hook, run: Callable[[Callable[[], None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        kernel_program,
        "read_object",
        lambda hook: read_program(build.read_bytes(), dict(kernel_program.SECTIONS)[hook]),
    )
    table = TargetTable.build([packed(LIVE_TARGET)], prefixes(CLAIMED))
    state = uplink_state()
    with InKernel(hook) as kernel:
        run(lambda: kernel.tell(table, state, Policy()))
        assert kernel.answer(solicitation(LIVE_TARGET)) == advertisement(LIVE_TARGET, override=True)
        assert kernel.answer(solicitation(GATEWAY)) is None


def test_the_floods_programs_load_and_ask(
    clang: str, tmp_path: Path, make_namespace: Callable[[str], Namespace]
) -> None:
    loader, _ = programs.flood()
    compiled = tmp_path / "flood.bpf.o"
    subprocess.run([*programs.for_the_kernel(clang), "-Werror", "-o", compiled, ROOT / "bench/flood.bpf.c"], check=True)
    namespace = make_namespace("clang")
    namespace.ip(*(f"link add l{n} type veth peer name r{n}" for n in (0, 1)))
    namespace.ip(*(f"link set {end}{n} up" for n in (0, 1) for end in "lr"))
    asking = ("cpu=0", "seconds=0.2", "warmup=0", "targets=5000", "sources=3", "low_bits=12")
    for links in ("l0", "l0,l1"):  # each number is a constant to the verifier
        said = namespace.run(str(loader), str(compiled), f"iface={links}", *asking).stdout
        assert json.loads(said)["sent"] > 0


def test_a_program_that_the_kernel_refuses_is_noticed(clang: str, tmp_path: Path) -> None:
    source, compiled = tmp_path / "unsafe.c", tmp_path / "unsafe.o"
    source.write_text(UNSAFE)
    subprocess.run([*programs.for_the_kernel(clang), "-o", compiled, source], check=True)
    with pytest.raises(OSError, match="Permission denied"):
        load_program(Hook.XDP, "unsafe", read_program(compiled.read_bytes(), "xdp").instructions)
