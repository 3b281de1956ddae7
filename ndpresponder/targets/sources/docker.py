"""The containers in networks of Docker, or of Podman through the same API: the IPv6 addresses they have now are live.

Events only ring: whatever happened, the engine is asked again for all of it, and again every `POLL_S`, because Podman
leaves out events that Docker sends. Of a network only containers count, never its subnet: the rest is nobody's. It
must never forget addresses because the engine is away, since containers outlive it, nor believe an answer it cannot
read.
"""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import quote

from ndpresponder.config.problem import printable
from ndpresponder.errors import SourceUnavailable
from ndpresponder.observe.logs import get_logger
from ndpresponder.targets.source import TargetSet
from ndpresponder.targets.sources.engine_api import Engine

DEFAULT_URL: Final = "unix:///var/run/docker.sock"
POLL_S: Final = 30.0
SETTLE_S: Final = 0.05  # one change is several events
ANSWER_S: Final = 15.0  # for all that is asked at once
ADDRESSES_MAX: Final = 100_000
_NAME_SHOWN: Final = 80
_LATE_S: Final = 1.0  # after it began its events an engine may need a moment until it misses none
_EVENTS: Final = "/events?filters=" + quote(json.dumps({"type": ["container", "network"]}))
_ID: Final = re.compile(r"[0-9A-Za-z]{1,128}")
_GONE: Final = object()  # what the engine says of a network that was deleted since it was listed
_NO_CHANGE: Final = ("exec_", "health_status", "attach", "resize", "top", "export", "copy")  # a health check is three
_ON_THE_LINK: Final = ("macvlan", "ipvlan")  # their containers sit on the uplink and answer for themselves
_GATEWAY_MODE: Final = "com.docker.network.bridge.gateway_mode_ipv6"
_BRIDGE_NAME: Final = "com.docker.network.bridge.name"
_TRUSTED: Final = "com.docker.network.bridge.trusted_host_interfaces"


@dataclass(frozen=True, slots=True)
class Concern:
    """Why a network's containers are not reachable, or not followed."""

    network: str
    why: str
    hint: str


MISSING: Final = "there is no such network yet"


