"""The journal gets what its protocol says, through a real datagram socket."""

import os
import socket
import time
from pathlib import Path

import pytest

from ndpresponder.linux.unix_socket import DatagramSender
from ndpresponder.observe.journal import datagram, encode, field_name, is_journal


def decode(datagram: bytes) -> dict[str, bytes]:
    """Read a datagram the way journald does."""
    fields = {}
    while datagram:
        head, _, rest = datagram.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[8 + length :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        fields[name.decode()] = value
        datagram = rest
    return fields


@pytest.fixture
def journald(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "journal"))
        receiver.settimeout(5)
        yield receiver


def test_an_event_becomes_fields(journald) -> None:
    journal = DatagramSender(journald.getsockname())

    assert journal.send(datagram("warning", "it happened", {"target": "2001:db8::c1", "reason": "not_ours"}))
    journal.close()

    assert decode(journald.recv(65536)) == {
        "MESSAGE": b"it happened",
        "PRIORITY": b"4",
        "SYSLOG_IDENTIFIER": b"ndpresponder",
        "NDP_TARGET": b"2001:db8::c1",
        "NDP_REASON": b"not_ours",
    }


@pytest.mark.parametrize("value", ["one\ntwo", "\n", "", "x=y", "ünï\ncode", "A=1\nPRIORITY=0"])
def test_any_value_arrives_as_it_was(value: str) -> None:
    assert decode(encode({"NDP_X": value, "NDP_Y": 1})) == {"NDP_X": value.encode(), "NDP_Y": b"1"}


@pytest.mark.parametrize(
    ("expected", "key"),
    [("NDP_INTERFACE", "interface"), ("NDP_A_B", "a-b"), ("NDP__X", "=x"), ("NDP_" + "A" * 60, "a" * 100)],
)
def test_any_key_becomes_a_valid_field_name(expected: str, key: str) -> None:
    assert field_name(key) == expected


def test_a_restarted_journal_is_found_again(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    journal = DatagramSender(path)
    outcomes = [journal.send(datagram("info", "before it starts", {}))]
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(path)
            outcomes.append(journal.send(datagram("info", "while it runs", {})))
        outcomes.append(journal.send(datagram("info", "while it is away", {})))
        os.unlink(path)
    journal.close()

    assert outcomes == [False, True, False, True, False]


def test_what_does_not_fit_a_datagram_is_refused_not_raised(journald) -> None:
    journal = DatagramSender(journald.getsockname())

    assert not journal.send(datagram("error", "x" * 10_000_000, {}))
    assert journal.send(datagram("error", "the next one fits", {}))
    journal.close()


def test_a_full_journal_is_given_up_after_the_timeout(journald) -> None:
    journal = DatagramSender(journald.getsockname(), timeout_s=0.01)

    taken = 0
    while journal.send(datagram("info", "again", {})):
        taken += 1
    journal.close()

    assert taken > 0


def test_the_journals_stream_is_recognised_by_device_and_inode(tmp_path: Path) -> None:
    with open(tmp_path / "stderr", "w") as stream:
        status = os.fstat(stream.fileno())
        name = f"{status.st_dev}:{status.st_ino}"
        assert is_journal(stream.fileno(), {"JOURNAL_STREAM": name})
        assert not is_journal(stream.fileno(), {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
        assert not is_journal(stream.fileno(), {})
    with pytest.raises(OSError, match="Bad file"):
        is_journal(-1, {"JOURNAL_STREAM": name})


def test_a_journal_that_is_full_is_waited_for_once_until_it_reads_again(journald) -> None:
    journal = DatagramSender(journald.getsockname(), timeout_s=0.2)
    held_up_s = []
    while len(held_up_s) < 5:
        began_s = time.monotonic()
        if not journal.send(datagram("info", "again", {})):
            held_up_s.append(time.monotonic() - began_s)
    assert held_up_s[0] >= 0.2
    assert max(held_up_s[1:]) < 0.1
    while journal.send(datagram("info", "again", {})) is False:
        journald.recv(4096)
    journal.close()
