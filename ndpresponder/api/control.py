"""The routes of the control socket: each checks what the client sends and answers in JSON.

The functions that check the configuration check this as well. Each change is logged with the user who made it.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from ndpresponder.api import explain, snapshot
from ndpresponder.api.server import Refused, Reply, Request, Routes, Service, converse, json_reply
from ndpresponder.api.snapshot import Change, DaemonHandle
from ndpresponder.api.targets import listing
from ndpresponder.config import values
from ndpresponder.config.problem import Wrong, nearest
from ndpresponder.observe.logs import get_logger
from ndpresponder.targets.sources.temporary import LONGEST_S, MAX_PREFIXES, Temporary, check, uplink_named

BODY_MAX: Final = 4096
_seconds = values.integer(1, LONGEST_S)


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, daemon: DaemonHandle, uid: int) -> None:
    await converse(reader, writer, Control(daemon, uid).service)


class Control:
    """The routes, for one client."""

    def __init__(self, daemon: DaemonHandle, uid: int) -> None:
        self._in_force = daemon.in_force
        self._uid = uid
        self._log = get_logger()
        routes: Routes = {
            "/status": {"GET": self._status},
            "/targets": {"GET": self._targets},
            "/explain": {"GET": self._explain},
            "/prefixes": {"GET": self._prefixes, "POST": self._add, "DELETE": self._remove},
            "/log": {"POST": self._set_level},
            "/reload": {"POST": partial(self._change, "a reload was asked for", daemon.reload)},
            "/upgrade": {"POST": partial(self._change, "an upgrade was asked for", daemon.upgrade)},
        }
        self.service = Service(routes, _problem, BODY_MAX)

    async def _status(self, _: Request) -> Reply:
        return json_reply(200, snapshot.status(self._in_force))

    async def _targets(self, _: Request) -> Reply:
        return Reply(200, listing(self._in_force), "application/x-ndjson")

    async def _prefixes(self, _: Request) -> Reply:
        return json_reply(200, {"prefixes": snapshot.temporary(self._in_force)})

    async def _explain(self, request: Request) -> Reply:
        _refuse_unknown(request.query, "target", "iface")
        target = explain.parse_target(_value_of(request.query, "target"))
        name = uplink_named(request.query.get("iface"), self._in_force.config.interfaces)
        return json_reply(200, await explain.live(self._in_force, target, name))

    async def _add(self, request: Request) -> Reply:
        said = _body(request, "prefix", "iface", "lifetime_s", "announce")
        announce = said.get("announce") is not None and values.boolean(said["announce"])
        lifetime_s = _seconds(said["lifetime_s"]) if said.get("lifetime_s") is not None else None
        prefix = check(values.prefix(_value_of(said, "prefix")), said.get("iface"), self._in_force.config.interfaces)
        if not self._in_force.temporary.add(prefix, lifetime_s):
            raise Refused(409, f"there are {MAX_PREFIXES} temporary prefixes already; remove some")
        added = "a temporary prefix was added"
        await self._put_in_force(added, prefix, lifetime_s=lifetime_s, announce=announce)
        if announce:
            await asyncio.sleep(0)  # until the uplinks go by their new tables
            shift = prefix.network.max_prefixlen - prefix.network.prefixlen
            for uplink in self._in_force.uplinks.values():
                if prefix.uplink in ("", uplink.name):
                    uplink.moved_targets.take_over(int(prefix.network.network_address) >> shift, shift)
        shown = {"prefix": str(prefix.network), "uplink": prefix.uplink or None, "lifetime_s": lifetime_s}
        return json_reply(200, shown)

    async def _remove(self, request: Request) -> Reply:
        said = _body(request, "prefix", "iface")
        uplink = uplink_named(said.get("iface"), self._in_force.config.interfaces)
        prefix = Temporary(values.prefix(_value_of(said, "prefix")), uplink)
        if not self._in_force.temporary.remove(prefix):
            on = f" on {prefix.uplink}" if prefix.uplink else " on all uplinks"
            raise Refused(404, f"{prefix.network}{on} is no temporary prefix; `ndpresponder status` shows them")
        await self._put_in_force("a temporary prefix was removed", prefix)
        return json_reply(200, {"prefix": str(prefix.network), "uplink": prefix.uplink or None})

    async def _set_level(self, request: Request) -> Reply:
        level: Any = values.log_level(_value_of(_body(request, "level"), "level"))
        self._in_force.logs.apply(replace(self._in_force.config.log, level=level))
        self._log.info("the log level was set", log_level=level, by_uid=self._uid)
        return json_reply(200, {"level": level})

    async def _change(self, event: str, change: Change, request: Request) -> Reply:
        _body(request)
        self._log.info(event, by_uid=self._uid)
        problem = await change()
        return _problem(409, problem) if problem else json_reply(200, {"done": True})

    async def _put_in_force(self, event: str, prefix: Temporary, **more: object) -> None:
        await asyncio.sleep(0)  # until the sources have published
        self._in_force.board.rebuild()
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
