"""Root file systems of Debian releases, from the archives that this machine's own apt reads.

Import it as `from debian import Recipe`.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("NDPRESPONDER_CACHE", Path(__file__).parents[2] / ".cache"))
BUILD_DEADLINE_S = 300


@dataclass(frozen=True)
class Recipe:
    """A small root file system: a release (this machine's own if it is ""), packages, further options of mmdebstrap."""

    suite: str
    packages: str
    options: tuple[str, ...] = ()

    def debootstrap(self, root: Path) -> None:
        """Build it in `root`, which must not exist; this takes half a minute."""
        command, sources = self._command()
        subprocess.run([*command, str(root), *sources], check=True, timeout=BUILD_DEADLINE_S)

    def cached(self, name: str, finish: Callable[[Path], None], *made_of: str) -> Path:
        """Return a directory below `.cache`: made by `finish(directory)` unless it is there already.

        It is made anew when the recipe or `made_of`, all else that `finish` depends on, changes.
        """
        command, sources = self._command()
        key = hashlib.sha256("\n".join([*command, *sources, *made_of]).encode()).hexdigest()[:12]
        directory = CACHE / f"{name}-{self.suite or _own_suite()}-{key}"
        CACHE.mkdir(parents=True, exist_ok=True)
        with directory.with_name(f"{directory.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not directory.exists():
                building = directory.with_name(f"{directory.name}.building")
                shutil.rmtree(building, ignore_errors=True)
                finish(building)
                building.rename(directory)
        return directory

    def _command(self) -> tuple[list[str], list[str]]:
        """Return what stands before the place on mmdebstrap's command line, and what stands behind it."""
        own = _own_suite()
        suite = self.suite or own
        origin = f"Origin: {platform.freedesktop_os_release()['ID'].capitalize()}"
        targets = ["apt-get", "indextargets", "--format", "deb $(SITE) $(RELEASE) $(COMPONENT)", "Identifier: Packages"]
        found = subprocess.run([*targets, origin], check=True, capture_output=True, text=True).stdout.splitlines()
        sources = [source.replace(f" {own}", f" {suite}") for source in found]
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={self.packages}"]
        command += ['--aptopt=APT::Install-Recommends "0"']
        command += [f"--dpkgopt=path-exclude=/usr/share/{useless}/*" for useless in ("doc", "man", "locale")]
        return [*command, *self.options, suite], sources


def _own_suite() -> str:
    return platform.freedesktop_os_release()["VERSION_CODENAME"]
