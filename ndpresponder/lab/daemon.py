"""Run the real daemon in the lab's VPS, as a process of its own, and ask it over HTTP.

Knows the daemon only from outside: its command line, its exit code and its endpoints.
"""

import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
from typing import Self

from ndpresponder.lab.topology import Lab, wait_until

_METRICS_PORT = 9846
_READY_DEADLINE_S = 10.0
_STOP_DEADLINE_S = 5.0


class Daemon:
    """`ndpresponder <flags>` in the VPS from the start of the context, where it is ready, to its end."""

    def __init__(self, lab: Lab, *flags: str) -> None:
        # Without a control socket: the lab leaves the machine's /run alone
        flags = (*flags, "--metrics", f"127.0.0.1:{_METRICS_PORT}", "--control=")
        self._command = (sys.executable, "-m", "ndpresponder", *flags)
        self._lab = lab

    def __enter__(self) -> Self:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("NDPRESPONDER_")}
        with contextlib.ExitStack() as stack:
            self._output = stack.enter_context(tempfile.TemporaryFile("w+"))
            streams = {"stdin": subprocess.DEVNULL, "stdout": self._output, "stderr": subprocess.STDOUT}
            self._process = self._lab.popen("vps", *self._command, env=environment, **streams)
            stack.callback(self._lab.reap, self._process)
            wait_until(self._is_ready, _READY_DEADLINE_S, "the daemon to be ready")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack, contextlib.suppress(subprocess.TimeoutExpired):
            self._process.terminate()  # as systemd would
            self._process.wait(_STOP_DEADLINE_S)

    def get(self, path: str) -> tuple[int, str]:
        """Fetch `path` over HTTP from inside the VPS: status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", _METRICS_PORT, timeout=5)
        with contextlib.closing(connection):
            with self._lab["vps"].enter():
                connection.connect()
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def samples(self) -> dict[str, float]:
        """Scrape /metrics: each sample's name with its labels, as printed, and its value."""
        _, body = self.get("/metrics")
        lines = (line.rpartition(" ") for line in body.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            self._output.seek(0)
            log = self._output.read()
            raise ChildProcessError(f"the daemon ended with exit code {self._process.returncode}:\n{log}")
        try:
            return self.get("/readyz")[0] == http.client.OK
        except ConnectionRefusedError:
            return False
