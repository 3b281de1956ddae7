"""The containers in networks of Docker, or of Podman through the same API: their present IPv6 addresses are live.

After each event the source asks the engine again for everything. It also asks every `POLL_S`, because Podman leaves
out events that Docker sends. Only containers count, never the subnet of a network. While the engine is away nothing is
forgotten, since containers outlive it. An answer that cannot be read is a failure.
"""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

from ndpresponder.config.problem import printable
from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.loop import wait
from ndpresponder.observe.logs import get_logger
from ndpresponder.targets.source import Source, TargetSet
from ndpresponder.targets.sources.engine_api import Engine, NotThere

DEFAULT_URL: Final = "unix:///var/run/docker.sock"
POLL_S: Final = 30.0
SETTLE_S: Final = 0.05  # one change is several events
ANSWER_S: Final = 15.0  # for all that is asked at once
ADDRESSES_MAX: Final = 100_000
_NAME_SHOWN: Final = 80
_LATE_S: Final = 1.0  # after it began its events an engine may need a moment until it misses none
_EVENTS: Final = "/events?filters=" + quote(json.dumps({"type": ["container", "network"]}))
_ID: Final = re.compile(r"[0-9A-Za-z]{1,128}")
_NO_CHANGE: Final = ("exec_", "health_status", "attach", "resize", "top", "export", "copy")  # a health check is three
_ON_THE_LINK: Final = ("macvlan", "ipvlan")  # their containers sit on the uplink and answer for themselves
_GATEWAY_MODE: Final = "com.docker.network.bridge.gateway_mode_ipv6"
_BRIDGE_NAME: Final = "com.docker.network.bridge.name"
_TRUSTED: Final = "com.docker.network.bridge.trusted_host_interfaces"
MISSING: Final = "there is no such network yet"

Concern = tuple[str, str, str]  # a network, why its containers are not reachable or not followed, and a hint


class DockerSource(Source):
    """The containers in the networks called `names` of the engine at `url`; "*" stands for every network with IPv6."""

    kind = "docker"

    def __init__(self, names: Sequence[str], url: str = DEFAULT_URL) -> None:
        path = url.removeprefix("unix://")
        self.name = ",".join(names) if url == DEFAULT_URL else f"{','.join(names)}@{path}"
        self._names = frozenset(names)
        self._engine = Engine(path)
        self._drops_direct: bool | None = None  # None: it was not asked yet
        self._concerns: set[Concern] = set()
        self._log = get_logger(source=f"docker {self.name}")

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        changed = asyncio.Event()
        events = asyncio.create_task(self._read_events(changed))
        events.add_done_callback(lambda _: changed.set())
        try:
            self._drops_direct = None
            while True:
                changed.clear()
                publish(await self._targets())
                await wait(changed, POLL_S)
                if events.done():
                    await events
                await asyncio.sleep(SETTLE_S)
        finally:
            events.cancel()
            await asyncio.gather(events, return_exceptions=True)

    async def _read_events(self, changed: asyncio.Event) -> None:
        async with contextlib.aclosing(self._engine.events(_EVENTS)) as lines:
            await anext(lines)
            changed.set()
            asyncio.get_running_loop().call_later(_LATE_S, changed.set)
            async for line in lines:
                if _may_matter(line):
                    changed.set()

    async def _targets(self) -> TargetSet:
        found: set[bytes] = set()
        downstream: dict[str, frozenset[bytes]] = {}
        concerns: set[Concern] = set()
        missing = set(self._names) - {"*"}
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._drops_direct is None:
                    self._drops_direct = _drops_direct(await self._ask("/version"))
                answered = await self._ask("/networks")
                for network in _listed(answered):
                    missing.discard(network["Name"])
                    if self._follows(network, concerns):
                        with contextlib.suppress(NotThere):  # it was deleted since it was listed
                            live = frozenset(_live(await self._ask(f"/networks/{network['Id']}")))
                            found |= live
                            if interface := _interface(network):
                                downstream[interface] = live
                    if len(found) > ADDRESSES_MAX:
                        raise SourceUnavailable(f"{self._engine.path}: more than {ADDRESSES_MAX} addresses")
        except TimeoutError as error:
            raise SourceUnavailable(f"{self._engine.path}: no answer within {ANSWER_S:.0f} s") from error
        listed = [each.get("Name") for each in answered if isinstance(each, dict)]
        if unreadable := [name for name in missing if name in listed]:
            raise SourceUnavailable(f"{self._engine.path}: what it says of {printable(min(unreadable))} is unreadable")
        concerns.update((name, MISSING, "docker network create --ipv6 ...") for name in missing)
        self._log_concerns(concerns)
        return TargetSet(live=frozenset(found), downstream=downstream)

    def _follows(self, network: dict[str, Any], concerns: set[Concern]) -> bool:
        """Tell whether the containers in a network are ours, and note concerns."""
        chosen = network["Name"] in self._names
        driver, options = network.get("Driver"), network.get("Options") or {}
        if not chosen and ("*" not in self._names or not network.get("EnableIPv6") or network.get("Internal")):
            return False
        name = printable(network["Name"][:_NAME_SHOWN])
        if driver in _ON_THE_LINK and options.get("ipvlan_mode", "l2") == "l2":
            if chosen:
                why = f"its containers are on the link themselves ({driver}) and answer for themselves"
                concerns.add((name, why, "leave the network out"))
            return False
        if not network.get("EnableIPv6"):
            concerns.add((name, "it has no IPv6", "docker network create --ipv6 ..."))
        elif self._drops_direct and driver == "bridge" and _is_closed(options):
            why = "from version 28 on Docker drops what comes to its containers from outside"
            concerns.add((name, why, f"docker network create -o {_GATEWAY_MODE}=routed ..."))
        return True

    def _log_concerns(self, concerns: set[Concern]) -> None:
        for network, why, hint in sorted(concerns - self._concerns):
            self._log.warning(why, network=network, hint=hint)
        for network, why, _ in self._concerns - concerns:
            if why == MISSING:
                self._log.info("the network is there", network=network)
        self._concerns = concerns

    async def _ask(self, target: str) -> Any:
        """Return the engine's answer; raise as `Engine.get`, or if it cannot be read."""
        try:
            return json.loads(await self._engine.get(target))
        except (ValueError, RecursionError) as error:
            raise SourceUnavailable(f"{self._engine.path}: the answer to {target} is not JSON") from error


