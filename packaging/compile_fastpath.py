"""Compiles the fast path's program while the package is built, so that it is shipped in the wheel.

Without clang the package is built all the same; its `fastpath` setting then says what is missing. The object file holds
instructions of the kernel's own machine, so the wheel stays one for all processors (of one byte order).
"""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("ndpresponder/offload/responder.bpf.c")
# Said, because clang 20 has another default: instructions for which some verifiers know less of the registers.
CPU = "-mcpu=v1"
CLANG = ("clang", "-target", "bpf", CPU, "-O2", "-Wall", "-Werror", "-c")


class CompileFastpath(BuildHookInterface):
    """Build hook of hatchling."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  hatchling's signature
        """Compile before the files of the wheel are collected."""
        source = Path(self.root, SOURCE)
        compiled = source.with_suffix(".o")
        if self.target_name != "wheel":
            return
        if shutil.which(CLANG[0]) is None:
            compiled.unlink(missing_ok=True)
            self.app.display_warning("no clang: this build has no fast path")
            return
        # Debian keeps asm/types.h where a compiler for another machine does not look
        include = Path("/usr/include", sysconfig.get_config_var("MULTIARCH") or "")
        # An editable installation may be using the one that is there
        new = compiled.with_name(f"{compiled.name}.{os.getpid()}")
        result = subprocess.run(
            [*CLANG, "-idirafter", include, source, "-o", new], capture_output=True, text=True, check=False
        )
        if result.returncode:
            compiled.unlink(missing_ok=True)
            self.app.display_warning(f"clang fails, this build has no fast path:\n{result.stderr}")
            return
        new.replace(compiled)
        build_data["artifacts"].append(f"/{compiled.relative_to(self.root)}")
