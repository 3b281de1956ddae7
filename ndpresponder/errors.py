"""The few exceptions of the project: each tells `supervise` what to do, and a person what went wrong.

Foreign exceptions (OSError, pyroute2's, h11's) are translated into these at the edge, with `from`.
"""

import errno
from enum import IntEnum
from typing import Final

_SHORTAGES: Final = (errno.ENOMEM, errno.ENOBUFS, errno.EMFILE, errno.ENFILE)


class ExitCode(IntEnum):
    """Process exit codes; the systemd units do not restart on USAGE, NO_PERMISSION and CONFIG."""

    OK = 0
    PROBLEM = 1  # a problem was found, or no answer came
    USAGE = 2
    UNAVAILABLE = 69  # EX_UNAVAILABLE: the daemon is not reachable
    SYSTEM = 71  # EX_OSERR: the system refused
    NO_PERMISSION = 77  # EX_NOPERM: a capability is missing
    CONFIG = 78  # EX_CONFIG: bad configuration


class NdpresponderError(Exception):
    """Base of everything this project raises on purpose; `str()` is a message for a person."""

    exit_code = ExitCode.SYSTEM


class LinkNotReady(NdpresponderError):
    """The uplink exists but cannot be used yet: try again."""


class PermissionMissing(NdpresponderError):
    """The kernel refused for want of a capability: fatal; the message names it and the unit line."""

    exit_code = ExitCode.NO_PERMISSION


class SystemRefused(NdpresponderError):
    """The system refused something we cannot do without (a port in use, no netlink): fatal."""


class SourceUnavailable(NdpresponderError):
    """A source of targets cannot be read now: keep its last set and try again."""


class ConfigError(NdpresponderError):
    """The configuration is wrong; `problems` holds every fault found, one printable line each."""

    exit_code = ExitCode.CONFIG

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def is_shortage(error: BaseException) -> bool:
    """Tell whether the system is short of something, by an error or its cause: a shortage may end."""
    told = error if isinstance(error, OSError) else error.__cause__
    return isinstance(told, OSError) and told.errno in _SHORTAGES
