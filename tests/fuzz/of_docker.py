"""Any documents in an engine's answers: what is published stood there, or the source is unavailable."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator

import loops
from octets import Octets, packet

from ndpresponder.errors import SourceUnavailable
from ndpresponder.targets.source import TargetSet
from ndpresponder.targets.sources.docker import DockerSource


def check(octets: bytes) -> None:
    """Follow an engine whose answers are these octets, until it has published once or given up."""
    choices = Octets(octets)
    names = choices.pick((("*",), ("web",), ("web", "*")))
    version, networks, events = choices.packet(), choices.packet(), choices.packet()
    inspected = [choices.packet() for _ in range(choices.byte() % 4)] or [b"{}"]
    targets = loops.run(_published(names, version, networks, events, inspected))
    if targets is not None:
        said = {address for document in inspected for address in _addresses(document)}
        assert targets.live <= said
        assert not targets.claimed
        assert all(live <= targets.live and isinstance(name, str) for name, live in targets.downstream.items())


async def _published(
    names: tuple[str, ...], version: bytes, networks: bytes, events: bytes, inspected: list[bytes]
) -> TargetSet | None:
    asked = 0

    def answer(request: bytes) -> bytes:
        nonlocal asked
        path = request.split()[1].partition(b"?")[0]
        if path.startswith(b"/networks/"):
            asked += 1
            body = inspected[asked % len(inspected)]
        else:
            body = {b"/version": version, b"/networks": networks, b"/events": events}[path]
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    async with loops.saying(answer, b"\r\n\r\n", "engine.sock") as path:
        first: asyncio.Future[TargetSet] = asyncio.get_running_loop().create_future()
        source = DockerSource(names, f"unix://{path}")
        following = asyncio.create_task(source.run(lambda targets: first.done() or first.set_result(targets)))
        await asyncio.wait([first, following], return_when=asyncio.FIRST_COMPLETED)
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError, SourceUnavailable):
            await following
        return first.result() if first.done() else None


def _addresses(document: bytes) -> Iterator[bytes]:
    """Yield every address in a document, wherever it stands."""
    try:
        waiting = [json.loads(document)]
    except (ValueError, RecursionError):
        return
    while waiting:
        match waiting.pop():
            case dict() as table:
                waiting += table.values()
            case list() as values:
                waiting += values
            case str() as text:
                with contextlib.suppress(OSError, ValueError):
                    yield socket.inet_pton(socket.AF_INET6, text.partition("/")[0])


def _engine(names: int, version: object, networks: object, *inspected: object) -> bytes:
    documents = [
        packet(json.dumps(each).encode()) for each in (version, networks, {"Type": "network", "Action": "connect"})
    ]
    documents += [bytes((len(inspected),))] + [packet(json.dumps(each).encode()) for each in inspected]
    return bytes((names,)) + b"".join(documents)


_WEB = {
    "Name": "web",
    "Id": "1a2b3c4d5e6f7a8b",
    "EnableIPv6": True,
    "Driver": "bridge",
    "Options": {},
    "Internal": False,
}
_CONTAINERS = {"Containers": {"a1": {"Name": "c", "IPv6Address": "2001:db8::2/64"}, "a2": {"IPv6Address": ""}}}
_MODE = {"com.docker.network.bridge.gateway_mode_ipv6": "routed", "com.docker.network.bridge.name": "br-x"}
SEEDS = (
    _engine(0, {"Version": "20.10.24", "Components": [{"Name": "Engine"}]}, [_WEB], _CONTAINERS),
    _engine(
        1, {"Version": "28.5.2"}, [_WEB, _WEB | {"Name": "b", "Driver": "macvlan"}], _CONTAINERS, {"Containers": None}
    ),
    _engine(2, {"Version": "28"}, [_WEB | {"Options": _MODE}, {"Name": 1}, 7], {}, [], {"Containers": {"a": 1}}),
    _engine(0, None, {"message": "no"}, {"Containers": {"a": {"IPv6Address": "x"}}}),
    _engine(2, [], [_WEB | {"Driver": "ipvlan", "Options": {"ipvlan_mode": "l3"}}, _WEB | {"EnableIPv6": None}], 0),
)
_WORDS = """Name Id EnableIPv6 Driver Options Internal Containers IPv6Address Version Components Type Action
bridge macvlan ipvlan ipvlan_mode web l2"""
DICTIONARY = (
    *(f'"{word}"'.encode() for word in (*_WORDS.split(), *_MODE)),
    *(b"null", b"true", b"[]", b"{}", b"1e999", b"\\ud800", b"2001:db8::1", b"\\u0000"),
)
