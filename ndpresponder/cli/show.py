"""Write the daemon's answers as text for a person."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

Data = Mapping[str, Any]

_STATES: Final[Mapping[str, str]] = {
    "deaf": "deaf, nothing can be heard there",
    "not_ethernet": "not Ethernet, nobody solicits neighbors there",
}


def span(seconds: float) -> str:
    """Write a time: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    whole = max(0, int(seconds))  # a clock that was set back gives less than none
    for size, unit, part, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole // 60} min" if whole >= 120 else f"{whole} s"


def status(status: Data, now_s: float) -> Iterator[str]:
    configuration = status["configuration"]
    loaded = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(configuration["loaded_s"]))
    yield (
        f"ndpresponder {status['version']}, pid {status['pid']}, up {span(now_s - status['started_s'])}, "
        f"log level {status['log_level']}{', DRY RUN: nothing is sent' if status['dry_run'] else ''}"
    )
    yield f"configuration read {loaded}{' from ' + configuration['file'] if configuration['file'] else ''}"
    if configuration["problem"]:
        yield f"the last reload was refused: {configuration['problem']}"
    for uplink in status["uplinks"]:
        yield ""
        yield from _uplink(uplink, now_s)
    yield ""
    yield "sources of targets"
    for source in status["sources"]:
        synced = f", read {span(now_s - source['last_sync_s'])} ago" if source["last_sync_s"] else ", never read"
        state = "up" if source["up"] else "DOWN"
        yield (
            f"  {source['kind'] + ' ' + source['name']:<28} {state:<5}"
            f"{source['live']} live, {source['claimed']} claimed{synced}"
        )
    if status["temporary"]:
        yield ""
        yield "temporary prefixes"
    for each in status["temporary"]:
        yield f"  {prefix(each)}"


def _uplink(uplink: Data, now_s: float) -> Iterator[str]:
    yield f"uplink {uplink['name']}: {_STATES.get(uplink['state'], uplink['state'])}"
    for trouble in uplink["trouble"]:
        yield f"  {'trouble':<12} {trouble}"
    if uplink["lladdr"]:
        forwards = "forwards" if uplink["forwarding"] else "does not forward"
        yield f"  {'link':<12} {uplink['device']}, index {uplink['index']}, {uplink['lladdr']}, {forwards}"
    for key in ("addresses", "gateways"):
        if uplink[key]:
            yield f"  {key:<12} {', '.join(uplink[key])}"
    for key in ("received", "answered", "ignored"):
        counts = {word: count for word, count in uplink[key].items() if count}
        words = ", ".join(f"{word} {count}" for word, count in counts.items())
        yield f"  {key:<12} {sum(counts.values())}{f' ({words})' if words else ''}"
    for key in ("unsolicited", "send_errors", "kernel_drops"):
        if uplink[key]:
            yield f"  {key.replace('_', ' '):<12} {uplink[key]}"
    if uplink["last_answer_s"]:
        yield f"  {'last answer':<12} {span(now_s - uplink['last_answer_s'])} ago"


def prefix(temporary: Data) -> str:
    """Return a temporary prefix in one line."""
    where = f"on {temporary['uplink']}" if temporary["uplink"] else "on all uplinks"
    rest = temporary["remaining_s"]
    return f"{temporary['prefix']} {where}, {f'{span(rest)} left' if rest is not None else 'until it is removed'}"


def target(target: Data) -> str:
    """Return a target in one line."""
    uplinks = ", ".join(target["uplinks"]) or "on no uplink"
    line = f"{target['target']:<44} {target['state']:<9} {uplinks:<16} {', '.join(target['origins'])}"
    causes = (f"{uplink}: {cause}" for uplink, cause in target.get("left_out", {}).items())
    return "\n".join((line, *(f"    left out on {cause}" for cause in causes)))


def explanation(report: Data) -> str:
    """Return what happens to a solicitation, and why."""
    rows = []
    for uplink in report["uplinks"]:
        verb = "answered" if uplink["answered"] else f"not answered ({uplink['outcome']})"
        rows.append(f"{report['target']} on {uplink['uplink']}: {verb}")
        rows += [f"  {reason}" for reason in uplink["why"]]
        if uplink["dad"]:
            rows.append(f"  {uplink['dad']}")
        rows += [f"  yet: {trouble}" for trouble in uplink["yet"]]
    return "\n".join(rows)
