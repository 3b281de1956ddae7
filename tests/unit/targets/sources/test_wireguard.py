"""What a WireGuard interface's peers make ours, and what a program says of them on its socket."""

import asyncio
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from frames import packed
from sample_responder import addresses, prefixes

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux import wireguard_uapi
from ndpresponder.linux.netlink import wireguard as netlink_wireguard
from ndpresponder.linux.netlink.layout import attribute
from ndpresponder.linux.wireguard_uapi import Peer
from ndpresponder.targets.sources.wireguard import RECENT_S, as_targets

NOW_S = 1_800_000_000
C1 = packed("2001:db8::c1")


@pytest.mark.parametrize(
    ("handshake_s", "live"),
    [(NOW_S, True), (NOW_S - RECENT_S + 1, True), (NOW_S - RECENT_S, False), (0, False), (NOW_S + 60, True)],
    ids=["now", "just recent enough", "just not", "never", "the clock was set back"],
)
def test_an_address_is_live_while_its_peer_is_heard_and_claimed_otherwise(handshake_s: int, live: bool) -> None:
    targets, _ = as_targets("wg0", [Peer(handshake_s, ((C1, 128),))], NOW_S)
    assert (frozenset({C1}) if live else frozenset()) == targets.live
    assert (frozenset() if live else frozenset(prefixes("2001:db8::c1/128"))) == targets.claimed


def test_a_prefix_is_claimed_however_lately_its_peer_was_heard() -> None:
    peer = Peer(NOW_S, ((packed("2001:db8:5::"), 64), (packed("2001:db8:6::"), 127), (C1, 128)))
    targets, _ = as_targets("wg0", [peer], NOW_S)
    assert addresses("2001:db8::c1") == targets.live
    assert frozenset(prefixes("2001:db8:5::/64", "2001:db8:6::/127")) == targets.claimed


def test_live_targets_are_behind_the_interface() -> None:
    targets, _ = as_targets("wg0", [Peer(NOW_S, ((C1, 128),))], NOW_S)
    assert targets.downstream == {"wg0": frozenset({C1})}


@pytest.mark.parametrize("text", ["::/0", "2000::/3", "2001:db8::/63"])
def test_a_prefix_wider_than_64_is_refused(text: str) -> None:
    (wide,) = prefixes(text)
    targets, refused = as_targets("wg0", [Peer(NOW_S, ((wide.value.to_bytes(16, "big"), wide.length),))], NOW_S)
    assert (targets.claimed, refused) == (frozenset(), frozenset({wide}))


ANSWER = """\
private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a
listen_port=12912
public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33
preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52
allowed_ip=192.168.4.4/32
allowed_ip=2001:db8::c1/128
endpoint=[abcd:23::33%2]:51820
last_handshake_time_sec=1800000000
last_handshake_time_nsec=3
public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376
tx_bytes=38333
allowed_ip=2001:db8:5::/64
endpoint=182.122.22.19:3233
errno=0

"""


async def ask(directory: Path, answer: bytes) -> list[Peer] | None:
    """Ask a program that answers so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\n\n") == b"get=1\n\n"
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(serve, directory / "wg0.sock"):
        return await wireguard_uapi.peers("wg0", str(directory))


def test_a_program_says_who_its_peers_are(tmp_path: Path) -> None:
    expected = [Peer(NOW_S, ((C1, 128),)), Peer(0, ((packed("2001:db8:5::"), 64),))]
    assert expected == asyncio.run(ask(tmp_path, ANSWER.encode()))


def test_an_interface_without_peers_has_none(tmp_path: Path) -> None:
    assert asyncio.run(ask(tmp_path, b"listen_port=1\nerrno=0\n\n")) == []


BAD = {
    "does not say how it ended": b"\n",
    "the answer broke off": b"public_key=00\n",
    "Invalid argument": b"errno=-22\n\n",
    "illegal IP address": b"public_key=00\nallowed_ip=x:y/64\n\n",
    "prefix length of 200": b"public_key=00\nallowed_ip=::1/200\n\n",
    "prefix length of -1": b"public_key=00\nallowed_ip=::1/-1\n\n",
    "invalid literal": b"public_key=00\nlast_handshake_time_sec=x\n\n",
    "can't decode": b"\xff\xff\n\n",
    "longer than limit|limit": b"x" * 100_000,
}


@pytest.mark.parametrize(("why", "answer"), BAD.items())
def test_a_program_that_answers_otherwise_cannot_be_read(tmp_path: Path, why: str, answer: bytes) -> None:
    with pytest.raises(SourceUnavailable, match=why):
        asyncio.run(ask(tmp_path, answer))


def test_a_program_that_is_silent_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wireguard_uapi, "_DEADLINE_S", 0.05)

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "wg0.sock"))
        silent.listen()
        with pytest.raises(SourceUnavailable, match="no answer"):
            asyncio.run(wireguard_uapi.peers("wg0", str(tmp_path)))


def left_behind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


@pytest.mark.parametrize("prepare", [lambda _: None, left_behind], ids=["no socket", "a socket left behind"])
def test_without_a_program_there_is_nobody_to_ask(tmp_path: Path, prepare: Callable[[Path], None]) -> None:
    prepare(tmp_path / "wg0.sock")
    assert asyncio.run(wireguard_uapi.peers("wg0", str(tmp_path))) is None


@pytest.mark.parametrize(("address", "length"), [(C1, 129), (C1, -1), (C1[:4], 32)])
def test_what_is_no_prefix_is_no_allowed_ip(address: bytes, length: int) -> None:
    with pytest.raises(ValueError, match="prefix length"):
        wireguard_uapi.allowed_ip(address, length)


def test_the_kernels_allowed_ips_are_checked_as_well() -> None:
    entry = attribute(1, struct.pack("=H", socket.AF_INET6)) + attribute(2, C1) + attribute(3, bytes([200]))
    with pytest.raises(ValueError, match="prefix length of 200"):
        netlink_wireguard._merge({}, attribute(1, bytes(32)) + attribute(9, attribute(0, entry)))
