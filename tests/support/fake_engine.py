"""A container engine's API without an engine, on a real unix socket in real HTTP: for what no real engine does on
demand, such as 2,000 containers at once, or lies.
"""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Self

from ndpresponder.errors import SourceUnavailable
from ndpresponder.targets.source import TargetSet
from ndpresponder.targets.sources.docker import DockerSource

DEADLINE_S = 10.0
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def network(name: str, *addresses: str, **fields: Any) -> dict[str, Any]:
    """Return what an engine says of a network with these containers; an empty address is IPv4 only."""
    containers = {f"{number:064x}": {"Name": f"c{number}", "IPv6Address": a} for number, a in enumerate(addresses)}
    identity = f"{abs(hash((name, str(fields)))):064x}"
    shown = {"Name": name, "Id": identity, "EnableIPv6": True, "Driver": "bridge", "Options": {}, "Internal": False}
    return shown | fields | {"Containers": containers}


BUILT_IN = network("none", Driver="null", EnableIPv6=False)  # no engine lets this one be removed


def answer(value: object, status: str = "200 OK") -> bytes:
    """Return a whole HTTP answer."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


class StandIn:
    """Answers from `networks` and sends each subscriber what `emit` is given; `lies` answers a path with any octets."""

    def __init__(self, path: str, *networks: dict[str, Any]) -> None:
        self.path = path
        self.networks = list(networks)
        self.version: object = {"Version": "20.10.24", "Components": [{"Name": "Engine"}]}
        self.lies: dict[str, Handler] = {}
        self.asked: list[str] = []
        self._subscribers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        Path(self.path).unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def emit(self, *events: dict[str, Any]) -> None:
        """Send events to whoever listens."""
        for writer in self._subscribers:
            for event in events:
                line = json.dumps(event).encode() + b"\n"
                writer.write(b"%x\r\n%s\r\n" % (len(line), line))

    def change(self, *networks: dict[str, Any]) -> None:
        """Have these networks from now on, and say that something happened."""
        self.networks = list(networks)
        self.emit({"Type": "network", "Action": "connect", "Actor": {"ID": "x"}})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().partition("?")[0]
            self.asked.append(target)
            if target in self.lies:
                await self.lies[target](reader, writer)
            elif target == "/events":
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                self._subscribers.add(writer)
                await reader.read()
            else:
                writer.write(self._answer(target))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            self._tasks.discard(task)
            self._subscribers.discard(writer)
            writer.close()

    def _answer(self, target: str) -> bytes:
        if target == "/version":
            return answer(self.version)
        if target == "/networks":
            return answer([{**each, "Containers": {}} for each in (BUILT_IN, *self.networks)])
        for each in self.networks:
            if target == f"/networks/{each['Id']}":
                return answer(each)
        return answer({"message": "no such network"}, "404 Not Found")


class Following:
    """A source that runs as the daemon would run it: what it published, and what ended it each time."""

    def __init__(self, source: DockerSource) -> None:
        self.source = source
        self.sets: list[TargetSet] = []
        self.failures: list[str] = []

    async def run(self) -> None:
        """Run it again and again."""
        while True:
            try:
                await self.source.run(self.sets.append)
            except SourceUnavailable as error:
                self.failures.append(str(error))
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def following(*names: str, engine: StandIn) -> AsyncIterator[Following]:
    """Follow networks of an engine."""
    following = Following(DockerSource(names, f"unix://{engine.path}"))
    task = asyncio.create_task(following.run())
    try:
        yield following
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), ended


async def until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition."""
    try:
        async with asyncio.timeout(deadline_s):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited {deadline_s} s for {what}") from None


@contextlib.contextmanager
def socket_path():
    """Yield a path short enough for a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"{folder}/engine.sock"
