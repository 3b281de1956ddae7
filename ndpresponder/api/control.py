"""What can be asked and told on the control socket: each route checks what it is given and answers in JSON.

What is given is judged by the very functions that judge the configuration. Each change is logged with who made it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from ndpresponder.api import explain, snapshot
from ndpresponder.api.conversation import Refused, Reply, Request, converse, reply
from ndpresponder.api.subject import Change, Subject
from ndpresponder.config import values
from ndpresponder.config.problem import Wrong, listed, nearest, printable
from ndpresponder.observe.logs import get_logger
from ndpresponder.targets.sources.temporary import LONGEST_S, MAX_PREFIXES, Temporary, check

_seconds = values.integer(1, LONGEST_S)

Handler = Callable[[Request], Awaitable[Reply]]


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, subject: Subject, uid: int) -> None:
    """Answer one client's request."""
    await converse(reader, writer, Routes(subject, uid).answer)


class Routes:
    """The routes, for one client."""

    def __init__(self, subject: Subject, uid: int) -> None:
        self._subject = subject
        self._uid = uid
        self._log = get_logger()
        self._handlers: Mapping[str, Mapping[str, Handler]] = {
            "/status": {"GET": self._status},
            "/targets": {"GET": self._targets},
            "/explain": {"GET": self._explain},
            "/prefixes": {"GET": self._prefixes, "POST": self._add, "DELETE": self._remove},
            "/log": {"POST": self._set_level},
            "/reload": {"POST": self._reload},
            "/upgrade": {"POST": self._upgrade},
        }

    async def answer(self, request: Request) -> Reply:
        """Return the reply to a request; never raise."""
        try:
            methods = self._handlers.get(request.path)
            if methods is None:
                return _problem(404, f"there is no {printable(request.path)}; there is {listed(self._handlers)}")
            if request.method not in methods:
                answered = _problem(405, f"{request.path} understands {listed(methods)}")
                return replace(answered, headers=(("Allow", ", ".join(methods)),))
            return await methods[request.method](request)
        except Wrong as wrong:
            return _problem(400, f"{wrong.message}; {wrong.hint}")
        except Refused as refused:
            return _problem(refused.status, str(refused))
        except Exception:  # a fault of ours: it must not end the daemon, and we must hear of it
            self._log.exception("a request could not be answered", path=request.path)
            return _problem(500, "internal error; see the daemon's log")

    # Asking

    async def _status(self, _: Request) -> Reply:
        return reply(200, snapshot.status(self._subject))

    async def _targets(self, _: Request) -> Reply:
        return Reply(200, snapshot.targets(self._subject), "application/x-ndjson")

    async def _prefixes(self, _: Request) -> Reply:
        return reply(200, {"prefixes": snapshot.temporary(self._subject)})

    async def _explain(self, request: Request) -> Reply:
        _know(request.query, "target", "iface")
        target = explain.parse_target(_needed(request.query, "target"))
        name = request.query.get("iface")
        uplinks = [self._uplink(name)] if name is not None else [each.name for each in self._subject.uplinks()]
        return reply(200, await explain.live(self._subject, target, uplinks))

    # Telling

    async def _add(self, request: Request) -> Reply:
        said = _said(request, "prefix", "iface", "lifetime_s", "announce")
        announce = said.get("announce") is not None and values.boolean(said["announce"])
        prefix = self._prefix(said)
        lifetime_s = _seconds(said["lifetime_s"]) if said.get("lifetime_s") is not None else None
        check(prefix.network, prefix.uplink or None, self._subject.loaded().config.interfaces)
        if not self._subject.temporary.add(prefix, lifetime_s):
            raise Refused(409, f"there are {MAX_PREFIXES} temporary prefixes already; remove some")
        await self._put_in_force()
        if announce:
            await self._take_over(prefix)
        self._note("a temporary prefix was added", prefix, lifetime_s=lifetime_s, announce=bool(announce))
        return reply(200, {"prefix": str(prefix.network), "uplink": prefix.uplink or None, "lifetime_s": lifetime_s})

    async def _remove(self, request: Request) -> Reply:
        prefix = self._prefix(_said(request, "prefix", "iface"))
        if not self._subject.temporary.remove(prefix):
            on = f" on {prefix.uplink}" if prefix.uplink else " on all uplinks"
            raise Refused(404, f"{prefix.network}{on} is no temporary prefix; `ndpresponder status` shows them")
        await self._put_in_force()
        self._note("a temporary prefix was removed", prefix)
        return reply(200, {"prefix": str(prefix.network), "uplink": prefix.uplink or None})

    async def _set_level(self, request: Request) -> Reply:
        level: Any = values.log_level(_needed(_said(request, "level"), "level"))
        self._subject.logs.apply(replace(self._subject.loaded().config.log, level=level))
        self._log.info("the log level was set", log_level=level, by_uid=self._uid)
        return reply(200, {"level": level})

    async def _reload(self, request: Request) -> Reply:
        return await self._change("a reload was asked for", request, self._subject.reload)

    async def _upgrade(self, request: Request) -> Reply:
        return await self._change("an upgrade was asked for", request, self._subject.upgrade)

    async def _change(self, event: str, request: Request, change: Change) -> Reply:
        _said(request)
        self._log.info(event, by_uid=self._uid)
        problem = await change()
        return _problem(409, problem) if problem else reply(200, {"done": True})

    # What is said

    def _prefix(self, said: Mapping[str, Any]) -> Temporary:
        network = values.prefix(_needed(said, "prefix"))
        name = said.get("iface")
        return Temporary(network, self._uplink(name) if name is not None else "")

    async def _put_in_force(self) -> None:
        await asyncio.sleep(0)  # until the sources have published
        self._subject.board().rebuild()

    async def _take_over(self, prefix: Temporary) -> None:
        await asyncio.sleep(0)  # until the uplinks go by their new tables
        shift = prefix.network.max_prefixlen - prefix.network.prefixlen
        for uplink in self._subject.uplinks():
            if prefix.uplink in ("", uplink.name):
                uplink.moves.take_over(int(prefix.network.network_address) >> shift, shift)

    def _uplink(self, raw: object) -> str:
        name = values.interface_name(raw)
        known = [uplink.name for uplink in self._subject.uplinks()]
        if name not in known:
            near = nearest(name, known)
            raise Wrong(
                f"{name!r} is not an uplink here", f"did you mean {near}?" if near else f"there is {listed(known)}"
            )
        return name

    def _note(self, event: str, prefix: Temporary, **more: object) -> None:
        self._log.info(event, prefix=str(prefix.network), interface=prefix.uplink or "all", **more, by_uid=self._uid)


def _problem(status: int, message: str) -> Reply:
    return reply(status, {"error": message})


def _said(request: Request, *known: str) -> Mapping[str, Any]:
    """Return the body, a JSON object with no other than the known keys."""
    try:
        said = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        raise Wrong("the body is not JSON", f"write an object{_of(known)}") from None
    if not isinstance(said, dict):
        raise Wrong(f"the body must be an object, not {values.kind_of(said)}", f"write one{_of(known)}")
    _know(said, *known)
    return said


def _of(known: tuple[str, ...]) -> str:
    return f" of {listed(known)}" if known else ": {}"


def _know(said: Mapping[str, Any], *known: str) -> None:
    for name in said:
        if name not in known:
            near = nearest(name, known)
            raise Wrong(f"unknown key {name!r}", f"did you mean {near}?" if near else f"known here: {listed(known)}")


def _needed(said: Mapping[str, Any], key: str) -> Any:
    if key not in said:
        raise Wrong(f"{key} is missing", f"say {key}")
    return said[key]
