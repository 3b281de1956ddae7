"""Ask the running daemon on its control socket, and say why it cannot be asked."""

import contextlib
import glob
import http.client
import json
import socket
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from ndpresponder.config import ControlConfig, values
from ndpresponder.config.problem import Problem, Wrong
from ndpresponder.errors import ConfigError, ExitCode, NdpresponderError

_TIMEOUT_S: Final = 30.0
_OTHERS: Final = "/run/ndpresponder*/control.sock"  # as the systemd units have it
_VARIABLE: Final = "NDPRESPONDER_CONTROL"


class Unreachable(NdpresponderError):
    """The daemon cannot be asked."""

    exit_code = ExitCode.UNAVAILABLE


class Declined(NdpresponderError):
    """The daemon refuses what it was told."""

    exit_code = ExitCode.PROBLEM


class HungUp(Unreachable):
    """The daemon went away instead of answering."""


class Client:
    """The daemon behind one control socket."""

    def __init__(self, path: str) -> None:
        self.path = path

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Ask for one JSON object."""
        return self._parse(self._ask("GET", f"{path}?{urlencode(query)}" if query else path))

    def lines(self, path: str) -> Iterator[dict[str, Any]]:
        """Ask for lines of JSON."""
        for line in self._ask("GET", path).splitlines():
            yield self._parse(line)

    def tell(self, method: str, path: str, **said: Any) -> dict[str, Any]:
        """Tell the daemon something.

        Raises:
            Declined: it refuses that.
        """
        given = {key: value for key, value in said.items() if value is not None}
        return self._parse(self._ask(method, path, json.dumps(given)))

    def _ask(self, method: str, target: str, body: str | None = None) -> bytes:
        connection = http.client.HTTPConnection("localhost")
        with socket.socket(socket.AF_UNIX) as connection.sock:
            connection.sock.settimeout(_TIMEOUT_S)
            try:
                connection.sock.connect(self.path)
                with contextlib.suppress(BrokenPipeError):  # it answers before it has heard all, and says why
                    connection.request(method, target, body)
                response = connection.getresponse()
                answer = response.read()
            except http.client.RemoteDisconnected as error:
                raise HungUp(f"{self.path}: the daemon hung up; its log may say why") from error
            except http.client.HTTPException as error:
                raise Unreachable(f"{self.path}: another program listens there") from error
            except OSError as error:
                raise Unreachable(f"{self.path}: {self._why(error)}") from error
        if response.status == http.client.FORBIDDEN:
            raise Unreachable(f"{self.path}: permission denied: {self._parse(answer).get('error')}")
        if response.status != http.client.OK:
            raise Declined(str(self._parse(answer).get("error")))
        return answer

    def _parse(self, answer: bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(answer)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise Unreachable(f"{self.path}: another program listens there")
        return parsed

    def _why(self, error: OSError) -> str:
        match error:
            case PermissionError():
                return "permission denied: ask as root, or as a member of the group of this socket"
            case FileNotFoundError() | ConnectionRefusedError():
                others = [path for path in sorted(glob.glob(_OTHERS)) if path != self.path]
                hint = f"; there is {', '.join(others)}: name one with --control" if others else ""
                return f"no daemon listens there; is it running, and is this its `control` setting?{hint}"
            case TimeoutError():
                return f"the daemon did not answer within {_TIMEOUT_S:g} s"
            case _:
                return f"the daemon cannot be asked: {error.strerror or error}"


def client_of(options: Namespace, environ: Mapping[str, str]) -> Client:
    """Return the client for the socket that flag, environment or default name.

    Raises:
        ConfigError: it is not the path of a socket.
    """
    path, where = getattr(options, "control.socket", None), "flag --control"
    if path is None:
        path, where = environ.get(_VARIABLE) or ControlConfig().socket, f"environment {_VARIABLE}"
    try:
        if values.control_socket(path):
            return Client(path)
        fault = Problem(where, "", "is empty", f"write it like {ControlConfig().socket}")
    except Wrong as wrong:
        fault = Problem(where, "", wrong.message, wrong.hint)
    raise ConfigError((str(fault),))