def _may_matter(line: bytes) -> bool:
    """Tell whether an event can change an address; one that cannot be read may."""
    try:
        event = json.loads(line)
        return not (event["Type"] == "container" and event["Action"].startswith(_NO_CHANGE))
    except (ValueError, RecursionError, TypeError, LookupError, AttributeError):
        return True


def _listed(answer: object) -> Iterator[dict[str, Any]]:
    """Yield the networks of a list that can be read. The list is never empty: each engine has networks of its own."""
    if not isinstance(answer, list) or not answer:
        raise SourceUnavailable("the engine's list of networks is none")
    for network in answer:
        match network:
            case {"Name": str(), "Id": str(identity)} if _ID.fullmatch(identity):
                if isinstance(network.get("Options") or {}, dict):
                    yield network


def _live(network: object) -> Iterator[bytes]:
    """Yield the IPv6 addresses of the containers in an inspected network, whose "Containers" may be null."""
    containers = network.get("Containers", []) if isinstance(network, dict) else []
    if not isinstance(containers, dict | None):
        raise SourceUnavailable("the engine's description of a network is none")
    for container in (containers or {}).values():
        match container:
            case {"IPv6Address": str(address)} if address:  # else IPv4 only
                try:
                    yield socket.inet_pton(socket.AF_INET6, address.partition("/")[0])
                except (OSError, ValueError) as error:
                    raise SourceUnavailable("the engine gives a container an address that is none") from error


def _interface(network: dict[str, Any]) -> str | None:
    """Return the name of a network's bridge, from its options or, as Docker does, from its ID."""
    named = (network.get("Options") or {}).get(_BRIDGE_NAME)
    if network.get("Driver") != "bridge" or not isinstance(named, str | None):
        return None
    return named or f"br-{network['Id'][:12]}"


def _is_closed(options: dict[str, Any]) -> bool:
    return not options.get(_TRUSTED) and options.get(_GATEWAY_MODE, "nat") not in ("routed", "nat-unprotected")


def _drops_direct(version: object) -> bool:
    """Tell whether this is a Docker that closes a network to the outside unless its gateway mode opens it."""
    if not isinstance(version, dict) or "podman" in str(version.get("Components")).lower():
        return False
    major = re.match(r"\d{1,4}", str(version.get("Version")))
    return major is not None and int(major[0]) >= 28
