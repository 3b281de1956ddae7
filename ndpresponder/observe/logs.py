"""Log the daemon's life for people and machines: one event, one line, in one of four forms.

State changes are logged at info, packets only at debug behind `Logs.debug` and a limiter. Nothing in here may
raise because an output is gone or slow, print a byte that a terminal would obey, or grow with what requesters send.
"""

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from ndpresponder.config import LogConfig
from ndpresponder.linux.unix_socket import DatagramSender
from ndpresponder.observe import journal
from ndpresponder.observe.output import Output

Logger = FilteringBoundLogger


def get_logger(**context: object) -> Logger:
    """Return a logger whose events carry `context`; valid before and after `configure`."""
    return cast(Logger, structlog.get_logger(**context))


def exception_handler() -> Callable[..., None]:
    """Return an exception handler for an event loop.

    An error of the system (EMFILE in accept) needs no traceback, and is logged once a second however often it comes.
    """
    limiter = RateLimiter()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error, message = context.get("exception"), context["message"]
        if not isinstance(error, OSError):
            loop.default_exception_handler(context)
        elif (held_back := limiter.admit(message, loop.time())) is not None:
            get_logger().warning(message, why=error.strerror or str(error), suppressed=held_back)

    return handle


def configure(
    config: LogConfig,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
    to_journal: DatagramSender | None = None,
) -> "Logs":
    """Send all events of structlog, and the standard library's from warning up, to `stream` (stderr) or the journal."""
    logs = Logs(stream or sys.stderr, environ, to_journal or DatagramSender(journal.SOCKET_PATH))
    logs.apply(config)
    structlog.configure(
        processors=logs.processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *_: logs.output,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    if not any(isinstance(handler, _Forwarder) for handler in root.handlers):
        root.addHandler(_Forwarder())
    root.setLevel(logging.WARNING)
    return logs


class Logs:
    """The level and the form of the log; `apply` changes both while loggers are in use."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str], to_journal: DatagramSender) -> None:
        self.output = Output(stream, lambda count: get_logger().warning("lines of the log were lost", count=count))
        self.processors: list[Processor] = []  # shared by every logger, hence changed in place
        self.debug = False  # the guard for logging on the frame path
        self.level: str = "info"
        self._stream = stream
        self._environ = environ
        self._journal = to_journal

    def apply(self, config: LogConfig) -> None:
        """Take over a level and a format; "auto" means the journal, a terminal or logfmt, whatever stderr is."""
        self.level = config.level
        self.debug = config.level == "debug"
        form = config.format if config.format != "auto" else self._detect()
        builtin, tail = structlog.processors, list[Processor]()
        if form == "console":
            tail += [builtin.TimeStamper("%H:%M:%S", utc=False), builtin.add_log_level, _escape_unprintable]
            tail += [self._console()]
        elif form == "journal":
            tail += [builtin.format_exc_info, self._to_journal]
        else:
            render = builtin.JSONRenderer(default=str) if form == "json" else _as_logfmt
            tail += [_stamp, builtin.format_exc_info, render]
        self.processors[:] = [self._gate, *tail]

    def _detect(self) -> str:
        with contextlib.suppress(OSError, ValueError):  # an in-memory stream has no descriptor
            fd = self._stream.fileno()
            if journal.is_journal(fd, self._environ):
                return "journal"
            if os.isatty(fd):
                return "console"
        return "logfmt"

    def _console(self) -> Processor:
        colors = self._stream.isatty() and not self._environ.get("NO_COLOR") and self._environ.get("TERM") != "dumb"
        return structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback, sort_keys=False
        )

    def _gate(self, _: object, level: str, event: EventDict) -> EventDict:
        if journal.PRIORITIES[level] > journal.PRIORITIES[self.level]:
            raise structlog.DropEvent
        return event

    def _to_journal(self, _: object, level: str, event: EventDict) -> str:
        keys = {key: value for key, value in event.items() if key not in ("event", "exception")}
        message = f"{event['event']} {logfmt(keys)}".rstrip()
        if "exception" in event:
            message += f"\n{event['exception']}"
        if self._journal.send(journal.datagram(level, message, event)):
            self.output.tell_lost()
            raise structlog.DropEvent
        return logfmt({"level": level, "event": event.pop("event"), **event})


class _Forwarder(logging.Handler):
    """Passes the records of asyncio and libraries to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger()
        say = log.error if record.levelno >= logging.ERROR else log.warning
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit the library's own format string
            message = str(record.msg)
        say(message, logger=record.name, **({"exc_info": record.exc_info} if record.exc_info else {}))


def logfmt(event: Mapping[str, object]) -> str:
    """Return `key=value` pairs; a value that could be misread, or obeyed by a terminal, is quoted as in JSON."""
    return " ".join(f"{key}={_logfmt_value(value)}" for key, value in event.items())


def _logfmt_value(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if text.isprintable() and not any(char in text for char in ' ="\\'):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _as_logfmt(_: object, __: str, event: EventDict) -> str:
    return logfmt(event)


def _stamp(_: object, level: str, event: EventDict) -> EventDict:
    """Put time, level and event in front."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"timestamp": now, "level": level, "event": event.pop("event"), **event}


def _escape_unprintable(_: object, __: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if key != "exc_info" and not (text := str(value)).isprintable():
            event[key] = text.encode("unicode_escape").decode()
    return event


class RateLimiter:
    """Lets one event per cause and interval pass and tells how many it held back.

    A cause is made of our own words, never of a requester's. With more than `causes_max` of them the one admitted
    longest ago makes room, and its count is lost.
    """

    def __init__(self, interval_s: float = 1.0, causes_max: int = 256) -> None:
        self._interval_s = interval_s
        self._causes_max = causes_max
        self._causes: dict[Hashable, tuple[float, int]] = {}  # cause -> silent until, held back

    def admit(self, cause: Hashable, now_s: float) -> int | None:
        """Return None to stay silent, else how many events of this cause were held back before this one."""
        until_s, held_back = self._causes.get(cause, (0.0, 0))
        if now_s < until_s:
            self._causes[cause] = until_s, held_back + 1
            return None
        self._causes.pop(cause, None)  # goes to the end of the queue
        if len(self._causes) >= self._causes_max:
            del self._causes[next(iter(self._causes))]
        self._causes[cause] = now_s + self._interval_s, 0
        return held_back
