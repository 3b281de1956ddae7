"""Each form of the log says the same event, and no output problem reaches the caller."""

import asyncio
import io
import json
import logging
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from ndpresponder.config import LogConfig
from ndpresponder.linux.unix_socket import DatagramSender
from ndpresponder.observe import output
from ndpresponder.observe.logs import RateLimiter, configure, get_logger, logfmt


@pytest.fixture(autouse=True)
def _restore():
    """Leave the process's logging as it was."""
    level, handlers = logging.getLogger().level, logging.getLogger().handlers[:]
    yield
    structlog.reset_defaults()
    logging.getLogger().setLevel(level)
    logging.getLogger().handlers[:] = handlers


TIMESTAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"


def test_logfmt_is_one_line_of_pairs() -> None:
    stream = io.StringIO()
    configure(LogConfig(format="logfmt"), stream)

    get_logger(interface="uplink").info("interface is up", ifindex=3, gateway=None, forwarding=True)

    assert re.fullmatch(
        f'timestamp={TIMESTAMP} level=info event="interface is up" '
        "interface=uplink ifindex=3 gateway= forwarding=true\n",
        stream.getvalue(),
    )


def test_json_is_one_object_per_line_and_shows_any_value_as_text() -> None:
    stream = io.StringIO()
    configure(LogConfig(format="json"), stream)

    get_logger().warning("careful", path=Path("/etc/x"), count=3)

    assert {"level": "warning", "event": "careful", "path": "/etc/x", "count": 3}.items() <= json.loads(
        stream.getvalue()
    ).items()


def test_console_has_colours_on_a_terminal_only() -> None:
    stream = io.StringIO()
    configure(LogConfig(format="console"), stream)
    get_logger().info("hello", interface="uplink")
    assert "\x1b" not in stream.getvalue()
    assert "hello" in stream.getvalue()

    lead, follow = pty.openpty()
    with open(follow, "w") as terminal:
        configure(LogConfig(), terminal, environ={"TERM": "xterm"})
        get_logger().info("hello", interface="uplink")
        assert b"\x1b[" in os.read(lead, 4096)
        configure(LogConfig(), terminal, environ={"TERM": "xterm", "NO_COLOR": "1"})
        get_logger().info("hello", interface="uplink")
        assert b"\x1b" not in os.read(lead, 4096)
    os.close(lead)


def test_auto_is_logfmt_when_stderr_is_neither_terminal_nor_journal(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as stream:
        configure(LogConfig(), stream, environ={})
        get_logger().info("hello")
    assert "event=hello" in (tmp_path / "log").read_text()


def test_a_stream_whose_descriptor_is_closed_costs_only_the_line(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    with open(descriptor, "w", closefd=False) as stream:
        os.close(descriptor)
        logs = configure(LogConfig(), stream, environ={"JOURNAL_STREAM": "1:1"})
        get_logger().info("hello")
        assert logs.output.lost == 1


@pytest.mark.parametrize("form", ["console", "logfmt", "json"])
def test_a_value_never_starts_a_new_line_or_controls_the_terminal(form) -> None:
    stream = io.StringIO()
    configure(LogConfig(format=form), stream)

    get_logger().info("hello", name='evil\nevent=forged\r\x1b[2J\x9b" \u2028x')

    text = stream.getvalue()
    assert text.endswith("\n")
    assert text[:-1].isprintable()


@pytest.fixture
def journald(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "journal"))
        receiver.settimeout(5)
        yield receiver


def test_auto_is_the_journal_when_stderr_is_its_stream(journald, tmp_path: Path) -> None:
    with open(tmp_path / "stderr", "w") as stream:
        status = os.fstat(stream.fileno())
        journal = DatagramSender(journald.getsockname())
        configure(LogConfig(), stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, journal)

        get_logger(interface="uplink").error("no luck", reason="not_ours")
        journal.close()

        assert journald.recv(65536).splitlines() == [
            b"MESSAGE=no luck interface=uplink reason=not_ours",
            b"PRIORITY=3",
            b"SYSLOG_IDENTIFIER=ndpresponder",
            b"NDP_INTERFACE=uplink",
            b"NDP_REASON=not_ours",
            b"NDP_EVENT=no luck",
        ]
    assert (tmp_path / "stderr").read_text() == ""


def test_without_its_journal_the_event_goes_to_stderr_as_text() -> None:
    stream = io.StringIO()
    journal = DatagramSender("/nonexistent/socket")
    configure(LogConfig(format="journal"), stream, {}, journal)

    get_logger(interface="uplink").info("hello")
    journal.close()

    assert stream.getvalue() == "level=info event=hello interface=uplink\n"


def test_an_exception_is_told_in_every_form(journald) -> None:
    journal = DatagramSender(journald.getsockname())
    for form in ("console", "logfmt", "json", "journal"):
        stream = io.StringIO()
        configure(LogConfig(format=form), stream, {}, journal)
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            get_logger().exception("this should not happen")
        told = journald.recv(65536).decode(errors="replace") if form == "journal" else stream.getvalue()
        assert "this should not happen" in told
        assert "ZeroDivisionError: division by zero" in told
        assert "test_logs.py" in told
    journal.close()


def test_level_and_form_change_for_loggers_already_in_use() -> None:
    stream = io.StringIO()
    logs = configure(LogConfig(level="warning", format="logfmt"), stream)
    log = get_logger(a=1).bind(b=2)

    log.info("hidden")
    assert not logs.debug
    logs.apply(LogConfig(level="debug", format="json"))
    assert logs.debug
    log.debug("shown")
    logs.apply(LogConfig(level="error", format="json"))
    log.warning("hidden again")

    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "shown"
    assert json.loads(line)["b"] == 2


def test_what_libraries_log_comes_out_in_the_same_form_from_warning_up() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    root.handlers.clear()  # pytest's own would raise on the broken record
    configure(LogConfig(level="debug", format="json"), stream)

    logging.getLogger("pyroute2").info("chatter")
    logging.getLogger("asyncio").warning("%s is %d", "x", 3)
    logging.getLogger("broken").critical("%d", "no number")

    assert [(e["level"], e["logger"], e["event"]) for e in map(json.loads, stream.getvalue().splitlines())] == [
        ("warning", "asyncio", "x is 3"),
        ("error", "broken", "%d"),
    ]


def test_a_task_that_failed_unseen_is_an_error_with_its_traceback() -> None:
    stream = io.StringIO()
    configure(LogConfig(format="json"), stream)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())

    event = json.loads(stream.getvalue())
    assert event["level"] == "error"
    assert "ZeroDivisionError" in event["exception"]