class DockerSource:
    """The containers in the networks called `names` of the engine at `url`; "*" stands for every network with IPv6."""

    kind = "docker"

    def __init__(self, names: Sequence[str], url: str = DEFAULT_URL) -> None:
        path = url.removeprefix("unix://")
        self.name = ",".join(names) if url == DEFAULT_URL else f"{','.join(names)}@{path}"
        self.uplinks: frozenset[str] | None = None
        self._names = frozenset(names)
        self._engine = Engine(path)
        self._drops_direct = False
        self._concerns: frozenset[Concern] = frozenset()
        self._log = get_logger(source=f"docker {self.name}")

    async def run(self, publish: Callable[[TargetSet], None]) -> None:
        """Publish the addresses now and after each change, until the engine goes."""
        rung = asyncio.Event()
        listening = asyncio.create_task(self._listen(rung))
        listening.add_done_callback(lambda _: rung.set())
        try:
            self._drops_direct = _drops_direct(await self._ask("/version"))
            while True:
                rung.clear()
                publish(await self._targets())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await rung.wait()
                if listening.done():
                    listening.result()
                await asyncio.sleep(SETTLE_S)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self, rung: asyncio.Event) -> NoReturn:
        async with self._engine.events(_EVENTS) as lines:
            rung.set()
            late = asyncio.get_running_loop().call_later(_LATE_S, rung.set)
            try:
                async for line in lines:
                    if _may_matter(line):
                        rung.set()
            finally:
                late.cancel()
        raise SourceUnavailable("the engine ended its events")

    async def _targets(self) -> TargetSet:
        found: set[bytes] = set()
        downstream: dict[str, frozenset[bytes]] = {}
        concerns: set[Concern] = set()
        missing = set(self._names) - {"*"}
        try:
            async with asyncio.timeout(ANSWER_S):
                answered = await self._ask("/networks")
                for network in _listed(answered):
                    missing.discard(network["Name"])
                    if self._follows(network, concerns):
                        inspected = await self._ask(f"/networks/{quote(network['Id'], safe='')}", missing_ok=True)
                        live = frozenset(_live(inspected) if inspected is not _GONE else ())
                        found |= live
                        if interface := _interface(network):
                            downstream[interface] = live
                    if len(found) > ADDRESSES_MAX:
                        raise SourceUnavailable(f"{self._engine.path}: more than {ADDRESSES_MAX} addresses")
        except TimeoutError as error:
            raise SourceUnavailable(f"{self._engine.path}: no answer within {ANSWER_S:.0f} s") from error
        if unreadable := missing & _names(answered):
            raise SourceUnavailable(f"{self._engine.path}: what it says of {printable(min(unreadable))} is unreadable")
        concerns.update(Concern(name, MISSING, "docker network create --ipv6 ...") for name in missing)
        self._say(frozenset(concerns))
        return TargetSet(live=frozenset(found), downstream=downstream)

    def _follows(self, network: dict[str, Any], concerns: set[Concern]) -> bool:
        """Tell whether the containers in a network are ours, and note what a person may have to change."""
        chosen = network["Name"] in self._names
        driver, options = network.get("Driver"), network.get("Options") or {}
        if not chosen and ("*" not in self._names or not network.get("EnableIPv6") or network.get("Internal")):
            return False
        name = printable(network["Name"][:_NAME_SHOWN])
        if driver in _ON_THE_LINK and options.get("ipvlan_mode", "l2") == "l2":
            if chosen:
                why = f"its containers are on the link themselves ({driver}) and answer for themselves"
                concerns.add(Concern(name, why, "leave the network out"))
            return False
        if not network.get("EnableIPv6"):
            concerns.add(Concern(name, "it has no IPv6", "docker network create --ipv6 ..."))
        elif self._drops_direct and driver == "bridge" and _is_closed(options):
            why = "from version 28 on Docker drops what comes to its containers from outside"
            concerns.add(Concern(name, why, f"docker network create -o {_GATEWAY_MODE}=routed ..."))
        return True

    def _say(self, concerns: frozenset[Concern]) -> None:
        for concern in sorted(concerns - self._concerns, key=lambda each: each.network):
            self._log.warning(concern.why, network=concern.network, hint=concern.hint)
        for concern in self._concerns - concerns:
            if concern.why == MISSING:
                self._log.info("the network is there", network=concern.network)
        self._concerns = concerns

    async def _ask(self, target: str, missing_ok: bool = False) -> Any:
        """Return what the engine answers; `_GONE` for what is missing, where that may be.

        Raises:
            SourceUnavailable: it does not answer, or not so that it can be read.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                status, body = await self._engine.get(target)
        except TimeoutError as error:
            raise SourceUnavailable(f"{self._engine.path}: no answer to {target} within {ANSWER_S:.0f} s") from error
        if status == 404 and missing_ok:
            return _GONE
        if status != 200:
            raise SourceUnavailable(f"{self._engine.path}: status {status} for {target}")
        try:
            return json.loads(body)
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
    """Yield the networks of a list; what is not built like one is none. Each engine has networks of its own."""
    if not isinstance(answer, list) or not answer:
        raise SourceUnavailable("the engine's list of networks is none")
    for network in answer:
        if (
            isinstance(network, dict)
            and isinstance(network.get("Name"), str)
            and isinstance(network.get("Id"), str)
            and _ID.fullmatch(network["Id"])
            and isinstance(network.get("Options") or {}, dict)
        ):
            yield network


def _names(answer: list[Any]) -> set[str]:
    """Return all names in a list of networks, those of entries among them that cannot be read."""
    named = (network.get("Name") for network in answer if isinstance(network, dict))
    return {name for name in named if isinstance(name, str)}


def _live(network: object) -> Iterator[bytes]:
    """Yield the IPv6 addresses of the containers in an inspected network; one that names none says null or {}."""
    containers = network.get("Containers", []) if isinstance(network, dict) else []
    if containers is None:
        containers = {}
    if not isinstance(containers, dict):
        raise SourceUnavailable("the engine's description of a network is none")
    for container in containers.values():
        address = container.get("IPv6Address") if isinstance(container, dict) else None
        if not isinstance(address, str) or not address:  # IPv4 only
            continue
        try:
            yield socket.inet_pton(socket.AF_INET6, address.partition("/")[0])
        except (OSError, ValueError) as error:
            raise SourceUnavailable("the engine gives a container an address that is none") from error


def _interface(network: dict[str, Any]) -> str | None:
    """Return the name of a network's bridge: as its options say, else as Docker makes it of the network's ID."""
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
