"""The routes of the control socket: each checks what the client sends and answers in JSON.

The functions that check the configuration check this as well. Each change is logged with the user who made it.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ndpresponder.api import explain, status
from ndpresponder.api.server import Refused, Reply, Request, Routes, Service, converse, json_reply
from ndpresponder.api.status import Change, DaemonHandle
from ndpresponder.api.targets import listing
from ndpresponder.config import values
from ndpresponder.config.problem import Wrong, nearest
from ndpresponder.observe.logs import get_logger
from ndpresponder.targets.sources.temporary import LONGEST_S, MAX_PREFIXES, Temporary, check

BODY_MAX: Final = 4096
_seconds = values.integer(1, LONGEST_S)


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, daemon: DaemonHandle, uid: int) -> None:
    """Answer one client's request."""
    await converse(reader, writer, Control(daemon, uid).service)


class Control:
    """The routes, for one client."""

    def __init__(self, daemon: DaemonHandle, uid: int) -> None:
        self._daemon = daemon
        self._in_force = daemon.in_force
        self._uid = uid
        self._log = get_logger()
        routes: Routes = {
            "/status": {"GET": self._status},
            "/targets": {"GET": self._targets},
            "/explain": {"GET": self._explain},
            "/prefixes": {"GET": self._prefixes, "POST": self._add, "DELETE": self._remove},
            "/log": {"POST": self._set_level},
            "/reload": {"POST": self._reload},
            "/upgrade": {"POST": self._upgrade},
        }
        self.service = Service(routes, _problem, BODY_MAX)

    async def _status(self, _: Request) -> Reply:
        return json_reply(200, status.status(self._in_force))

    async def _targets(self, _: Request) -> Reply:
        return Reply(200, listing(self._in_force), "application/x-ndjson")

    async def _prefixes(self, _: Request) -> Reply:
        return json_reply(200, {"prefixes": status.temporary(self._in_force)})

    async def _explain(self, request: Request) -> Reply:
        _refuse_unknown(request.query, "target", "iface")
        target = explain.parse_target(_value_of(request.query, "target"))
        name = request.query.get("iface")
        uplinks = [self._uplink(name)] if name is not None else list(self._in_force.uplinks)
        return json_reply(200, await explain.live(self._in_force, target, uplinks))

    async def _add(self, request: Request) -> Reply:
        said = _body(request, "prefix", "iface", "lifetime_s", "announce")
        announce = said.get("announce") is not None and values.boolean(said["announce"])
        prefix = self._prefix(said)
        lifetime_s = _seconds(said["lifetime_s"]) if said.get("lifetime_s") is not None else None
        check(prefix.network, prefix.uplink or None, self._in_force.config.interfaces)
        if not self._in_force.temporary.add(prefix, lifetime_s):
            raise Refused(409, f"there are {MAX_PREFIXES} temporary prefixes already; remove some")
        await self._put_in_force()
        if announce:
            await asyncio.sleep(0)  # until the uplinks go by their new tables
            shift = prefix.network.max_prefixlen - prefix.network.prefixlen
            for uplink in self._in_force.uplinks.values():
                if prefix.uplink in ("", uplink.name):
                    uplink.moved_targets.take_over(int(prefix.network.network_address) >> shift, shift)
        self._log_change("a temporary prefix was added", prefix, lifetime_s=lifetime_s, announce=bool(announce))
        return json_reply(
            200, {"prefix": str(prefix.network), "uplink": prefix.uplink or None, "lifetime_s": lifetime_s}
        )

    async def _remove(self, request: Request) -> Reply:
        prefix = self._prefix(_body(request, "prefix", "iface"))
        if not self._in_force.temporary.remove(prefix):
            on = f" on {prefix.uplink}" if prefix.uplink else " on all uplinks"
            raise Refused(404, f"{prefix.network}{on} is no temporary prefix; `ndpresponder status` shows them")
        await self._put_in_force()
        self._log_change("a temporary prefix was removed", prefix)
        return json_reply(200, {"prefix": str(prefix.network), "uplink": prefix.uplink or None})

    async def _set_level(self, request: Request) -> Reply:
        level: Any = values.log_level(_value_of(_body(request, "level"), "level"))
        self._in_force.logs.apply(replace(self._in_force.config.log, level=level))
        self._log.info("the log level was set", log_level=level, by_uid=self._uid)
        return json_reply(200, {"level": level})

    async def _reload(self, request: Request) -> Reply:
        return await self._change("a reload was asked for", request, self._daemon.reload)

    async def _upgrade(self, request: Request) -> Reply:
        return await self._change("an upgrade was asked for", request, self._daemon.upgrade)

    async def _change(self, event: str, request: Request, change: Change) -> Reply:
        _body(request)
        self._log.info(event, by_uid=self._uid)
        problem = await change()
        return _problem(409, problem) if problem else json_reply(200, {"done": True})

    def _prefix(self, said: Mapping[str, Any]) -> Temporary:
        network = values.prefix(_value_of(said, "prefix"))
        name = said.get("iface")
        return Temporary(network, self._uplink(name) if name is not None else "")

    async def _put_in_force(self) -> None:
        await asyncio.sleep(0)  # until the sources have published
        self._in_force.board.rebuild()

    def _uplink(self, raw: object) -> str:
        name = values.interface_name(raw)
        known = list(self._in_force.uplinks)
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"there is {', '.join(known)}"
            raise Wrong(f"{name!r} is not an uplink here", hint)
        return name

    def _log_change(self, event: str, prefix: Temporary, **more: object) -> None:
        self._log.info(event, prefix=str(prefix.network), interface=prefix.uplink or "all", **more, by_uid=self._uid)


def _problem(status: int, message: str) -> Reply:
    return json_reply(status, {"error": message})


def _body(request: Request, *known: str) -> Mapping[str, Any]:
    """Return the body, a JSON object with no other than the known keys."""
    of = f" of {', '.join(known)}" if known else ": {}"
    try:
        said = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        raise Wrong("the body is not JSON", f"write an object{of}") from None
    if not isinstance(said, dict):
        raise Wrong(f"the body must be an object, not {values.kind_of(said)}", f"write one{of}")
    _refuse_unknown(said, *known)
    return said


def _refuse_unknown(said: Mapping[str, Any], *known: str) -> None:
    for name in said:
        if name not in known:
            near = nearest(name, known)
            raise Wrong(f"unknown key {name!r}", f"did you mean {near}?" if near else f"known here: {', '.join(known)}")


def _value_of(said: Mapping[str, Any], key: str) -> Any:
    if key not in said:
        raise Wrong(f"{key} is missing", f"say {key}")
    return said[key]