def test_configuring_twice_says_everything_once() -> None:
    configure(LogConfig(format="logfmt"), io.StringIO())
    stream = io.StringIO()
    configure(LogConfig(format="logfmt"), stream)

    logging.getLogger("asyncio").error("once")

    assert stream.getvalue().count("once") == 1


def test_an_output_that_is_gone_costs_only_the_line() -> None:
    closed = io.StringIO()
    closed.close()
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "w") as full, open(writer, "w", closefd=True) as broken:
        for stream in (closed, full, broken):
            logs = configure(LogConfig(format="logfmt"), stream)
            get_logger().info("hello")
            assert logs.output.lost == 1
        os.dup2(os.open("/dev/null", os.O_WRONLY), full.fileno())
        os.dup2(full.fileno(), broken.fileno())


def socket_pair() -> tuple[int, int]:
    near, far = socket.socketpair()
    return near.detach(), far.detach()


@pytest.mark.parametrize(
    ("opened", "ours"),
    [(os.pipe, True), (os.pipe, False), (pty.openpty, True), (socket_pair, False)],
    ids=["a pipe", "a pipe that is not ours to open", "a terminal", "a socket"],
)
def test_what_nobody_reads_is_never_waited_for_and_said_to_be_lost(
    opened: Callable[[], tuple[int, int]], ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not ours:
        monkeypatch.setattr(output, "_open_without_waiting", lambda _: None)
    reader, writer = opened()
    with open(reader, "rb", 0) as read, open(writer, "w") as stream:
        logs = configure(LogConfig(format="logfmt"), stream)

        def write() -> None:
            while logs.output.lost < 2:
                get_logger().info("hello", long="x" * 10_000)

        writing = threading.Thread(target=write, daemon=True)
        writing.start()
        writing.join(5.0)
        assert not writing.is_alive()
        os.set_blocking(reader, False)
        while read.read(65536):
            pass
        get_logger().info("there is room")
        heard = b""
        while not heard.endswith(b"\n") or b"were lost" not in heard:
            heard += read.read(65536) or b""
    *_, first, said = heard.decode().splitlines()
    assert re.fullmatch(f'timestamp={TIMESTAMP} level=info event="there is room"', first)
    assert re.fullmatch(f'timestamp={TIMESTAMP} level=warning event="lines of the log were lost" count=2', said)


def test_lines_that_the_journal_did_not_take_are_said_to_be_lost(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    with open("/dev/full", "w") as full, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        journal = DatagramSender(path)
        configure(LogConfig(format="journal"), full, to_journal=journal)
        get_logger().info("lost")
        receiver.bind(path)
        get_logger().info("there is room")
        heard = [receiver.recv(4096) for _ in range(2)]
        journal.close()
    assert b"MESSAGE=there is room\n" in heard[0]
    assert b"MESSAGE=lines of the log were lost count=1\n" in heard[1]


def test_logging_imports_neither_prometheus_client_nor_scapy() -> None:
    heavy = subprocess.check_output(
        [
            sys.executable,
            "-c",
            "import sys, ndpresponder.observe.logs; print({'prometheus_client', 'scapy', 'h11'} & set(sys.modules))",
        ],
        text=True,
    )
    assert heavy == "set()\n"


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ("k=v", "v"),
        ("k=", None),
        ("k=", ""),
        ("k=true", True),
        ("k=3", 3),
        ('k="a b"', "a b"),
        ('k="a=b"', "a=b"),
        (r'k="\""', '"'),
        (r'k="\\"', "\\"),
        (r'k="a\nb"', "a\nb"),
        ("k=ü", "ü"),
        (r'k="\u007f"', "\x7f"),
    ],
)
def test_logfmt_quotes_what_could_be_misread(expected: str, value: object) -> None:
    assert logfmt({"k": value}) == expected


def test_the_limiter_lets_one_per_second_and_cause_pass_and_counts_the_rest() -> None:
    limiter = RateLimiter()

    assert limiter.admit("a", 100.0) == 0
    assert [limiter.admit("a", 100.0 + n / 10) for n in range(1, 10)] == [None] * 9
    assert limiter.admit("b", 100.5) == 0
    assert limiter.admit("a", 101.0) == 9
    assert limiter.admit("a", 102.5) == 0


def test_the_limiter_forgets_the_cause_admitted_longest_ago() -> None:
    limiter = RateLimiter(causes_max=2)
    limiter.admit("a", 0.0)
    limiter.admit("b", 0.1)
    limiter.admit("a", 1.0)

    assert limiter.admit("c", 1.0) == 0  # "b" made room
    assert limiter.admit("a", 1.1) is None
    assert limiter.admit("b", 1.0) == 0
