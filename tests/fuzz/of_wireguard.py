"""Any octets where a WireGuard program should list its peers: peers whose prefixes are ones, or `SourceUnavailable`."""

import loops

from ndpresponder.errors import SourceUnavailable
from ndpresponder.linux.wireguard_uapi import peers


def check(octets: bytes) -> None:
    """Ask once."""
    loops.run(_peers(octets))


async def _peers(answer: bytes) -> None:
    async with loops.saying(lambda _: answer, b"\n\n", "wg0.sock") as path:
        try:
            found = await peers("wg0", path.removesuffix("/wg0.sock"))
        except SourceUnavailable:
            return
        assert found is not None
        assert len(found) <= answer.count(b"public_key")
        for peer in found:
            assert all(len(address) == 16 and 0 <= length <= 128 for address, length in peer.allowed)


_KEY = b"public_key=" + b"ab" * 32 + b"\n"
SEEDS = (
    b"private_key=00\nlisten_port=1\n"
    + _KEY
    + b"allowed_ip=2001:db8::2/128\nallowed_ip=10.0.0.2/32\n"
    + b"errno=0\n\n",
    _KEY + b"last_handshake_time_sec=17\nallowed_ip=::/0\n" + _KEY + b"errno=0\n\n",
    _KEY + b"errno=-2\n\n",
    b"errno=0\n\n",
)
DICTIONARY = (b"last_handshake_time_sec=", b"allowed_ip=", b"public_key=", b"errno=", b"2001:db8::", b"/128", b"\n\n")
