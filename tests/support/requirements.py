"""What a test needs of the machine, and what its namespaces are called."""

import os
import shutil

import pytest

LAB_COMMANDS = ("ip", "nft", "ping")
OURS = f"ndpt{os.getpid()}"  # namespaces of this session are called so; other sessions may run beside it


def require(*commands: str) -> None:
    """Skip the calling test unless we are root and have these commands."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces")
    for command in commands:
        if shutil.which(command) is None:
            pytest.skip(f"needs the command {command!r}")
