"""A daemon with the fast path: its flags, what it says, how it ends, and what it answers itself."""

from daemon_process import Installed, clean_environment
from peer import Wire

FLAGS = ("-i", "up0", "-n", "2001:db8::/112")


def in_user_space(daemon: Installed) -> int:
    """Return how many batches were answered by the responder."""
    (line,) = (line for line in daemon.scrape().splitlines() if "response_duration_seconds_count" in line)
    return int(float(line.rpartition(" ")[2]))


def said(daemon: Installed, text: str) -> str:
    (line,) = daemon.lines(text)
    return line


def ended(wire: Wire, *argv: str) -> tuple[int, str]:
    """Return how a command ends that cannot run, and what it says."""
    environment = [f"{name}={value}" for name, value in clean_environment().items()]
    process = wire.near.run("env", "-i", *environment, *argv, check=False)
    assert "Traceback" not in process.stderr
    return process.returncode, process.stderr
