"""The command line: which command is meant, and how it ends.

It must start fast (what a command needs is imported when it runs) and end every mistake in one readable message
instead of a traceback.
"""

import errno
import io
import os
import sys
from collections.abc import Mapping, Sequence

from ndpresponder.cli.commands import COMMANDS, parser_of, run_command
from ndpresponder.config.problem import nearest
from ndpresponder.errors import ConfigError, ExitCode, NdpresponderError, is_shortage


def dispatch(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    if not argv or argv[0].startswith("-"):
        return run_command("run", parser_of().parse(argv), environ)
    name, rest = argv[0], argv[1:]
    if name == "help":
        name, rest = (rest[0], ["--help"]) if rest else ("run", ["--help"])
    if name not in COMMANDS:
        near = nearest(name, COMMANDS)
        hint = f"did you mean {near}?" if near else f"the commands are {', '.join(COMMANDS)}"
        if ":" in name:
            hint = f"did you mean --prefix {name}?"
        parser_of().error(f"unknown command {name!r}; {hint}")
    return run_command(name, parser_of(name).parse(rest), environ)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; --help, --version and wrong use raise SystemExit."""
    try:
        _open_missing_streams()
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a poor locale must not end in UnicodeEncodeError
        return dispatch(sys.argv[1:] if argv is None else argv, os.environ)
    except NdpresponderError as error:
        for message in error.problems if isinstance(error, ConfigError) else (str(error),):
            print(f"ndpresponder: {message}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is left to say, not even at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PROBLEM
    except OSError as error:
        if not is_shortage(error):
            raise
        advice = "; allow more open files (LimitNOFILE= in the unit, ulimit -n)" if error.errno == errno.EMFILE else ""
        print(f"ndpresponder: {error.strerror}{advice}", file=sys.stderr)
        return ExitCode.SYSTEM


def _open_missing_streams() -> None:
    """Lead standard streams that were closed to /dev/null: a socket must not get one of their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")
