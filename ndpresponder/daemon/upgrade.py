"""Replace the program of this process by the one that is installed now; its sockets stay open.

The new program is tried first, in a process of its own: one that cannot start must not replace this one. It gets the
sockets as a service manager would pass them (sd_listen_fds(3)), so that it starts as always.
"""

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from ndpresponder.errors import SystemRefused

_FIRST: Final = 3  # SD_LISTEN_FDS_START
_TRY_S: Final = 30.0
_OURS: Final = (signal.SIGHUP, signal.SIGUSR2)  # `systemctl kill` would end the trial with them
_SHOWN: Final = 2000  # octets of the new program's error message


async def try_successor() -> None:
    """Make sure that the installed program starts, with the flags of this process, and accepts the configuration.

    Raises:
        SystemRefused: it does not; the message is its own.
    """
    environ = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    process = None
    try:
        async with asyncio.timeout(_TRY_S):
            signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)  # which a new process inherits
            try:
                process = await asyncio.create_subprocess_exec(
                    *_command("check", "--quiet"),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    env=environ,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
            _, said = await process.communicate()
    except OSError as error:
        raise SystemRefused(f"cannot run {sys.executable}: {error.strerror}") from error
    except TimeoutError as error:
        raise SystemRefused(f"the installed version did not start within {_TRY_S:.0f} s") from error
    finally:
        if process is not None and process.returncode is None:
            process.kill()
    if process.returncode:
        raise SystemRefused(said[-_SHOWN:].decode(errors="replace").strip() or f"exit code {process.returncode}")


def become_successor(descriptors: Sequence[tuple[str, int]]) -> NoReturn:
    """Run the installed program in this process, and pass it `descriptors` by their names.

    Raises:
        SystemRefused: the system does not run it.
    """
    environ = {**os.environ, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(descriptors))}
    environ["LISTEN_FDNAMES"] = ":".join(name for name, _ in descriptors)
    try:
        # Out of the way first: the passed descriptors begin at 3, without a gap
        above = _FIRST + len(descriptors)
        places = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, above) for _, descriptor in descriptors]
        for number, place in enumerate(places):
            os.dup2(place, _FIRST + number)
        os.execve(sys.executable, _command(), environ)  # noqa: S606  the program that runs already
    except OSError as error:
        raise SystemRefused(f"cannot run {sys.executable}: {error.strerror}") from error


def _command(*instead: str) -> list[str]:
    """Return the command line of this process, with another command instead of `run`."""
    arguments = sys.argv[1:]
    program = sys.orig_argv[1 : len(sys.orig_argv) - len(arguments)]
    if instead and arguments[:1] == ["run"]:
        arguments = arguments[1:]
    return [sys.executable, *program, *instead, *arguments]
