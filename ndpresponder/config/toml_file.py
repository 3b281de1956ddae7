"""Read a TOML file into a draft: every fault of the file is found at once and reported with its line.

Nothing that the file holds raises an exception. Settings are compared with each other only later, by `checks`, when
flags and environment have been merged in.
"""

import errno
import os
import re
import select
import stat
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Final

from ndpresponder.config.draft import Checker, Table
from ndpresponder.config.problem import Problem, Wrong, nearest, printable
from ndpresponder.config.toml_lines import locate

MAX_BYTES: Final = 1 << 20  # far above any real file, far below what /dev/zero would give
PIPE_TIMEOUT_S: Final = 4.0  # less than a reload allows a disk, so that the reason is told
_READ: Final = 1 << 16
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_NAMES = re.compile(r"\('(.*?)',?\)")  # `tomllib` shows names as a tuple
_SYNTAX_HINTS: Mapping[str, str] = {
    "Invalid value": 'write text in quotes, such as level = "info"',
    "Expected newline": 'write one key = value on each line, and text in quotes, such as level = "info"',
    "Illegal character '\\n'": "close the text with a quote on the same line",
    "Cannot": "a key or table stands there twice: keep one",
    "Expected '='": "write key = value, and the names of tables in brackets",
}


def read(name: str, problems: list[Problem]) -> Table:
    """Read one configuration file; what is wrong with it is added to the problems."""
    try:
        data = _read_octets(name)
    except (OSError, ValueError) as error:
        return _refused(Problem(printable(name), "", *_unreadable(name, error)), problems)
    return parse(data, printable(name), problems)


def parse(data: bytes, name: str, problems: list[Problem]) -> Table:
    source = ""
    try:
        source = data.decode("utf-8-sig")
        raw = tomllib.loads(source)
        lines = locate(source.replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _refused(Problem(f"{name}:{line}", "", "is not UTF-8 text", "save the file as UTF-8"), problems)
    except RecursionError:
        return _refused(Problem(name, "", "is nested too deeply", "no setting needs more than two levels"), problems)
    except ValueError as error:  # TOMLDecodeError, or an integer of more than 4,300 digits
        return _refused(_syntax(name, source, str(error)), problems)
    places = {path: f"{name}:{line}" for path, line in lines.items()}
    return Checker(places, problems, is_file=True).document(raw)


def _refused(problem: Problem, problems: list[Problem]) -> Table:
    problems.append(problem)
    return Table(broken={"interface"})


def _read_octets(name: str) -> bytes:
    """Return what the file holds.

    The path may name a pipe (`--config <(make-configuration)`, `--config /dev/stdin`). To open a named pipe would wait
    for its writer, and so would to read one: neither waits here, until a deadline.

    Raises:
        Wrong: it is too large, or a pipe or a device whose end did not come in time.
        OSError, ValueError: it cannot be read.
    """
    if "\0" in name:  # each version of Python words it in another way
        raise ValueError("embedded null byte")
    end_s = time.monotonic() + PIPE_TIMEOUT_S
    found = bytearray()
    poll = select.poll()
    with open(name, "rb", buffering=0, opener=_open_at_once) as file:
        is_pipe = stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
        poll.register(file, select.POLLIN)
        while len(found) <= MAX_BYTES:
            piece = file.read(_READ)
            if piece:
                found += piece
                continue
            # None: a writer has it open, and is silent. A pipe that no writer has opened yet reads like an ended file
            hung_up = any(events & select.POLLHUP for _, events in poll.poll(0))
            if piece is not None and (found or hung_up or not is_pipe):
                return bytes(found)
            rest_s = end_s - time.monotonic()
            if rest_s <= 0:
                fault = "its end did not come" if found else "nothing was written to it"
                hint = "name a file, or write to it and close it"
                raise Wrong(f"is a pipe or a device, and {fault} within {PIPE_TIMEOUT_S:g} s", hint)
            poll.poll(rest_s * 1000)
    raise Wrong("is larger than 1 MiB", "name a configuration file in TOML")


def _open_at_once(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _unreadable(name: str, error: OSError | ValueError) -> tuple[str, str]:
    path = FilePath(name)
    if isinstance(error, Wrong):
        return error.message, error.hint
    if isinstance(error, IsADirectoryError):
        return "is a directory", f"name the file in it, such as {path / 'ndpresponder.toml'}"
    if isinstance(error, PermissionError):
        return "cannot be read: permission denied", "let the user that runs ndpresponder read it (chmod, chown)"
    if isinstance(error, FileNotFoundError):
        if not path.parent.is_dir():
            return "does not exist", f"there is no directory {path.parent} either; check the path"
        try:
            names = os.listdir(path.parent)
        except OSError:
            names = []
        near = nearest(path.name, names)
        others = sorted(other for other in names if other.endswith(".toml"))[:3]
        beside = f"beside it there is {', '.join(others)}" if others else "check the path"
        return "does not exist", f"did you mean {path.parent / near}?" if near else beside
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return "cannot be read: it is a socket, or a device that is not there", "name a configuration file in TOML"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"cannot be read: {reason}", "check the path"


def _syntax(name: str, source: str, message: str) -> Problem:
    """Word an error of `tomllib`, whose line stands at the end of its message."""
    position = _POSITION.search(message)
    if position is None:
        return Problem(name, "", "is not TOML: a number has far too many digits", "write a smaller number")
    fault = message[: position.start()]
    line = int(position[1]) if position[1] else source.count("\n", 0, len(source.rstrip())) + 1
    hint = next((hint for start, hint in _SYNTAX_HINTS.items() if fault.startswith(start)), "see https://toml.io")
    if not position[1]:
        hint = "close what is open: a bracket, a brace or a quote"
    fault = _NAMES.sub(lambda names: names[1].replace("', '", "."), fault)
    return Problem(f"{name}:{line}", "", f"is not TOML: {fault[:1].lower()}{fault[1:]}", hint)
